"""Writes the network as ONNX and proves it equal. Runs in the training child only (imports torch and onnxscript)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.export._patches import register_lstm_while_loop_decomposition

from ml.lstm_model import LstmForecaster

INPUTS, OUTPUTS = ("x", "h0", "c0"), ("quantiles", "h", "c")
TOLERANCE = 1e-5
_CHECKED_SHAPES = ((1, 1), (1, 512), (3, 17))  # (batch, time)


def export_onnx(network: LstmForecaster) -> bytes:
    """Return the network as a self-contained ONNX model with dynamic batch and time.

    Inputs: x (B, T, F), h0 and c0 (layers, B, hidden). Outputs: quantiles (B, T, Q), h and c. All float32.

    Raises:
        RuntimeError: the exported model does not give the network's numbers.
    """
    network = network.cpu().eval()
    # Example sizes above one: sizes of one would be taken for constants.
    example = (torch.zeros(2, 3, network.features), *network.initial_state(2, torch.device("cpu")))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of libraries that are not needed
    with warnings.catch_warnings(), _dynamic_time():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            network,
            example,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: "batch", 1: "time"}, {1: "batch"}, {1: "batch"}),
            verbose=False,
        )
    data = _without_traces(program)
    _check(network, data)
    return data


@contextmanager
def _dynamic_time() -> Iterator[None]:
    """Keep the number of bars a variable throughout the export, however often this process exports.

    The exporter traces an LSTM as a loop only in its first step and forgets torch's dispatch cache afterwards: the
    second step then writes the example's length into the output shape, and a second export fails altogether.
    """
    cache: Any = torch.ops.aten.lstm.input._dispatch_cache
    cache.clear()
    try:
        with register_lstm_while_loop_decomposition():
            yield
    finally:
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


def _check(network: LstmForecaster, data: bytes) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for batch, time in _CHECKED_SHAPES:
        x = torch.randn(batch, time, network.features, generator=generator)
        shape = (network.spec.layers, batch, network.spec.hidden_size)
        state = [torch.randn(shape, generator=generator).tanh() for _ in range(2)]
        with torch.no_grad():
            wanted = network(x, *state)
        got = session.run(list(OUTPUTS), {name: value.numpy() for name, value in zip(INPUTS, (x, *state), strict=True)})
        for name, a, b in zip(OUTPUTS, wanted, got, strict=True):
            difference = float(np.abs(a.numpy() - b).max())
            if not difference <= TOLERANCE:
                raise RuntimeError(f"the exported {name} differs from the network by {difference:g} at T={time}")
