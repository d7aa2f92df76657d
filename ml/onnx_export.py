"""Writes the network as ONNX and proves it equal. Runs in the training child only (imports torch and onnxscript)."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import tqdm
from torch import Tensor, nn
from torch.export._patches import (
    register_gru_while_loop_decomposition,
    register_lstm_while_loop_decomposition,
)

from ml.recurrent import STATE_NAMES, EnsembleForecaster

TOLERANCE = 1e-5
# Where chances are turned into quantiles, a flat stretch of the distribution makes much of their last digits.
INVERSION_TOLERANCE = 1e-3
_CHECKED_SHAPES = ((1, 1), (1, 512), (3, 17))  # (batch, time)


def input_output_names(network: EnsembleForecaster) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the model's inputs and outputs, in order."""
    state = STATE_NAMES[network.spec.kind]
    forecasts = ("quantiles", "probabilities") if network.spec.head == "classes" else ("quantiles",)
    return ("x", *(f"{name}0" for name in state)), (*forecasts, *state)


def export_onnx(network: EnsembleForecaster) -> bytes:
    """Return the network as a self-contained ONNX model with dynamic batch and time.

    Inputs: x (B, T, F), h0 and for an LSTM c0 (members x layers, B, hidden). Outputs: quantiles (B, T, H, Q), for a
    head of classes probabilities (B, T, H, 3), h and for an LSTM c. All float32.

    Raises:
        RuntimeError: the exported model does not give the network's numbers.
    """
    network = network.cpu().eval()
    inputs, outputs = input_output_names(network)
    # Example sizes above one: sizes of one would be taken for constants.
    example = (torch.zeros(2, 3, network.features), *network.initial_state(2, torch.device("cpu")))
    with _dynamic_time():
        data = to_onnx(
            network, example, inputs, outputs, ({0: "batch", 1: "time"}, *({1: "batch"} for _ in example[1:]))
        )
    _check(network, data)
    return data


def to_onnx(
    network: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic_shapes: tuple[dict[int, str], ...],
) -> bytes:
    """Return a network as a self-contained ONNX model; nobody has compared its numbers yet.

    Args:
        network: in evaluation mode, on the CPU.
        example: its inputs; sizes that vary are above one, or they would be taken for constants.
        inputs / outputs: names, in order.
        dynamic_shapes: of each input, the dimensions that vary, by name.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of libraries that are not needed
    # Torch draws progress bars by it; its own lock is one between processes, which a job's end leaves behind.
    tqdm.tqdm.set_lock(threading.RLock())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            network,
            example,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamo=True,
            external_data=False,
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
    return _without_traces(program)


@contextmanager
def _dynamic_time() -> Iterator[None]:
    """Keep the number of bars a variable throughout the export, however often this process exports.

    The exporter traces a recurrent layer as a loop only in its first step and forgets torch's dispatch cache
    afterwards: the second step then writes the example's length into the output shape, and a second export fails
    altogether.
    """
    caches: list[Any] = [operator.input._dispatch_cache for operator in (torch.ops.aten.lstm, torch.ops.aten.gru)]
    for cache in caches:
        cache.clear()
    try:
        with register_lstm_while_loop_decomposition(), register_gru_while_loop_decomposition():
            yield
    finally:
        for cache in caches:
            cache.clear()


def _without_traces(program: Any) -> bytes:
    """Serialise without the source paths and stack traces of the machine that exported."""
    model = program.model_proto
    for holder in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _check(network: EnsembleForecaster, data: bytes) -> None:
    import onnxruntime

    inputs, outputs = input_output_names(network)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for batch, time in _CHECKED_SHAPES:
        x = torch.randn(batch, time, network.features, generator=generator)
        shape = (network.state_layers, batch, network.spec.hidden_size)
        state = [torch.randn(shape, generator=generator).tanh() for _ in inputs[1:]]
        with torch.no_grad():
            wanted = network(x, *state)
        given = {name: value.numpy() for name, value in zip(inputs, (x, *state), strict=True)}
        for name, a, b in zip(outputs, wanted, session.run(list(outputs), given), strict=True):
            difference = float(np.abs(a.numpy() - b).max())
            inverted = name == "quantiles" and network.spec.head == "classes"
            if not difference <= (INVERSION_TOLERANCE if inverted else TOLERANCE):
                raise RuntimeError(f"the exported {name} differs from the network by {difference:g} at T={time}")
