"""The agents' self-test passes with the product's learners, and fails where learner or environment is broken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import UserError
from core.jobs import JobStopped
from ml import selftest_agent_checks, selftest_agent_exact
from ml.agents.defaults import DDPG, PPO_CONTINUOUS, PPO_DISCRETE, PPOSettings
from ml.agents.fast_ppo import ppo_learner
from ml.agents.market_tensor import MarketTensor
from ml.environment import BatchedTradingEnv
from ml.selftest import CATALOGUES, TRADING, SelftestJob, SelftestProgress, SelftestResult
from ml.selftest_agent_checks import CHECKS
from ml.selftest_agent_lab import Act, Agent, AgentLab, Settings, Train
from ml.selftest_environment import environment_of, tensor_of
from ml.selftest_markets import TaskMarket, ou_task
from ml.selftest_steps import LabHooks
from ml.worker import selftest as job_module
from tests.job_kit import RecordingChannel

pytestmark = pytest.mark.filterwarnings("ignore:The `render_mode` attribute")
HOOKS = LabHooks(lambda what, share: None, lambda: False, time.monotonic)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lab(train: Train | None = None, hooks: LabHooks = HOOKS) -> AgentLab:
    return AgentLab(SelftestJob(("D",), catalogue=TRADING.name, quick=True), hooks, train)


def always(weight: float) -> Train:
    """Something that learns nothing and holds one weight, of three or of any."""

    def train(env: BatchedTradingEnv, settings: Settings, /, *, seed: int, on_step: Callable[[float], None]) -> Act:
        on_step(1.0)
        share = (weight - env.spec.lowest) / (env.spec.highest - env.spec.lowest)
        if env.spec.is_discrete:
            return lambda seen: torch.full((len(seen),), round(share * (env.spec.levels - 1)))
        return lambda seen: torch.full((len(seen), 1), 2.0 * share - 1.0)

    return train


def against_the_level(
    env: BatchedTradingEnv, settings: Settings, /, *, seed: int, on_step: Callable[[float], None]
) -> Act:
    """The best policy without costs."""
    return lambda seen: (seen[:, 0] < 0).long() * 2


# --- values ----------------------------------------------------------------------------------------------------


def test_tasks_are_chosen_by_catalogue() -> None:
    assert tuple(CHECKS) == TRADING.choose(()) == ("D", "E", "F", "G", "H", "I", "J", "M", "N", "O")
    assert TRADING.choose(("o", "D", "O")) == ("D", "O")
    with pytest.raises(UserError, match="self-test of trading has no task 'A'"):
        TRADING.choose(("A",))
    for name, catalogue in CATALOGUES.items():
        assert catalogue.name == name
        for task in catalogue.tasks:
            assert 0.0 < task.quick_seconds <= task.seconds


def test_the_learner_is_told_the_settings_of_the_product() -> None:
    market = ou_task(500, 1).market
    env = BatchedTradingEnv(tensor_of(market), environment_of(market), windows=8, seed=1)
    settings = PPOSettings(hidden=(8, 4), learning_rate=0.01, batch=32, gamma=0.5, n_steps=16, epochs=3, noise=0.2)
    learner = ppo_learner(env, settings, seed=2)
    assert learner.policy.net_arch == [8, 4]
    assert learner.lr_schedule(0.25) == 0.0025
    assert (learner.batch_size, learner.gamma, learner.n_steps, learner.n_epochs) == (32, 0.5, 16, 3)
    assert (learner.ent_coef, learner.gae_lambda) == (settings.entropy, settings.gae_lambda)
    assert learner.policy.log_std.exp().item() == pytest.approx(0.2)
    assert learner.clip_range(1.0) == settings.clip_range
    constant = ppo_learner(env, replace(settings, schedule="constant"), seed=2)
    assert constant.lr_schedule(0.25) == 0.01
    for each in (PPO_DISCRETE, PPO_CONTINUOUS):
        assert each.windows * each.n_steps >= each.batch


# --- it passes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["D", "E", "F", "M", "N", "O"])
def test_a_quick_task_is_passed(task: str) -> None:
    result = CHECKS[task](lab())
    assert result.ok, result
    assert result.task == task
    assert (result.reached if result.share is None else result.share) >= result.required


# --- it fails --------------------------------------------------------------------------------------------------


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_agent_checks, "_QUICK_FRESH_ROWS", 20_000)


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize(
    ("task", "weight"),
    [("D", 1.0), ("E", 0.0), ("G", 0.5), ("G", 1.0), ("G", 2.0), ("H", 0.5), ("I", 0.0), ("J", 0.5), ("M", -1.0)],
)
def test_who_learnt_nothing_fails(task: str, weight: float) -> None:
    result = CHECKS[task](lab(always(weight)))
    assert not result.ok, result
    assert "needed" in result.note or "off" in result.note


@pytest.mark.usefixtures("few_rows")
def test_who_knows_no_costs_fails_the_task_with_costs_only() -> None:
    assert CHECKS["D"](lab(against_the_level)).ok
    result = CHECKS["E"](lab(against_the_level))
    assert not result.ok
    assert result.share is not None
    assert result.share < 0.7


@pytest.mark.usefixtures("few_rows")
def test_who_trades_noise_fails() -> None:
    assert not CHECKS["F"](lab(always(1.0))).ok  # holds for nothing
    result = CHECKS["F"](lab(against_the_level))
    assert not result.ok
    assert "Turnover" in result.note


@pytest.mark.usefixtures("few_rows")
def test_who_keeps_what_it_was_given_fails() -> None:
    def keeper(env: BatchedTradingEnv, settings: Settings, /, *, seed: int, on_step: Callable[[float], None]) -> Act:
        position = env.market_size
        return lambda seen: seen[:, position].sign().long() + 1

    result = CHECKS["F"](lab(keeper))
    assert not result.ok
    assert "was kept" in result.note


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_agent_exact, "_LIVE_STEPS", 15)
    monkeypatch.setattr(selftest_agent_exact, "_ALTERED_FROM", (1_000,))


def shown_the_next_bar(market: TaskMarket) -> MarketTensor:
    """The features of the bar after, which is what a mistake in preparing them would do."""
    return tensor_of(replace(market, features=np.roll(market.features, -1, axis=0)))


@pytest.mark.usefixtures("few_steps")
def test_an_environment_that_looks_ahead_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_agent_exact, "tensor_of", shown_the_next_bar)
    result = CHECKS["N"](lab(always(0.5)))
    assert not result.ok
    assert result.reached < 1.0


@pytest.mark.usefixtures("few_steps")
def test_rewards_that_look_ahead_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def smooth(market: TaskMarket) -> MarketTensor:
        return tensor_of(replace(market, volatility=np.roll(market.volatility, -5)))

    monkeypatch.setattr(selftest_agent_exact, "tensor_of", smooth)
    assert not CHECKS["N"](lab(always(0.5))).ok


@pytest.mark.usefixtures("few_steps")
def test_a_comparison_that_sees_no_change_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_agent_exact, "altered_after", lambda market, row, seed: market)
    result = CHECKS["N"](lab(always(0.5)))
    assert not result.ok
    assert "says nothing" in result.note


def test_an_account_that_is_a_little_off_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = selftest_agent_exact.constant_policies

    def fee_off(seed: int) -> list[object]:
        return [
            replace(case, costs=replace(case.costs, taker_fee=case.costs.taker_fee * 1.00001)) for case in exact(seed)
        ]

    monkeypatch.setattr(selftest_agent_exact, "constant_policies", fee_off)
    result = CHECKS["O"](lab())
    assert not result.ok
    assert result.reached == pytest.approx(8 / 12)  # buy-and-hold and sell-and-hold, in both


# --- the laboratory --------------------------------------------------------------------------------------------


def test_stretches_beside_each_other_are_one_walk() -> None:
    """The position depends on all that was before; a warm-up is enough to know it."""
    market = ou_task(5_000, 3, cost=0.5).market
    spec = environment_of(market)

    def band(seen: Tensor) -> Tensor:
        level, held = seen[:, :1], seen[:, 1:2]
        return torch.where(level.abs() > 1.5, -level.sign(), held)

    beside = lab().weights(Agent(band, spec, 0.0), market)
    env = BatchedTradingEnv(tensor_of(market), spec, windows=1, seed=0)
    (walk,) = env.evaluate_pass(band)
    assert beside.shape == (len(market) - 1,)
    np.testing.assert_allclose(beside, walk.weights, atol=0.02)  # a weight that is kept drifts with the price
    assert np.abs(walk.weights).max() > 0.9


def test_learning_stops_where_it_is_asked_to() -> None:
    asked = iter(range(1_000_000))
    hooks = replace(HOOKS, should_stop=lambda: next(asked) > 3)
    market = ou_task(2_000, 1).market
    for settings in (PPO_CONTINUOUS, DDPG):
        asked = iter(range(1_000_000))
        with pytest.raises(JobStopped):
            lab(hooks=hooks).learn("agent", market, replace(settings, steps=10_000_000), seed=1)


def test_learning_tells_how_far_it_is() -> None:
    told = list[float]()
    hooks = replace(HOOKS, on_step=lambda what, share: told.append(share))
    laboratory = lab(hooks=hooks)
    laboratory.expect(2)
    market = ou_task(2_000, 1).market
    agent = laboratory.learn("agent", market, replace(PPO_CONTINUOUS, steps=20_000), seed=1)
    laboratory.measured("agent", agent, market)
    assert told == sorted(told)
    assert len(told) > 4
    assert told[-1] == 0.5
    assert agent.cpu_seconds > 0.0


def test_the_job_runs_the_tasks_of_its_catalogue() -> None:
    channel = RecordingChannel()
    job = SelftestJob(("O",), catalogue=TRADING.name, quick=True)
    found = SelftestResult.from_json(job_module.run(job.to_json(), channel))
    assert [(task.task, task.ok) for task in found.tasks] == [("O", True)]
    last = SelftestProgress.from_json(channel.messages[-1])
    assert last.finished is not None
    assert last.done == pytest.approx(1.0)
