"""The job that opens a foreign network: runs in a child under `core.job_supervisor` (no torch).

Whatever a network made to do harm does, it does to a process that holds no keys, may use only so much memory and
time, and ends afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path

from core.jobs import JobChannel, Json
from ml.agents.check import check_agent_behaviour, check_agent_graph
from ml.agents.package import StoredAgent
from ml.model_storage import CONFIG, FILES, MANIFEST, ONNX, WEIGHTS, model_id_of, parse_any
from ml.network_check import check_behaviour, check_graph
from ml.package_check import read_weights, refused, strict_json

MEMORY_BYTES = 3 << 30  # of addresses; libraries alone take a third of it
CPU_SECONDS = 60


def run(spec: Json, channel: JobChannel) -> Json:
    """Check the network of a package.

    Args:
        spec: `folder` of the package's files, and `model_id`, what the parent has validated.
        channel: not used: it takes seconds.

    Returns:
        `{"model_id"}`.

    Raises:
        UserError: the network must not be used.
    """
    _limit()
    folder = Path(spec["folder"])
    files = {name: (folder / name).read_bytes() for name in (MANIFEST, *FILES)}
    manifest = strict_json(MANIFEST, files[MANIFEST])
    same = all(hashlib.sha256(files[name]).hexdigest() == manifest["files"][name] for name in FILES)
    if not same or model_id_of(files[MANIFEST]) != spec["model_id"]:
        raise refused("its files changed while they were checked")
    model = parse_any(files, folder)
    weights = read_weights(files[WEIGHTS])
    if isinstance(model, StoredAgent):
        check_agent_graph(files[ONNX], model.observed, weights)
        check_agent_behaviour(
            files[ONNX], model.observed, model.spec.environment.lowest, model.spec.environment.highest
        )
        return {"model_id": model.model_id}
    features = len(strict_json(CONFIG, files[CONFIG])["feature_names"])
    check_graph(files[ONNX], model.spec, features, weights)
    check_behaviour(files[ONNX], model.spec, features)
    return {"model_id": model.model_id}


def _limit() -> None:
    """Bound what this process can use; where the system does not, the parent's watch over time and memory does."""
    if sys.platform == "win32":
        return
    import resource

    for kind, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_SECONDS)):
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS refuses a limit on addresses
            resource.setrlimit(kind, (allowed, hard))
