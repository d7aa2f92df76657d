"""An agent's claims shrink with what the ledger knows of its markets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.agents.claims import settle_agent_claims
from ml.agents.results import EDGE, NO_EDGE, AgentMetrics
from ml.api import DataRange
from ml.trial_ledger import FINISHED, TRAINING, TrialLedger, TrialRecord
from tests.unit.ml.agents.judged_world import judged, noise_market
from tests.unit.ml.agents.test_judge import skilled

BITCOIN = DataRange(venue="binance", symbol="BTC/USDT", timeframe="1h")
ETHER = DataRange(venue="binance", symbol="ETH/USDT", timeframe="1h")


@pytest.fixture(scope="module")
def skill() -> AgentMetrics:
    return judged(noise_market(6), *[0.5 * skilled(6, 0.60, seed) for seed in range(5)])


@pytest.fixture
def ledger(tmp_path: Path) -> TrialLedger:
    return TrialLedger(tmp_path / "trials.sqlite")


def fill(ledger: TrialLedger, symbol: str, count: int, spread: float) -> None:
    """Add trials of as many configurations whose Sharpe ratios differ by so much."""
    ratios = np.linspace(-spread, spread, count).tolist()
    ledger.append_all(
        TrialRecord(
            f"{symbol}/{number}", 1, TRAINING, "binance", symbol, "1h", "bars", f"spec {number}", 0, FINISHED,
            "run", test_sharpe=ratio,
        )
        for number, ratio in enumerate(ratios)
    )  # fmt: skip


def test_without_trials_it_is_the_first(skill: AgentMetrics, ledger: TrialLedger) -> None:
    settled = settle_agent_claims(skill, ledger, (BITCOIN,))
    assert settled == skill
    assert settled.deflated is not None
    assert settled.deflated.trials == 1


def test_many_trials_that_differ_take_the_claim_away(skill: AgentMetrics, ledger: TrialLedger) -> None:
    assert skill.standing == EDGE
    fill(ledger, "BTC/USDT", 200, 0.3)
    settled = settle_agent_claims(skill, ledger, (BITCOIN,))
    assert settled.deflated is not None
    assert settled.deflated.trials == 200
    assert settled.deflated.trial_std == pytest.approx(np.linspace(-0.3, 0.3, 200).std(ddof=1))
    assert settled.standing == NO_EDGE
    assert "The best of 200 tried on this market looks as good by luck" in settled.verdict


def test_the_market_tried_most_decides(skill: AgentMetrics, ledger: TrialLedger) -> None:
    fill(ledger, "ETH/USDT", 200, 0.3)
    assert settle_agent_claims(skill, ledger, (BITCOIN,)).standing == EDGE
    assert settle_agent_claims(skill, ledger, (BITCOIN, ETHER)).standing == NO_EDGE


def test_trials_known_elsewhere_are_not_forgotten(skill: AgentMetrics, ledger: TrialLedger) -> None:
    fill(ledger, "BTC/USDT", 200, 0.3)
    settled = settle_agent_claims(skill, ledger, (BITCOIN,))
    empty = TrialLedger(ledger.path.with_name("other.sqlite"))
    assert settle_agent_claims(settled, empty, (BITCOIN,)) == settled
