"""Judges the network of a foreign agent: its graph, then its behaviour. For a child process; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ml.arrays import Float32Array
from ml.inference import open_session
from ml.network_check import NetworkIo, NetworkValue, check_network, fits
from ml.package_check import refused

INPUT, OUTPUT = "observation", "weight"
_TOGETHER = 256  # observations at once
_ALONE = 32  # of them are asked for once more, one by one
_SCALES = (0.0, 0.1, 1.0, 6.0, 50.0)
_ROUNDING = 1e-4  # of the range of weights
_STEEP = 0.05  # share of answers that may differ by more: near the edge between two levels rounding decides


def agent_io(observed: int) -> NetworkIo:
    """Return input and output of an agent that observes so many numbers."""
    return (NetworkValue(INPUT, (None, observed)),), (NetworkValue(OUTPUT, (None,)),)


def check_agent_graph(onnx: bytes, observed: int, weights: Mapping[str, Float32Array]) -> None:
    """Check a serialised network without opening it for use.

    Args:
        observed: numbers in an observation.
        weights: of the package; the network must be made of them.

    Raises:
        UserError: it is no ONNX model, or not one that our exporter could have written.
    """
    check_network(onnx, agent_io(observed), weights)


def check_agent_behaviour(onnx: bytes, observed: int, lowest: float, highest: float) -> None:
    """Run a network on random observations, some of them one by one, as it is asked when it trades.

    Args:
        observed: numbers in an observation.
        lowest / highest: weights it may choose from.

    Raises:
        UserError: it cannot be run, or its answers are none.
    """
    session = open_session(onnx)
    random = np.random.default_rng(0)
    (output,) = agent_io(observed)[1]
    for scale in _SCALES:
        seen = (scale * random.normal(size=(_TOGETHER, observed))).astype(np.float32)
        try:
            together = _ask(session, seen)
            alone = np.concatenate([_ask(session, seen[row : row + 1]) for row in range(_ALONE)])
        except MemoryError as exc:
            raise refused("its network needs more memory than any model") from exc
        except Exception as exc:
            # The runtime has a dozen exception types without a common public base; all mean the same here.
            raise refused("its network cannot be run") from exc
        if not fits(together, output) or together.shape != (_TOGETHER,) or alone.shape != (_ALONE,):
            raise refused("its network gives answers of another shape than it says")
        _check_weights(together, alone, lowest, highest)


def _check_weights(together: Float32Array, alone: Float32Array, lowest: float, highest: float) -> None:
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        raise refused("its network gives numbers that are not finite")
    off = _ROUNDING * (highest - lowest)
    if together.min() < lowest - off or together.max() > highest + off:
        raise refused("its network gives weights outside the range of its configuration")
    if (np.abs(together[: len(alone)] - alone) > off).mean() > _STEEP:
        raise refused("its network answers differently one by one than at once")


def _ask(session: Any, seen: Float32Array) -> Float32Array:
    (weight,) = session.run([OUTPUT], {INPUT: seen})
    return np.asarray(weight)
