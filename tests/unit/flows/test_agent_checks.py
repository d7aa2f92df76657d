"""What is wrong with entries about an agent is said in one sentence, at the field it is about."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from app.flows.agent_checks import algorithm_problem, encoder_problem, environment_problem, judgement_problem
from app.flows.agent_draft import DEFAULT_AGENT, AgentDraft, Direction, Subject, with_changes
from app.flows.datasets import StoredForecaster
from app.flows.training_checks import Problem
from app.flows.training_draft import DEFAULT_DRAFT, TrainingDraft
from app.flows.training_runs import run_of
from app.i18n import Language, set_language
from core.domain.data_origin import BINANCE
from core.errors import UserError
from ml.api import DataRange

STORED = StoredForecaster("0123456789abcdef", BINANCE, "BTC/USDT", "1h", "lstm", (1, 4), 3, 1, 2)


def _draft(**changes: Any) -> AgentDraft:
    return with_changes(DEFAULT_AGENT, **changes)


def _check(found: Problem | None, field: str, words: str) -> None:
    assert found is not None
    assert found.field == field
    assert words in found.text()
    set_language(Language.KOREAN)
    assert words not in found.text()


def _validate(draft: TrainingDraft) -> None:
    run_of(draft, DataRange(symbol="BTC/USDT", timeframe="1h")).validate()


def test_the_defaults_are_right() -> None:
    for kind in ("ppo", "ddpg", "td3", "sac"):
        draft = _draft(algorithm=kind)
        assert (environment_problem(draft), algorithm_problem(draft), judgement_problem(draft)) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"observed_bars": 0}, "observed_bars", "1 to 1,024"),
        ({"highest": "1,5"}, "highest", "ambiguous"),
        ({"highest": ""}, "highest", "-125 to 125"),
        ({"highest": "126"}, "highest", "-125 to 125"),
        ({"highest": "0"}, "highest", "must be above 0"),
        ({"highest": "-1"}, "highest", "must be above 0"),
        ({"direction": Direction.BOTH, "highest": "-1"}, "highest", "must be above 0"),
        ({"direction": Direction.OWN, "lowest": "x"}, "lowest", "not part of a number"),
        ({"direction": Direction.OWN, "lowest": "1"}, "lowest", "must be below the largest"),
        ({"direction": Direction.OWN, "lowest": "--1"}, "lowest", "without a sign"),
        ({"start_weight": "-0.5"}, "start_weight", "0 to 1"),
        ({"actions": "discrete", "levels": 1}, "levels", "2 to 1,001"),
        ({"reward": "drawdown", "drawdown_penalty": "-1"}, "drawdown_penalty", "without a sign"),
        ({"reward": "differential_sharpe", "sharpe_decay": "0.6"}, "sharpe_decay", "0.00001 to 0.5"),
        ({"reward": "mean_variance", "risk_aversion": ""}, "risk_aversion", "risk aversion"),
        ({"reward_scale": "x"}, "reward_scale", "not part of a number"),
        ({"episode": 1}, "episode", "2 to 10,000,000"),
        ({"taker_percent": "100"}, "taker_percent", "0 to 99"),
        ({"spread_percent": "0,01"}, "spread_percent", "ambiguous"),
        ({"slippage_percent": ""}, "slippage_percent", "percentage"),
        ({"impact": "x"}, "impact", "not part of a number"),
        ({"impact_exponent": "2"}, "impact_exponent", "0 to 1.99"),
        ({"cost_jitter": "5"}, "cost_jitter", "0 to 4"),
        ({"cash": "0"}, "cash", "equity must be"),
        ({"band": "3"}, "band", "0 to 2"),
        ({"highest": "10", "maintenance_percent": "20"}, "maintenance_percent", "leaves no room for leverage"),
        (
            {"subject": Subject.BOTH, "encoder_embedding": False, "encoder_quantiles": False},
            "encoder_embedding",
            "Nothing of the forecaster",
        ),
    ],
)
def test_environment(changes: dict[str, Any], field: str, words: str) -> None:
    _check(environment_problem(_draft(**changes)), field, words)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"steps": "3,000,000"}, "steps", "without separators"),
        ({"steps": "999"}, "steps", "1,000 to 1,000,000,000,000"),
        ({"steps": "1e6"}, "steps", "whole number"),
        ({"hidden": "64;64"}, "hidden", "1 to 8 whole numbers"),
        ({"hidden": "1"}, "hidden", "1 to 8 whole numbers"),
        ({"hidden": ", ".join(["8"] * 9)}, "hidden", "1 to 8 whole numbers"),
        ({"algorithm": "sac", "actions": "discrete"}, "algorithm", "choose PPO"),
        ({"windows": 0}, "windows", "1 to 1,048,576"),
        ({"agent_seeds": 101}, "agent_seeds", "1 to 100"),
        ({"agent_seed": -1}, "agent_seed", "seed"),
        ({"evaluations": 0}, "evaluations", "1 to 10,000"),
        ({"agent_patience": 0}, "agent_patience", "1 to 10,000"),
        ({"agent_learning_rate": "0"}, "agent_learning_rate", "0.0000001 to 1"),
        ({"gamma": "1.1"}, "gamma", "0 to 1"),
        ({"entropy": "x"}, "entropy", "not part of a number"),
        ({"noise": "0"}, "noise", "0.01 to 2"),
        ({"gae_lambda": "2"}, "gae_lambda", "0 to 1"),
        ({"agent_epochs": 0}, "agent_epochs", "1 to 1,000"),
        ({"clip_range": "0"}, "clip_range", "0.001 to 10"),
        ({"steps": "10000"}, "windows", "16,384 decisions between two updates, more than the 10,000"),
        ({"batch": 20_000}, "batch", "cannot be larger than that"),
        ({"algorithm": "ddpg", "gradient_steps": 0}, "gradient_steps", "1 to 100,000"),
        ({"algorithm": "ddpg", "buffer": 10}, "buffer", "1,000 to 100,000,000"),
        ({"algorithm": "ddpg", "tau": "0"}, "tau", "0.000001 to 1"),
        ({"algorithm": "ddpg", "learning_starts": 511}, "learning_starts", "at least one of each account, 512"),
        ({"algorithm": "ddpg", "steps": "50000"}, "learning_starts", "fewer than all 50,000"),
        ({"algorithm": "ddpg", "batch": 2_000, "buffer": 1_000}, "batch", "larger than the memory"),
    ],
)
def test_algorithm(changes: dict[str, Any], field: str, words: str) -> None:
    draft = _draft(**changes)
    _check(algorithm_problem(draft), field, words)
    run = dataclasses.replace(DEFAULT_DRAFT, agent=dataclasses.replace(draft, subject=Subject.AGENT))
    with pytest.raises((UserError, ValueError)):  # what the page refuses the run would refuse too
        _validate(run)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ppo", {"tau": "7", "buffer": 0, "gradient_steps": 0, "learning_starts": 0}),
        ("ddpg", {"gae_lambda": "7", "clip_range": "0", "agent_epochs": 0, "noise": "0"}),
    ],
)
def test_entries_of_other_algorithms_do_not_matter(kind: str, changes: dict[str, Any]) -> None:
    assert algorithm_problem(with_changes(_draft(algorithm=kind), **changes)) is None


@pytest.mark.parametrize(("changes", "field"), [({"resamples": 99}, "resamples"), ({"draws": 38}, "draws")])
def test_judgement(changes: dict[str, Any], field: str) -> None:
    _check(judgement_problem(_draft(**changes)), field, "times")


def test_the_stored_forecaster() -> None:
    draft = _draft(subject=Subject.ON_STORED)
    waiting = encoder_problem(draft, (), read=False)
    assert waiting is not None
    assert waiting.passing
    _check(encoder_problem(draft, (), read=True), "encoder_model", "train one first")
    set_language(Language.ENGLISH)
    _check(encoder_problem(draft, (STORED,), read=True), "encoder_model", "Choose the stored forecaster")
    chosen = dataclasses.replace(draft, encoder_model=STORED.model_id)
    assert encoder_problem(chosen, (STORED,), read=True) is None
    assert encoder_problem(_draft(subject=Subject.AGENT), (), read=False) is None
