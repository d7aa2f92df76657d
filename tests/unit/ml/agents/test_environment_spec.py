"""What an environment is told."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.accounting.rules import CostRates, MarketRules
from core.errors import UserError
from ml.agents.environment_spec import EnvironmentSpec, weight_grid


def test_defaults_are_valid_and_travel_as_json() -> None:
    spec = replace(EnvironmentSpec(window=8, reward="drawdown"), costs=CostRates(taker_fee=0.0004))
    spec.validate()
    assert EnvironmentSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"window": 0},
        {"actions": "verbs"},
        {"actions": "discrete", "levels": 1},
        {"lowest": 1.0, "highest": 1.0},
        {"lowest": float("nan")},
        {"highest": float("inf")},
        {"reward": "profit"},
        {"reward_scale": -1.0},
        {"risk_aversion": -1.0},
        {"drawdown_penalty": float("nan")},
        {"sharpe_decay": 0.0},
        {"episode": 1},
        {"start_weight": 2.0},
        {"cash": 0.0},
        {"cost_jitter": -0.1},
        {"costs": CostRates(taker_fee=2.0)},
        {"maintenance": 1.0},
        {"band": -1.0},
    ],
)
def test_what_cannot_be_built_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        replace(EnvironmentSpec(), **change).validate()


def test_rules_follow_the_range_of_weights() -> None:
    market = MarketRules(tick_size=0.5, lot_size=0.01, min_notional=5.0)
    rules = EnvironmentSpec(lowest=0.0, highest=3.0, maintenance=0.01, band=0.02).rules(market)
    assert rules == replace(market, max_leverage=3.0, allows_short=False, maintenance=0.01, band=0.02)


def test_smaller_weights_do_not_lower_the_leverage_of_a_spot_market() -> None:
    assert EnvironmentSpec(lowest=0.0, highest=0.5).rules().max_leverage == 1.0


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, ml.agents.environment_spec; sys.exit(bool({'torch', 'numpy', 'gymnasium'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("lowest", "highest"), [(-1.0, 1.0), (-0.3, 1.0), (0.1, 0.7), (-3.0, 3.0), (-0.9, -0.1)])
@pytest.mark.parametrize("levels", [2, 3, 7, 11, 14, 21])
def test_a_grid_of_weights_is_even_and_knows_nothing_near_nothing(lowest: float, highest: float, levels: int) -> None:
    grid = weight_grid(lowest, highest, levels)
    assert (grid[0], grid[-1], len(grid)) == (lowest, highest, levels)
    assert grid == pytest.approx(np.linspace(lowest, highest, levels), abs=1e-12)
    assert all(weight == 0.0 or abs(weight) > 1e-3 for weight in grid)
