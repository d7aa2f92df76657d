"""A model strategy feeds its model in order and decides once per closed bar."""

from __future__ import annotations

import pytest

from core.domain.positions import Position
from core.errors import UserError
from core.strategies.model_strategy import ModelStrategy
from tests.unit.execution.fake_venue import BTC
from tests.unit.execution.test_strategy_runner import MINUTE, SPEC, T0, ScriptedModel, bar

FLAT = Position("binance", "BTC/USDT", "s1")
HISTORY = [bar(index) for index in range(-6, 1)]


def strategy(scores: dict[int, float], **state: object) -> ModelStrategy:
    made = ModelStrategy(SPEC, ScriptedModel(scores), BTC, **state)  # type: ignore[arg-type]
    assert made.warm_up(HISTORY)
    return made


def test_it_decides_and_remembers() -> None:
    made = strategy({1: 1.0})
    decision = made.on_bar(bar(1), FLAT, 7)
    assert decision is not None
    assert decision.intent is not None
    assert decision.intent.intent_id == f"s1:{T0 + MINUTE}"
    assert (made.last_bar_ns, made.last_target) == (T0 + MINUTE, 1.0)


def test_open_bars_are_no_part_of_the_history() -> None:
    made = ModelStrategy(SPEC, ScriptedModel({}), BTC)
    assert made.warm_up([*HISTORY, bar(1, final=False)])
    assert made.follows(bar(1))
    assert made.warm_up_bars == 5


def test_an_open_or_unexpected_bar_is_a_bug() -> None:
    made = strategy({})
    for wrong in (bar(1, final=False), bar(2), bar(0)):
        with pytest.raises(ValueError, match="open or out of sequence"):
            made.on_bar(wrong, FLAT, 7)


def test_a_bar_decided_on_before_only_updates_the_model() -> None:
    made = strategy({1: 1.0, 2: 0.2}, last_bar_ns=T0 + MINUTE, last_target=1.0)
    assert made.on_bar(bar(1), FLAT, 7) is None
    decision = made.on_bar(bar(2), FLAT, 7)
    assert decision is not None
    assert decision.signal.target_weight == 1.0  # between the thresholds it stays in


def test_news_is_closed_and_new() -> None:
    made = strategy({})
    assert made.is_news(bar(1))
    assert not made.is_news(bar(1, final=False))
    assert not made.is_news(bar(0))
    assert ModelStrategy(SPEC, ScriptedModel({}), BTC).is_news(bar(0))


def test_a_model_that_warms_up_decides_nothing() -> None:
    made = ModelStrategy(SPEC, ScriptedModel({}), BTC)
    assert not made.warm_up([])
    assert made.on_bar(bar(1), FLAT, 7, HISTORY[-3:]) is None


def test_a_model_of_another_market_is_refused() -> None:
    model = ScriptedModel({})
    model.symbol = "ETH/USDT"
    with pytest.raises(UserError, match="trained on ETH/USDT 1m, not on BTC/USDT 1m"):
        ModelStrategy(SPEC, model, BTC)
