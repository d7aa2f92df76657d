"""The training of agents: exact resume, early stopping, and the weights that did best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.jobs import JobStopped
from ml.agents.accounts import JudgedPart, follow
from ml.agents.bars import AgentBars, agent_bars
from ml.agents.checkpoint import kept_agent_seconds
from ml.agents.evaluation import judged_market, judged_rows
from ml.agents.progress import AgentProgress, log_agent_progress
from ml.agents.run_spec import DDPG, PPO, SAC, TD3, AgentSpec
from ml.agents.walks import ValidationWalk, Walked, walk_test
from ml.agents.walks import test_environment as judged_environment
from ml.environment import BatchedTradingEnv
from ml.features import MarketHistory
from ml.rl_trainer import TrainedAgent, train_rl_model
from tests.unit.ml.agents.agent_runs import short_spec
from tests.unit.ml.helpers import ar1_returns, frame_from_returns

Policy = Callable[[torch.Tensor], torch.Tensor]


def prepared(spec: AgentSpec) -> AgentBars:
    frame = frame_from_returns(ar1_returns(2_500, 0.3, 1), missing=(1_000, 2_300))
    return agent_bars(MarketHistory(frame), spec)


@pytest.fixture(scope="module")
def bars() -> AgentBars:
    return prepared(short_spec(PPO))


def train(
    bars: AgentBars, spec: AgentSpec, folder: Path, *, stop_after: int | None = None, resume: bool = False
) -> TrainedAgent:
    """Train; stop once so many passes over the validation part have been reported."""
    seen: list[AgentProgress] = []

    def passes() -> int:
        return len({(told.seed_index, told.last.step) for told in seen if told.last is not None})

    return train_rl_model(
        bars,
        spec,
        run_id="agent-1",
        run_dir=folder,
        on_progress=seen.append,
        should_stop=lambda: stop_after is not None and passes() >= stop_after,
        resume=resume,
    )


def walked(bars: AgentBars, log_return: float) -> Walked:
    """Return a walk that came to so much, the same at every bar."""
    decisions = sum(len(stretch) - 1 for stretch in bars.valid)
    return Walked(log_return, 0.0, 0.0, np.full(decisions, log_return / decisions))


def returns(trained: TrainedAgent) -> list[tuple[int, int, float]]:
    return [(record.seed, record.step, record.log_return) for record in trained.history]


@pytest.mark.parametrize(("kind", "stop_after"), [(PPO, 1), (PPO, 6), (DDPG, 2), (TD3, 5), (SAC, 3)])
def test_a_cancelled_run_resumes_to_the_very_same_agent(
    bars: AgentBars, tmp_path: Path, kind: str, stop_after: int
) -> None:
    spec = short_spec(kind)
    whole = train(bars, spec, tmp_path / "whole")
    with pytest.raises(JobStopped):
        train(bars, spec, tmp_path / "cut", stop_after=stop_after)
    assert kept_agent_seconds(tmp_path / "cut") > 0
    torch.manual_seed(99)  # whatever else drew numbers meanwhile
    resumed = train(bars, spec, tmp_path / "cut", resume=True)
    assert returns(resumed) == returns(whole)
    wanted = whole.network.state_dict()
    for name, value in resumed.network.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_a_discrete_agent_learns_as_well(tmp_path: Path) -> None:
    spec = short_spec(PPO, discrete=True, seeds=1)
    trained = train(prepared(spec), spec, tmp_path)
    assert max(record.log_return for record in trained.history) > 0.1


def test_the_best_weights_are_kept(bars: AgentBars, tmp_path: Path) -> None:
    spec = short_spec(PPO)
    trained = train(bars, spec, tmp_path)
    steps = [(number + 1) * spec.algorithm.steps / 4 for number in range(4)]
    low, high = spec.environment.lowest, spec.environment.highest
    env = BatchedTradingEnv(bars.market, spec.environment, windows=1, seed=0, stretches=bars.train)

    def acting(member: torch.nn.Module) -> Policy:
        @torch.no_grad()
        def act(seen: torch.Tensor) -> torch.Tensor:
            weights: torch.Tensor = member(seen)
            return ((weights - low) / (high - low) * 2 - 1).unsqueeze(1)

        return act

    for state, member in zip(trained.states, trained.network.members, strict=True):
        assert all(record.step >= step for record, step in zip(state.history, steps, strict=True))
        best = max(state.history, key=lambda record: record.log_return)
        assert (state.best_step, state.best_return) == (best.step, best.log_return)
        again = ValidationWalk(bars.valid, 1).run(env, acting(member))
        assert again.log_return == pytest.approx(best.log_return, abs=1e-5)


def test_patience_ends_a_seed(bars: AgentBars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.1, 0.3, 0.2, 0.3, 9.0])
    monkeypatch.setattr(ValidationWalk, "run", lambda *_: walked(bars, next(found)))
    spec = short_spec(PPO, seeds=1)
    trained = train(bars, replace(spec, algorithm=replace(spec.algorithm, evaluations=8, patience=2)), tmp_path)
    (state,) = trained.states
    assert [record.log_return for record in state.history] == [0.1, 0.3, 0.2, 0.3]
    assert (state.best_return, state.best_step) == (0.3, state.history[1].step)


def test_numbers_that_are_none_end_a_run(bars: AgentBars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ValidationWalk, "run", lambda *_: walked(bars, float("nan")))
    with pytest.raises(UserError, match="diverged after"):
        train(bars, short_spec(PPO), tmp_path)


def test_a_checkpoint_of_something_else_is_refused(bars: AgentBars, tmp_path: Path) -> None:
    spec = short_spec(PPO)
    with pytest.raises(JobStopped):
        train(bars, spec, tmp_path, stop_after=1)
    other = replace(spec, environment=replace(spec.environment, highest=0.5))
    with pytest.raises(UserError, match="another configuration or to other data"):
        train(bars, other, tmp_path, resume=True)
    (tensors,) = tmp_path.glob("checkpoint-*.safetensors")
    data = tensors.read_bytes()
    tensors.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match="damaged"):
        train(bars, spec, tmp_path, resume=True)
    (tmp_path / "checkpoint-1.json").write_text('{"tensors": 7}')
    with pytest.raises(UserError, match="no usable checkpoint"):
        train(bars, spec, tmp_path, resume=True)


def test_progress_says_how_far_it_is(bars: AgentBars, tmp_path: Path) -> None:
    spec, seen = short_spec(PPO), list[AgentProgress]()
    train_rl_model(bars, spec, run_id="agent-1", run_dir=tmp_path, on_progress=seen.append, should_stop=lambda: False)
    assert (seen[0].step, seen[0].last, seen[-1].seed_index) == (0, None, 1)
    assert seen[-1].step >= spec.algorithm.steps
    assert seen[-1].eta_s is not None
    line = log_agent_progress(seen[-1])
    assert line.startswith("seed 2/2 · ")
    assert "steps/s on CPU" in line
    assert {told.run_id for told in seen} == {"agent-1"}
    assert AgentProgress.from_json(seen[-1].to_json()) == seen[-1]


def momentum(seen: torch.Tensor) -> torch.Tensor:
    """Follow the first feature, whatever the account is like."""
    return seen[:, :1].clamp(-1, 1)


def test_walking_in_pieces_is_walking_the_whole(bars: AgentBars, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.agents.walks._PIECE", 200)
    spec = short_spec(PPO).environment
    env = BatchedTradingEnv(bars.market, spec, windows=1, seed=0, stretches=bars.train)
    stretch = max(bars.train, key=len)
    assert len(stretch) > 900
    walk = ValidationWalk([stretch], 1)
    assert len(walk._pieces) > 3
    walked = walk.run(env, momentum)
    (whole,) = env.evaluate_pass(momentum, [stretch])
    assert walked.log_return == pytest.approx(float(np.log(whole.equity[-1] / whole.equity[0])), abs=1e-9)
    assert walked.exposure == pytest.approx(float(np.abs(whole.weights).mean()), abs=1e-9)
    moves = np.abs(np.diff(whole.weights, prepend=0.0))
    assert walked.turnover == pytest.approx(float(moves.mean()), abs=1e-9)


def test_policies_walk_side_by_side_as_alone(bars: AgentBars) -> None:
    spec = short_spec(PPO).environment

    def first(seen: torch.Tensor) -> torch.Tensor:
        return seen[:, 0].clamp(-1, 1)

    def second(seen: torch.Tensor) -> torch.Tensor:
        return (0.5 * seen[:, -5] - seen[:, 1]).clamp(-1, 1)  # looks at its own weight too

    policies = [(7, first), (8, second)]
    both = walk_test(bars, spec, policies)
    assert len(bars.test) > 1
    for one, walk in zip(policies, both, strict=True):
        (alone,) = walk_test(bars, spec, [one])
        np.testing.assert_array_equal(walk.weights, alone.weights)
        assert walk.observed is not None
        assert alone.observed is not None
        np.testing.assert_array_equal(walk.observed.observations, alone.observed.observations)
        again = walk.observed.policy(walk.observed.observations)
        np.testing.assert_allclose(again, walk.weights, atol=1e-6)
        assert walk.seed == one[0]


def test_what_is_judged_are_the_weights_themselves(bars: AgentBars) -> None:
    """To the last digit: through actions and back they would be off by rounding, and a band or a lot would notice."""
    spec = replace(short_spec(PPO).environment, lowest=-0.3, highest=1.7)

    def choose(seen: torch.Tensor) -> torch.Tensor:
        return (0.1 + seen[:, 0]).clamp(-0.3, 1.7)

    (walk,) = walk_test(bars, spec, [(7, choose)])
    assert walk.observed is not None
    wanted = np.clip(choose(torch.from_numpy(walk.observed.observations)).double().numpy(), -0.3, 1.7)
    np.testing.assert_array_equal(walk.weights, wanted)
    assert walk.weights.min() == -0.3  # float32 would have it a little lower
    assert np.unique(walk.weights).size > 100


def test_an_agent_that_must_hold_something_is_judged_from_nothing(bars: AgentBars) -> None:
    """What it holds at first has to be bought, as in the kernel that judges it, whatever its episodes begin with."""
    spec = replace(short_spec(PPO).environment, lowest=0.2, highest=1.0, start_weight=0.2, band=0.0)

    def hold(seen: torch.Tensor) -> torch.Tensor:
        return torch.full((len(seen),), 0.5)

    (walk,) = walk_test(bars, spec, [(7, hold)])
    env = judged_environment(bars, spec)
    part = JudgedPart.of(judged_market(env, bars_per_year=8_760.0), judged_rows(env, bars.test))
    assert walk.rewards == pytest.approx(float(follow(walk.weights, part).unsold), abs=1e-9)
    assert walk.observed is not None
    account = walk.observed.observations[0, -5:]
    np.testing.assert_array_equal(account, [0.0, 0.0, 0.0, 0.0, 1.0])
    (validated,) = [ValidationWalk(bars.test, 1).run(env, lambda seen: torch.full((len(seen), 1), -0.25))]
    assert validated.log_return == pytest.approx(walk.rewards, abs=1e-9)


def test_a_part_without_a_decision_is_one_sentence() -> None:
    spec = short_spec(PPO)
    wide = replace(spec, environment=replace(spec.environment, window=400))
    with pytest.raises(UserError, match="validation part has no 401 bars"):
        prepared(wide)
