"""Networks that somebody made on purpose, and the child process that opens them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.errors import UserError
from ml.api import ForecastSpec
from ml.model_storage import ONNX, WEIGHTS, package_files
from ml.network_check import check_behaviour, check_graph, expected_io
from ml.network_guard import check_in_child
from ml.package_check import read_weights
from tests.trained_model import Trained
from tests.unit.ml.packages import forged


@pytest.fixture(scope="module")
def files(trained: Trained) -> dict[str, bytes]:
    return package_files(trained.models_dir, trained.result.model_id)


def graph_of(files: dict[str, bytes]) -> Any:
    return onnx.load_from_string(files[ONNX])


def features_of(model: Any) -> int:
    return int(model.graph.input[0].type.tensor_type.shape.dim[2].dim_value)


def check(network: bytes, files: dict[str, bytes], spec: ForecastSpec) -> None:
    features = features_of(graph_of(files))
    check_graph(network, spec, features, read_weights(files[WEIGHTS]))
    check_behaviour(network, spec, features)


def test_what_we_export_passes(files: dict[str, bytes], trained: Trained) -> None:
    check(files[ONNX], files, trained.spec)


def node(kind: str, domain: str = "", **attributes: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.graph.node.append(helper.make_node(kind, ["x"], ["unused"], domain=domain, **attributes))

    return change


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def external_without_the_word(model: Any) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="../../secret")


def external_in_a_node(model: Any) -> None:
    tensor = TensorProto(data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))


def larger_than_it_is(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]


def endless(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [1 << 62]


def negative(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [-1, -64]


def text(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="t", data_type=8, dims=[1], string_data=[b"x"]))


def imports(domain: str, version: int) -> Callable[[Any], None]:
    return lambda model: model.opset_import.append(helper.make_opsetid(domain, version))


def without_opset(model: Any) -> None:
    del model.opset_import[:]


def old_opset(model: Any) -> None:
    model.opset_import[0].version = 5


def function(model: Any) -> None:
    body = [helper.make_node("Identity", ["a"], ["b"])]
    model.functions.append(helper.make_function("", "f", ["a"], ["b"], body, [helper.make_opsetid("", 20)]))


def loop(model: Any) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["l"], body=body))


def hidden_graph(model: Any) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", body))


def renamed_output(model: Any) -> None:
    model.graph.output[0].name = "prices"


def another_output(model: Any) -> None:
    model.graph.output.append(helper.make_tensor_value_info("extra", 1, [1]))


def declared(place: str, index: int, size: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        getattr(model.graph, place)[0].type.tensor_type.shape.dim[index].dim_value = size

    return change


def as_double(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def sequence(model: Any) -> None:
    name = model.graph.output[0].name
    value = helper.make_tensor_sequence_value_info(name, 1, None)
    model.graph.output[0].CopyFrom(value)


def broken_chain(model: Any) -> None:
    del model.graph.node[0]


def other_weights(model: Any) -> None:
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    values = numpy_helper.to_array(tensor) + np.float32(0.5)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def not_a_number(model: Any) -> None:
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    values = np.full_like(numpy_helper.to_array(tensor), np.nan)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def many_nodes(model: Any) -> None:
    model.graph.node.extend([helper.make_node("Identity", ["x"], [f"u{i}"]) for i in range(20_001)])


@pytest.mark.parametrize(
    "attack",
    [
        node("PythonOp", "ai.onnx.contrib"), node("Add", "com.microsoft"), node("Attention", "com.microsoft"),
        node("Add", "ai.onnx.ml"), node("RandomNormal"), node("StringNormalizer"), node("If"),
        node("Scan"), node("ConstantOfShape"),
        external, external_without_the_word, external_in_a_node, larger_than_it_is, endless, negative, text,
        imports("ai.onnx.contrib", 1), imports("com.evil", 1), without_opset, old_opset, function, loop, hidden_graph,
        renamed_output, another_output, declared("input", 2, 1 << 30), declared("output", 2, 3),
        declared("input", 0, 1), as_double, sequence, broken_chain, other_weights, not_a_number, many_nodes,
    ],
)  # fmt: skip
def test_graphs_that_no_forecaster_has(
    attack: Callable[[Any], None], files: dict[str, bytes], trained: Trained
) -> None:
    model = graph_of(files)
    attack(model)
    with pytest.raises(UserError, match="refused"):
        check(model.SerializeToString(), files, trained.spec)


@pytest.mark.parametrize("through", ["x", "h0"])
def test_numbers_that_say_how_large_something_becomes(through: str, files: dict[str, bytes], trained: Trained) -> None:
    """It would need little for the bars of the check and all memory for one of the year after."""
    model = graph_of(files)
    constant(model, "everything", np.int64([-1]))
    constant(model, "one", np.float32([1.0]))
    model.graph.node.append(helper.make_node("Reshape", [through, "everything"], ["flat"]))
    model.graph.node.append(helper.make_node("Cast", ["flat"], ["size"], to=TensorProto.INT64))
    check_graph(model.SerializeToString(), trained.spec, features_of(model), read_weights(files[WEIGHTS]))
    model.graph.node.append(helper.make_node("Expand", ["one", "size"], ["unused"]))
    with pytest.raises(UserError, match="decides by the bars"):
        check_graph(model.SerializeToString(), trained.spec, features_of(model), read_weights(files[WEIGHTS]))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 100, b"junk" * 1_000, pickle.dumps([1, 2]), b"\x80\x04cos\nsystem\n", b"\x0a" * 5_000],
)
def test_what_is_no_network(data: bytes, files: dict[str, bytes], trained: Trained) -> None:
    with pytest.raises(UserError):
        check(data, files, trained.spec)


def after_output(model: Any, name: str, nodes: Callable[[str], list[Any]]) -> None:
    """Put nodes between an output and the rest: they get the former value's name and yield the output."""
    for former in model.graph.node:
        for index, output in enumerate(former.output):
            if output == name:
                former.output[index] = f"{name}_before"
    model.graph.node.extend(nodes(f"{name}_before"))


def constant(model: Any, name: str, values: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))


def infinite(model: Any) -> None:
    constant(model, "big", np.float32(3e38))
    after_output(
        model,
        "quantiles",
        lambda before: [
            helper.make_node("Mul", [before, "big"], ["larger"]),
            helper.make_node("Mul", ["larger", "big"], ["quantiles"]),
        ],
    )


def descending(model: Any) -> None:
    after_output(model, "quantiles", lambda before: [helper.make_node("Neg", [before], ["quantiles"])])


def looks_ahead(model: Any) -> None:
    """Every bar's answer takes the sum over all bars given, later ones as well."""
    constant(model, "axis", np.int64([1, 2]))
    after_output(
        model,
        "quantiles",
        lambda before: [
            helper.make_node("ReduceSum", ["x", "axis"], ["all_bars"], keepdims=1),
            helper.make_node("Add", [before, "all_bars"], ["quantiles"]),
        ],
    )


def looks_ahead_over_many_bars(model: Any) -> None:
    """As above, from the hundredth bar on."""
    constant(model, "from", np.int64([99]))
    constant(model, "until", np.int64([1 << 40]))
    constant(model, "bars", np.int64([1]))
    constant(model, "axis", np.int64([1, 2]))
    after_output(
        model,
        "quantiles",
        lambda before: [
            helper.make_node("Slice", ["x", "from", "until", "bars"], ["later"]),
            helper.make_node("ReduceSum", ["later", "axis"], ["all_bars"], keepdims=1),
            helper.make_node("Add", [before, "all_bars"], ["quantiles"]),
        ],
    )


@pytest.mark.parametrize(
    ("attack", "match"),
    [
        (infinite, "not finite"),
        (descending, "ascending"),
        (looks_ahead, "bar by bar"),
        (looks_ahead_over_many_bars, "bar by bar"),
    ],
)
def test_networks_that_answer_nonsense(
    attack: Callable[[Any], None], match: str, files: dict[str, bytes], trained: Trained
) -> None:
    model = graph_of(files)
    attack(model)
    with pytest.raises(UserError, match=match):
        check(model.SerializeToString(), files, trained.spec)


def test_inputs_and_outputs_are_those_of_the_exporter(files: dict[str, bytes], trained: Trained) -> None:
    model = graph_of(files)
    inputs, outputs = expected_io(trained.spec, features_of(model))
    assert [value.name for value in inputs] == [value.name for value in model.graph.input]
    assert [value.name for value in outputs] == [value.name for value in model.graph.output]


# --- in a child -------------------------------------------------------------------------------------------------


def laid_out(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_the_child_passes_what_is_sound(files: dict[str, bytes], tmp_path: Path) -> None:
    check_in_child(laid_out(files, tmp_path))


def test_the_child_says_why_it_refuses(files: dict[str, bytes], tmp_path: Path) -> None:
    model = graph_of(files)
    external(model)
    with pytest.raises(UserError, match="refers to another file"):
        check_in_child(laid_out(forged(files, model=model.SerializeToString()), tmp_path))


def test_a_network_that_swells_is_ended(files: dict[str, bytes], tmp_path: Path) -> None:
    """Nothing in the graph is large; its answer needs eight gigabytes on the way."""

    def swelling(before: str) -> list[Any]:
        return [
            helper.make_node("Expand", ["zero", "size"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros", "axis"], ["sum"], keepdims=0),
            helper.make_node("Add", [before, "sum"], ["quantiles"]),
        ]

    model = graph_of(files)
    constant(model, "zero", np.float32([0.0]))
    constant(model, "size", np.int64([1 << 31]))
    constant(model, "axis", np.int64([0]))
    after_output(model, "quantiles", swelling)
    with pytest.raises(UserError, match="refused"):
        check_in_child(laid_out(forged(files, model=model.SerializeToString()), tmp_path))


def test_a_network_that_swells_with_the_bars_is_ended(files: dict[str, bytes], tmp_path: Path) -> None:
    """A table of all pairs of pairs of bars: nothing for 16 bars, seventeen gigabytes for the most it is given."""

    def swelling(before: str) -> list[Any]:
        return [
            helper.make_node("ReduceSum", ["x", "outer"], ["per_bar"], keepdims=0),
            helper.make_node("Reshape", ["per_bar", "tall"], ["column"]),
            helper.make_node("Reshape", ["per_bar", "wide"], ["row"]),
            helper.make_node("Mul", ["column", "row"], ["pairs"]),
            helper.make_node("Reshape", ["pairs", "tall"], ["pair_column"]),
            helper.make_node("Reshape", ["pairs", "wide"], ["pair_row"]),
            helper.make_node("Mul", ["pair_column", "pair_row"], ["table"]),
            helper.make_node("ReduceSum", ["table", "both"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
            helper.make_node("Add", [before, "zero"], ["quantiles"]),
        ]

    model = graph_of(files)
    for name, values in (("outer", [0, 2]), ("tall", [-1, 1]), ("wide", [1, -1]), ("both", [0, 1])):
        constant(model, name, np.int64(values))
    constant(model, "nothing", np.float32(0.0))
    after_output(model, "quantiles", swelling)
    with pytest.raises(UserError, match="refused"):
        check_in_child(laid_out(forged(files, model=model.SerializeToString()), tmp_path))


def test_files_that_change_while_they_are_checked(files: dict[str, bytes], tmp_path: Path) -> None:
    laid_out(files, tmp_path)
    (tmp_path / ONNX).write_bytes(files[ONNX][:-1] + b"\0")
    with pytest.raises(UserError, match="changed while"):
        check_in_child(tmp_path)


@pytest.mark.parametrize(
    ("job", "limits", "match"),
    [
        ("tests.unit.job_targets:deaf", {"time_limit_s": 1.5}, "took too long"),
        ("tests.unit.job_targets:stops_dead", {"time_limit_s": 1.5}, "took too long"),
        ("tests.unit.job_targets:crashes", {}, "broke the check"),
        ("tests.unit.job_targets:vanishes", {}, "broke the check"),
        ("tests.unit.job_targets:deaf", {"memory_limit": 1 << 20}, "more memory"),
    ],
)
def test_a_child_that_hangs_crashes_or_swells(
    job: str, limits: dict[str, Any], match: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=match):
        check_in_child(laid_out(files, tmp_path), job=job, **limits)
