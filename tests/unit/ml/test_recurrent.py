"""Networks and heads: shapes, order of quantiles, starting points, schedules."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from ml.api import HEADS, MODEL_KINDS, ModelSpec
from ml.heads import ClassHead, QuantileHead, StudentHead
from ml.recurrent import EnsembleForecaster, RecurrentForecaster, learning_rate, mean_pinball

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
CPU = torch.device("cpu")


def targets(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(6, (20_000, 2)) * [1.0, 2.0]


@pytest.mark.parametrize(("kind", "head"), list(product(MODEL_KINDS, HEADS)))
def test_a_network_starts_with_the_distribution_of_the_training_targets(kind: str, head: str) -> None:
    torch.manual_seed(0)
    network = RecurrentForecaster(3, ModelSpec(kind=kind, head=head, hidden_size=4, horizons=(1, 4)))
    network.start_from(targets())
    network.eval()
    with torch.no_grad():
        network.output.weight.zero_()
        quantiles = network(torch.zeros(2, 5, 3), *network.initial_state(2, CPU))[0]
    assert quantiles.shape == (2, 5, 2, 5)
    wanted = np.quantile(targets(), LEVELS, axis=0).T
    np.testing.assert_allclose(quantiles[0, 0].numpy(), wanted, atol=0.12, rtol=0.03)


@pytest.mark.parametrize(("kind", "head"), list(product(MODEL_KINDS, HEADS)))
def test_quantiles_never_cross_whatever_the_weights(kind: str, head: str) -> None:
    torch.manual_seed(1)
    network = RecurrentForecaster(3, ModelSpec(kind=kind, head=head, hidden_size=4, layers=2, horizons=(1, 4)))
    network.start_from(targets())
    network.eval()
    with torch.no_grad():
        network.output.weight.normal_(std=20.0)
        network.skip.weight.normal_()
        outputs = network(torch.randn(2, 50, 3) * 5, *network.initial_state(2, CPU))
    assert torch.isfinite(outputs[0]).all()
    assert (outputs[0].diff(dim=-1) >= -1e-6).all()
    if head == "classes":
        torch.testing.assert_close(outputs[1].sum(-1), torch.ones(2, 50, 2))


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_state_carried_from_part_to_part_equals_one_run(kind: str) -> None:
    torch.manual_seed(2)
    spec = ModelSpec(kind=kind, hidden_size=6, layers=2, layer_norm=True)
    network = EnsembleForecaster([RecurrentForecaster(3, spec) for _ in range(3)]).eval()
    x = torch.randn(2, 30, 3)
    with torch.no_grad():
        whole = network(x, *network.initial_state(2, CPU))
        state = network.initial_state(2, CPU)
        parts = []
        for begin in range(0, 30, 7):
            quantiles, *state = network(x[:, begin : begin + 7], *state)
            parts.append(quantiles)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole[0])
    for carried, final in zip(state, whole[1:], strict=True):
        torch.testing.assert_close(carried, final)


def test_student_loss_and_quantiles_are_those_of_scipy() -> None:
    from scipy.stats import t

    head = StudentHead(ModelSpec(head="student_t", horizons=(1, 4)))
    with torch.no_grad():
        head.tails.copy_(torch.tensor([0.3, 4.0]))
    head.settle()
    raw, target = torch.randn(3, 7, 2, 2), torch.randn(3, 7, 2) * 2
    location, scale = raw[..., 0].numpy(), np.log1p(np.exp(raw[..., 1].numpy())) + 1e-4
    dof = head.degrees_of_freedom().detach().numpy()
    np.testing.assert_allclose(
        head.loss(raw, target).detach().numpy(), -t.logpdf(target.numpy(), dof, location, scale), rtol=1e-5, atol=1e-5
    )
    for index, level in enumerate(LEVELS):
        np.testing.assert_allclose(
            head.quantiles(raw)[..., index].detach().numpy(), t.ppf(level, dof, location, scale), rtol=2e-5, atol=1e-5
        )


def test_quantiles_of_classes_are_those_of_the_mixture() -> None:
    head = ClassHead(ModelSpec(head="classes", flat_band=0.5))
    values = np.random.default_rng(3).normal(size=(60_000, 1))
    head.start_from(values)
    chances = np.array([0.2, 0.3, 0.5])
    raw = torch.from_numpy(np.log(chances)).float().view(1, 1, 1, 3)
    groups = [values[values < -0.5], values[(values >= -0.5) & (values <= 0.5)], values[values > 0.5]]
    rng = np.random.default_rng(4)
    drawn = np.concatenate([rng.choice(group, int(200_000 * p)) for group, p in zip(groups, chances, strict=True)])
    np.testing.assert_allclose(head.quantiles(raw)[0, 0, 0].numpy(), np.quantile(drawn, LEVELS), atol=0.04)
    labels = head.classes(torch.tensor([-0.6, -0.5, 0.0, 0.5, 0.6]))
    assert labels.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("still", [0.004, 0.03, 0.1, 0.3, 0.5, 0.9])
def test_where_the_price_often_stands_still_quantiles_of_classes_are_exactly_that(still: float) -> None:
    rng = np.random.default_rng(7)
    values = rng.standard_t(4, 20_000)
    values[rng.random(20_000) < still] = 0.0
    values = (values / values.std()).astype(np.float32).astype(np.float64)
    levels = (0.02, 0.25, float((values < 0.0).mean() + still / 2.0), 0.75, 0.98)
    head = ClassHead(ModelSpec(head="classes", quantile_levels=levels))
    (bias,) = head.start_from(values[:, None])
    found = head.quantiles(torch.from_numpy(bias).float().view(1, 1, 1, 3))[0, 0, 0].numpy()
    wanted = np.quantile(values, levels)
    assert found[2] == wanted[2] == 0.0
    assert ((found == 0.0) == (wanted == 0.0)).all()  # a range does not end beside it either
    np.testing.assert_allclose(found, wanted, atol=0.03, rtol=0.03)


@settings(max_examples=60, deadline=None)
@given(
    chances=st.tuples(*[st.floats(0.02, 1.0)] * 3),
    atoms=st.lists(st.sampled_from([-2.0, -1.0, -0.25, 0.0, 0.1, 0.25, 1.5]), min_size=1, max_size=7, unique=True),
    share=st.floats(0.05, 0.9),
)
def test_quantiles_of_classes_with_jumps_are_those_of_the_mixture(
    chances: tuple[float, float, float], atoms: list[float], share: float
) -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(size=8_000)
    jumps = rng.random(8_000) < share
    values[jumps] = rng.choice(atoms, int(jumps.sum()))
    head = ClassHead(ModelSpec(head="classes", flat_band=0.25))
    head.start_from(values[:, None])
    parts = np.array(chances) / sum(chances)
    found = head.quantiles(torch.from_numpy(np.log(parts)).float().view(1, 1, 1, 3))[0, 0, 0].double().numpy()
    label = head.classes(torch.from_numpy(values)).numpy()
    weights = (parts / np.bincount(label, minlength=3))[label]
    order = np.argsort(values, kind="stable")
    ascending, cumulated = values[order], np.cumsum(weights[order])
    for level, quantile in zip(LEVELS, found, strict=True):
        below, behind = (np.searchsorted(ascending, quantile + off, "right") for off in (-0.06, 0.06))
        assert cumulated[behind - 1] >= level - 1e-6
        assert below == 0 or cumulated[below - 1] <= level + 1e-6
    for atom in atoms:
        before, after = (float(weights[values < atom].sum()), float(weights[values <= atom].sum()))
        inside = [q for level, q in zip(LEVELS, found, strict=True) if before + 1e-5 < level < after - 1e-5]
        assert inside == [pytest.approx(atom, abs=1e-7)] * len(inside)


def test_a_class_that_never_occurs_is_one_sentence() -> None:
    with pytest.raises(UserError, match="does not occur"):
        ClassHead(ModelSpec(head="classes", flat_band=3.0)).start_from(np.zeros((50, 1)))


def test_pinball_loss_is_weighted() -> None:
    quantiles, target = torch.tensor([[[[0.0]], [[0.0]]]]), torch.tensor([[[1.0], [-100.0]]])
    loss = mean_pinball(quantiles, target, torch.tensor([[1.0, 0.0]]), torch.tensor([0.9]))
    assert float(loss) == pytest.approx(0.9)


def test_the_loss_of_the_quantile_head_is_the_pinball_loss_of_its_quantiles() -> None:
    head = QuantileHead(ModelSpec(horizons=(1, 2)))
    raw, target = torch.randn(2, 6, 2, 5), torch.randn(2, 6, 2)
    wanted = mean_pinball(head.quantiles(raw), target, torch.ones(2, 6), head.levels)
    assert float(head.loss(raw, target).mean()) == pytest.approx(float(wanted))


def test_schedules() -> None:
    cycle = [learning_rate("one_cycle", p, 1.0) for p in np.linspace(0, 1, 101)]
    assert cycle[0] == pytest.approx(0.1)
    assert max(cycle) == pytest.approx(1.0, abs=0.01)
    assert cycle[-1] == pytest.approx(0.02)
    cosine = [learning_rate("cosine", p, 1.0) for p in np.linspace(0, 1, 101)]
    assert cosine[0] == 1.0
    assert cosine[-1] == pytest.approx(0.02)
    assert all(a >= b for a, b in pairwise(cosine))
    assert learning_rate("constant", 0.9, 0.5) == 0.5
