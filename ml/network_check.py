"""Judges the network of a package: its graph before it is opened, then its behaviour. For a child process; no torch.

The graph may hold only what our exporter writes: arithmetic on its own tensors. There is no operator in it that reads
a file, calls code or repeats another graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.api import ForecastSpec
from ml.arrays import Float32Array
from ml.inference import PIECES, open_session
from ml.package_check import refused

DOMAINS = frozenset({"", "ai.onnx"})
# Those of `ml.onnx_export` over all kinds, heads and layers, of `ml.agents.export`, and the plainest of arithmetic.
OPERATORS = frozenset(
    {
        *("LSTM", "GRU", "MatMul", "Gemm", "LayerNormalization", "Softmax", "Softplus", "Sigmoid", "Tanh"),
        *("Add", "Sub", "Mul", "Div", "Neg", "Exp", "Log", "Sqrt", "Clip", "Max", "Min", "ReduceSum", "ReduceMean"),
        *("Transpose", "Slice", "Concat", "Split", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Shape"),
        *("Gather", "GatherElements", "Cast", "Constant", "Identity", "Where", "Greater", "Less"),
        *("Relu", "ArgMax"),
    }
)
STATES = {"lstm": ("h", "c"), "gru": ("h",)}  # what is carried from bar to bar
_CLASSES = 3
_HEAD = ".head."  # in the names of weights that the network holds in another form
_MOST_NODES, _MOST_TENSORS = 20_000, 20_000
_OLDEST_OPSET = 13
_ITEM_BYTES = {1: 4, 6: 4, 7: 8, 9: 1, 11: 8}  # float32, int32, int64, bool, float64
_CROSSING = 1e-6  # by which neighbouring quantiles may cross in float32
_STEPPING = 1e-4  # by which bar by bar may differ from all bars at once
_DRAWS = 4
# Operators whose inputs behind the first say how large their result is.
_SIZED = frozenset({"Expand", "Reshape", "Slice", "Split", "Unsqueeze", "Squeeze", "ReduceSum", "ReduceMean"})


_Values = dict[str, Float32Array]


@dataclass(frozen=True, slots=True)
class NetworkValue:
    """An input or output: name and shape; None stands for a size that varies (batch, bars)."""

    name: str
    shape: tuple[int | None, ...]


NetworkIo = tuple[tuple[NetworkValue, ...], tuple[NetworkValue, ...]]  # inputs and outputs, all float32


def expected_io(spec: ForecastSpec, features: int) -> NetworkIo:
    """Return the inputs and outputs, all float32, of a network made to this specification."""
    model = spec.model
    shape = (model.layers * spec.evaluation.seeds, None, model.hidden_size)
    names = STATES[model.kind]
    forecasts = [NetworkValue("quantiles", (None, None, len(model.horizons), len(model.quantile_levels)))]
    if model.head == "classes":
        forecasts.append(NetworkValue("probabilities", (None, None, len(model.horizons), _CLASSES)))
    inputs = (NetworkValue("x", (None, None, features)), *(NetworkValue(f"{name}0", shape) for name in names))
    return inputs, (*forecasts, *(NetworkValue(name, shape) for name in names))


def check_graph(onnx: bytes, spec: ForecastSpec, features: int, weights: Mapping[str, Float32Array]) -> None:
    """Check a serialised network without opening it for use.

    Args:
        features: F.
        weights: of the package; the network must be made of them.

    Raises:
        UserError: it is no ONNX model, or not one that our exporter could have written.
    """
    check_network(onnx, expected_io(spec, features), weights)


def check_network(onnx: bytes, io: NetworkIo, weights: Mapping[str, Float32Array]) -> None:
    """Do what `check_graph` says, for a network with these inputs and outputs."""
    import onnx as onnx_package  # 0.2 s: only where a package is checked

    model = onnx_package.ModelProto()
    try:
        model.ParseFromString(onnx)
    except Exception as exc:
        # What the parser raises depends on which of its implementations is installed.
        raise refused("its network is no ONNX model") from exc
    _check_model(model)
    tensors = list(_tensors(model.graph))
    for tensor in tensors:
        _check_tensor(tensor)
    _check_io(model.graph, io)
    try:
        onnx_package.checker.check_model(model, full_check=True)
    except Exception as exc:
        # The checker raises what its C++ half throws, of half a dozen types without a common public base.
        raise refused("its network does not pass the ONNX checker") from exc
    _check_sizes(model.graph)
    _check_weights([onnx_package.numpy_helper.to_array(tensor) for tensor in tensors if tensor.data_type == 1], weights)


def check_behaviour(onnx: bytes, spec: ForecastSpec, features: int) -> None:
    """Run a network on zeros and on random bars, as many at once as it will ever be given.

    Raises:
        UserError: it cannot be run, or its answers are none.
    """
    session = open_session(onnx)
    random = np.random.default_rng(0)
    longest, shorter, shortest = PIECES
    draws = [random.normal(0.0, scale, (shorter, features)) for scale in np.geomspace(0.1, 6.0, _DRAWS)]
    cases = [(bars, shortest) for bars in (np.zeros((shorter, features)), *draws)]
    cases.append((random.normal(0.0, 1.0, (longest, features)), shorter))
    for bars, step in cases:
        x = bars.astype(np.float32)[None]
        try:
            at_once = _answers(session, spec, x)
            one_by_one = _in_steps(session, spec, x, step)
        except MemoryError as exc:
            raise refused("its network needs more memory than any model") from exc
        except Exception as exc:
            # The runtime has a dozen exception types without a common public base; all mean the same here.
            raise refused("its network cannot be run") from exc
        _check_answers(at_once, one_by_one, expected_io(spec, features)[1])


def _check_answers(at_once: _Values, one_by_one: _Values, outputs: tuple[NetworkValue, ...]) -> None:
    for value in outputs:
        answer = at_once[value.name]
        if not fits(answer, value):
            raise refused("its network gives answers of another shape than it says")
        if not np.isfinite(answer).all():
            raise refused("its network gives numbers that are not finite")
        largest = max(1.0, float(np.abs(answer).max()))
        if not np.allclose(one_by_one[value.name], answer, rtol=0.0, atol=_STEPPING * largest):
            raise refused("its network answers differently bar by bar than at once")
    quantiles = at_once["quantiles"]
    if (np.diff(quantiles, axis=-1) < -_CROSSING * max(1.0, float(np.abs(quantiles).max()))).any():
        raise refused("the quantiles of its network are not in ascending order")
    chances = at_once.get("probabilities")
    if chances is not None and ((chances < 0).any() or (np.abs(chances.sum(-1) - 1.0) > _STEPPING).any()):
        raise refused("the chances its network gives do not add up")


def fits(answer: Float32Array, value: NetworkValue) -> bool:
    """Whether an answer has the shape of an output."""
    sizes = zip(answer.shape, value.shape, strict=False)
    return answer.ndim == len(value.shape) and all(wanted is None or size == wanted for size, wanted in sizes)


def _answers(session: Any, spec: ForecastSpec, x: Float32Array, state: _Values | None = None) -> _Values:
    """Return every output for bars of shape (1, T, F) by name."""
    shape = (spec.model.layers * spec.evaluation.seeds, 1, spec.model.hidden_size)
    names = STATES[spec.model.kind]
    before = {f"{name}0": state[name] if state else np.zeros(shape, np.float32) for name in names}
    outputs = [value.name for value in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, {"x": x, **before}), strict=True))


def _in_steps(session: Any, spec: ForecastSpec, x: Float32Array, size: int) -> _Values:
    """Return what `_answers` does, as live trading asks for it: some bars at a time, with the state carried."""
    steps: list[_Values] = []
    for start in range(0, x.shape[1], size):
        steps.append(_answers(session, spec, x[:, start : start + size], steps[-1] if steps else None))
    carried = STATES[spec.model.kind]
    return {
        name: last if name in carried else np.concatenate([step[name] for step in steps], axis=1)
        for name, last in steps[-1].items()
    }


def _check_model(model: Any) -> None:
    if model.functions or model.training_info or model.graph.sparse_initializer or model.graph.quantization_annotation:
        raise refused("its network holds parts that no model has")
    if not model.opset_import or any(
        entry.domain not in DOMAINS or entry.version < _OLDEST_OPSET for entry in model.opset_import
    ):
        raise refused("its network needs operators that are not of the ONNX standard")
    if len(model.graph.node) > _MOST_NODES or len(model.graph.initializer) > _MOST_TENSORS:
        raise refused("its network is larger than any model")
    for node in model.graph.node:
        if node.domain not in DOMAINS or node.op_type not in OPERATORS:
            raise refused("its network has an operator that no model needs")
        if any(
            entry.HasField("g") or entry.graphs or entry.HasField("sparse_tensor") or entry.sparse_tensors
            for entry in node.attribute
        ):
            raise refused("its network holds another graph")


def _check_sizes(graph: Any) -> None:
    """Refuse a graph in which a number, and not only how many there are, decides how large something becomes.

    What the network needs in memory is then the same for all bars, so that having run it once says all.
    """
    numbers = {value.name for value in graph.input}
    for node in graph.node:  # each behind those whose results it takes
        if node.op_type in _SIZED and numbers.intersection(node.input[1:]):
            raise refused("its network decides by the bars how large its parts are")
        if node.op_type != "Shape" and numbers.intersection(node.input):
            numbers.update(node.output)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every constant of a graph, in whatever place."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(tensor: Any) -> None:
    if tensor.data_location != 0 or tensor.external_data:
        raise refused("its network refers to another file")
    size = _ITEM_BYTES.get(tensor.data_type)
    if size is None or any(not 0 <= dimension < 1 << 31 for dimension in tensor.dims):
        raise refused("its network holds numbers of a kind that no model needs")
    count = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        fits = len(tensor.raw_data) == count * size
    else:
        lists = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data)
        fits = sum(map(len, lists)) == count
    if not fits or tensor.string_data or tensor.HasField("segment"):
        raise refused("its network says that a tensor is larger than it is")


def _check_io(graph: Any, io: NetworkIo) -> None:
    for wanted, given in zip(io, (graph.input, graph.output), strict=True):
        if [value.name for value in given] != [value.name for value in wanted]:
            raise refused("its network has other inputs or outputs than its kind of model")
        for value, expected in zip(given, wanted, strict=True):
            kind = value.type.tensor_type
            shape = tuple(entry.dim_value if entry.HasField("dim_value") else None for entry in kind.shape.dim)
            if not value.type.HasField("tensor_type") or kind.elem_type != 1 or shape != expected.shape:
                raise refused("the inputs or outputs of its network do not fit its configuration")


def _check_weights(constants: list[Float32Array], weights: Mapping[str, Float32Array]) -> None:
    """Require that the network is made of the weights beside it, in whatever order it needs them."""
    for values in constants:
        if not np.isfinite(values).all():
            raise refused("its network holds numbers that are not finite")
    # A summand of zeros is left out by the exporter.
    known = np.unique(np.concatenate([np.zeros(1, np.float32), *(values.ravel() for values in constants)]))
    if not all(np.isin(values, known).all() for name, values in weights.items() if _HEAD not in name):
        raise refused("its network is not made of the weights beside it")
