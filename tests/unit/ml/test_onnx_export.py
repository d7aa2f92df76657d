from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch

import ml.onnx_export
from core.errors import UserError
from ml.api import EvaluationSpec, ForecastSpec, ModelSpec
from ml.inference import OnnxForecaster
from ml.network_check import check_behaviour, check_graph
from ml.onnx_export import export_onnx
from ml.package_check import read_weights
from ml.recurrent import EnsembleForecaster, RecurrentForecaster

SPECS = (
    ModelSpec(hidden_size=12),
    ModelSpec(hidden_size=12, layers=2, layer_norm=True, horizons=(1, 4)),
    ModelSpec(kind="gru", head="student_t", hidden_size=12, horizons=(1, 4)),
    ModelSpec(kind="gru", head="classes", hidden_size=12, layers=2, horizons=(1, 4)),
)


@pytest.fixture(scope="module", params=range(len(SPECS)))
def pair(request: pytest.FixtureRequest) -> tuple[EnsembleForecaster, bytes]:
    """Return networks of two seeds and their export; the later parameters prove that a process can export twice."""
    torch.manual_seed(request.param)
    members = [RecurrentForecaster(7, SPECS[request.param]) for _ in range(2)]
    for member in members:
        member.start_from(np.random.default_rng(0).normal(size=(5_000, len(member.spec.horizons))))
        torch.nn.init.normal_(member.output.weight)
        torch.nn.init.normal_(member.skip.weight)
    network = EnsembleForecaster(members).eval()
    return network, export_onnx(network)


@pytest.mark.parametrize("length", [1, 512])
def test_the_exported_network_equals_torch(pair: tuple[EnsembleForecaster, bytes], length: int) -> None:
    network, exported = pair
    x = torch.randn(1, length, 7)
    state = [torch.randn_like(part).tanh() for part in network.initial_state(1, torch.device("cpu"))]
    with torch.no_grad():
        wanted = [value.numpy() for value in network(x, *state)]
    forecasts, after = OnnxForecaster(exported).run(x[0].numpy(), tuple(part.numpy() for part in state))
    inverted = network.spec.head == "classes"
    np.testing.assert_allclose(forecasts.quantiles, wanted[0][0], atol=1e-3 if inverted else 1e-5)
    if network.spec.head == "classes":
        assert forecasts.probabilities is not None
        np.testing.assert_allclose(forecasts.probabilities, wanted[1][0], atol=1e-5)
    else:
        assert forecasts.probabilities is None
    for got, last in zip(after, wanted[-len(state) :], strict=True):
        np.testing.assert_allclose(got, last, atol=1e-5)


def test_carried_state_equals_one_long_run(pair: tuple[EnsembleForecaster, bytes]) -> None:
    forecaster = OnnxForecaster(pair[1])
    x = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)
    whole, _ = forecaster.run(x, forecaster.initial_state())
    state = forecaster.initial_state()
    steps = []
    for row in x:
        forecasts, state = forecaster.run(row[None], state)
        steps.append(forecasts.quantiles[0])
    np.testing.assert_allclose(np.array(steps), whole.quantiles, atol=1e-3 if pair[0].spec.head == "classes" else 1e-5)


def test_the_file_is_self_contained_dynamic_and_names_no_machine(pair: tuple[EnsembleForecaster, bytes]) -> None:
    exported = pair[1]
    model = onnx.load_from_string(exported)
    onnx.checker.check_model(model, full_check=True)
    dims = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    spec = pair[0].spec
    state = [2 * spec.layers, "batch", 12]
    horizons = len(spec.horizons)
    wanted = {"x": ["batch", "time", 7], "h0": state, "quantiles": ["batch", "time", horizons, 5], "h": state}
    if spec.kind == "lstm":
        wanted |= {"c0": state, "c": state}
    if spec.head == "classes":
        wanted |= {"probabilities": ["batch", "time", horizons, 3]}
    assert dims == wanted
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    for path in (str(Path(torch.__file__).parent), str(Path(ml.onnx_export.__file__).parent)):
        assert path.encode() not in exported


def test_an_export_that_differs_is_a_bug(pair: tuple[EnsembleForecaster, bytes]) -> None:
    network, exported = pair
    with torch.no_grad():
        network.members[0].output.bias[0].add_(0.1)
        with pytest.raises(RuntimeError, match="differs from the network"):
            ml.onnx_export._check(network, exported)
        network.members[0].output.bias[0].sub_(0.1)


def test_what_is_exported_passes_the_check_of_foreign_packages(pair: tuple[EnsembleForecaster, bytes]) -> None:
    network, exported = pair
    weights = read_weights(safetensors.torch.save(network.state_dict()))
    spec = ForecastSpec(model=network.spec, evaluation=EvaluationSpec(seeds=2))
    check_graph(exported, spec, 7, weights)
    check_behaviour(exported, spec, 7)
    other = ForecastSpec(model=network.spec, evaluation=EvaluationSpec(seeds=3))
    with pytest.raises(UserError, match="do not fit"):
        check_graph(exported, other, 7, weights)


def test_a_market_that_often_stands_still_is_exported_with_its_jump() -> None:
    torch.manual_seed(3)
    values = np.random.default_rng(3).normal(size=(5_000, 1))
    values[::3] = 0.0
    members = [RecurrentForecaster(7, ModelSpec(head="classes", hidden_size=12)) for _ in range(2)]
    for member in members:
        member.start_from(values)
        torch.nn.init.normal_(member.output.weight, std=0.1)
    network = EnsembleForecaster(members).eval()
    exported = export_onnx(network)
    spec = ForecastSpec(model=network.spec, evaluation=EvaluationSpec(seeds=2))
    check_graph(exported, spec, 7, read_weights(safetensors.torch.save(network.state_dict())))
    check_behaviour(exported, spec, 7)
    forecaster = OnnxForecaster(exported)
    forecasts, _ = forecaster.run(np.zeros((40, 7), np.float32), forecaster.initial_state())
    assert (forecasts.quantiles[:, 0, 2] == 0.0).all()
