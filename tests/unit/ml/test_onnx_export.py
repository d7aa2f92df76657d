from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import ml.onnx_export
from ml.api import ModelSpec
from ml.inference import OnnxForecaster, RecurrentState
from ml.lstm_model import LstmForecaster
from ml.onnx_export import export_onnx


@pytest.fixture(scope="module", params=[1, 2])
def pair(request: pytest.FixtureRequest) -> tuple[LstmForecaster, bytes]:
    torch.manual_seed(request.param)
    network = LstmForecaster(7, ModelSpec(hidden_size=12, layers=request.param)).eval()
    torch.nn.init.normal_(network.head.weight)
    torch.nn.init.normal_(network.skip.weight)
    return network, export_onnx(network)  # the second parameter proves that a process can export twice


@pytest.mark.parametrize("length", [1, 512])
def test_the_exported_network_equals_torch(pair: tuple[LstmForecaster, bytes], length: int) -> None:
    network, exported = pair
    x = torch.randn(1, length, 7)
    h, c = (torch.randn(network.spec.layers, 1, 12).tanh() for _ in range(2))
    with torch.no_grad():
        wanted = network(x, h, c)
    quantiles, state = OnnxForecaster(exported).run(x[0].numpy(), RecurrentState(h.numpy(), c.numpy()))
    np.testing.assert_allclose(quantiles, wanted[0][0].numpy(), atol=1e-5)
    np.testing.assert_allclose(state.h, wanted[1].numpy(), atol=1e-5)
    np.testing.assert_allclose(state.c, wanted[2].numpy(), atol=1e-5)


def test_carried_state_equals_one_long_run(pair: tuple[LstmForecaster, bytes]) -> None:
    forecaster = OnnxForecaster(pair[1])
    x = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)
    whole, _ = forecaster.run(x, forecaster.initial_state())
    state = forecaster.initial_state()
    steps = []
    for row in x:
        quantiles, state = forecaster.run(row[None], state)
        steps.append(quantiles[0])
    np.testing.assert_allclose(np.array(steps), whole, atol=1e-5)


def test_the_file_is_self_contained_dynamic_and_names_no_machine(pair: tuple[LstmForecaster, bytes]) -> None:
    exported = pair[1]
    model = onnx.load_from_string(exported)
    onnx.checker.check_model(model, full_check=True)
    dims = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    layers = pair[0].spec.layers
    assert dims == {
        "x": ["batch", "time", 7],
        "h0": [layers, "batch", 12],
        "c0": [layers, "batch", 12],
        "quantiles": ["batch", "time", 5],
        "h": [layers, "batch", 12],
        "c": [layers, "batch", 12],
    }
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    for path in (str(Path(torch.__file__).parent), str(Path(ml.onnx_export.__file__).parent)):
        assert path.encode() not in exported


def test_an_export_that_differs_is_a_bug(pair: tuple[LstmForecaster, bytes]) -> None:
    network, exported = pair
    with torch.no_grad():
        network.head.bias.add_(1e-3)
        with pytest.raises(RuntimeError, match="differs from the network"):
            ml.onnx_export._check(network, exported)
        network.head.bias.sub_(1e-3)
