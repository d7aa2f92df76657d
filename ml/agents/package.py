"""What is in the package of an agent. Values, any thread; no torch.

The folder is that of every model, see `ml.model_storage`. What an agent observes follows from it: features, and columns
of its encoder where it has one, for each bar of its window, then its own account. The encoder itself is another
package, named in the manifest by its id, which is a hash of its content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from ml.agents.environment_spec import ACCOUNT_NAMES
from ml.agents.episode import Episode
from ml.agents.results import AgentMetrics
from ml.agents.run_spec import AgentSpec
from ml.features import Scaling
from ml.jsonvalues import Json

ENCODER = "encoder"  # in the manifest
CONFIG_ENTRIES = {"spec", "feature_names", "feature_digest", "encoder_names", "account_names"}


@dataclass(frozen=True, slots=True, eq=False)
class AgentContent:
    """What goes into a package.

    Attributes:
        spec: of the run.
        feature_names / feature_digest: columns of the features, in order, and the identity of their computation.
        encoder_names: columns that the encoder adds to each bar, in order.
        scaling: of the features.
        weights / onnx: file contents.
        metrics: on the test part.
        lineage: data range and hash, split, encoder and run, see `ml.model_storage.data_lineage`.
        episode: the judged pass; None keeps none.
    """

    spec: AgentSpec
    feature_names: tuple[str, ...]
    feature_digest: str
    encoder_names: tuple[str, ...]
    scaling: Scaling
    weights: bytes
    onnx: bytes
    metrics: AgentMetrics
    lineage: Json
    episode: Episode | None = None

    @property
    def config(self) -> Json:
        """The configuration file."""
        return {
            "spec": self.spec.to_json(),
            "feature_names": list(self.feature_names),
            "feature_digest": self.feature_digest,
            "encoder_names": list(self.encoder_names),
            "account_names": list(ACCOUNT_NAMES),
        }


@dataclass(frozen=True, slots=True, eq=False)
class StoredAgent:
    """A verified package, in memory.

    Attributes:
        model_id: content hash.
        folder: where it lies.
        manifest: parsed.
        spec / feature_names / feature_digest / encoder_names / scaling / metrics: as stored.
        onnx: the very bytes that were verified.
    """

    model_id: str
    folder: Path
    manifest: Json
    spec: AgentSpec
    feature_names: tuple[str, ...]
    feature_digest: str
    encoder_names: tuple[str, ...]
    scaling: Scaling
    metrics: AgentMetrics
    onnx: bytes

    @property
    def observed(self) -> int:
        """How many numbers an observation holds."""
        columns = len(self.feature_names) + len(self.encoder_names)
        return self.spec.environment.window * columns + len(ACCOUNT_NAMES)

    @property
    def encoder_id(self) -> str:
        """Id of the forecaster it cannot do without; empty where it uses none."""
        return self.spec.encoder.model


def agent_of(
    model_id: str, folder: Path, manifest: Json, config: Json, scaler: Json, metrics: Json, onnx: bytes
) -> StoredAgent:
    """Build an agent from what its files hold.

    Raises:
        UserError, KeyError, TypeError, ValueError: it does not fit.
    """
    names = _texts(config, "feature_names"), _texts(config, "encoder_names")
    if _texts(config, "account_names") != ACCOUNT_NAMES:
        raise UserError("The agent sees other things of its account than this program shows.", "Train it again.")
    return StoredAgent(
        model_id=model_id,
        folder=folder,
        manifest=manifest,
        spec=AgentSpec.from_json(config["spec"]),
        feature_names=names[0],
        feature_digest=str(config["feature_digest"]),
        encoder_names=names[1],
        scaling=Scaling.from_json(scaler),
        metrics=AgentMetrics.from_json(metrics),
        onnx=onnx,
    )


def _texts(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = config[key]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(key)
    return tuple(values)
