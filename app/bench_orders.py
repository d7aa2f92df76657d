"""Child of `main.py bench`: how fast orders leave the open window, off screen; prints one JSON line. GUI thread.

Run as `python -m app.bench_orders`; the parent (`app.benchmarks.order_latency_bench`) stays free of Qt.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from app.bench_window import OpenWindow, open_window
from app.benchmarks.bar_trader import BarTrader
from app.benchmarks.wire_tap import SentOrder, WireTap
from core.domain.orders import OrderDraft, OrderType, Side, TimeInForce
from core.practice.control import PracticeControl
from core.signals.risk_management import RiskSettings

if TYPE_CHECKING:
    from core.strategies.predictor import Predictor

SYMBOL = "BTC/USDT"
STOCK = Decimal("0.05")  # held before anything is sold
QUANTITY, STEP = Decimal("0.0003"), Decimal("0.00001")  # every order differs, so that it is known on the wire
ACROSS = Decimal("0.02")
ORDERS = 120
ORDER_PAUSE_S = 0.35  # an order and the balances after it cost 26 of the 6,000 a minute that the venue allows
BARS_S, BARS_SPEED = 45.0, 60.0  # a bar closes every second
KILLS = 5
RESTING = 3  # orders that a kill cancels
EPOCHS = 10_000  # more than there is time for
LOAD_S = 300.0
WIRE_LIMIT_S = 10.0


def main() -> int:
    """Measure and print."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.stdout.write(json.dumps(measure()) + "\n")
    return 0


def measure() -> dict[str, list[float]]:
    """Return latencies, ms: of orders by hand, of a strategy's, and of kills.

    All of it happens while a model is trained and 1,000 market messages a second arrive.
    """
    import ml.inference

    def load_trader(models: object, model_id: str) -> Predictor:
        from core.domain.candles import Timeframe

        return BarTrader(model_id, SYMBOL, Timeframe.M1)

    ml.inference.load_predictor = load_trader  # type: ignore[assignment]  # every session takes its models from here
    with WireTap() as tap, open_window() as window:
        window.connect()
        window.spin(3.0)
        window.wait(lambda: window.application.window.models.risk_settings is not None, WIRE_LIMIT_S)
        limits = window.application.window.models.risk_settings or RiskSettings()
        window.application.executor.change_risk_settings(replace(limits, max_orders_per_minute=10_000))
        window.train(EPOCHS)
        window.burst(LOAD_S)
        window.spin(10.0)  # until the training child has loaded its libraries and works
        figures = {
            "intent_ms": _by_hand(window, tap),
            "event_ms": _by_bars(window, tap),
            "kill_ms": _kills(window, tap),
        }
        if window.models or window.failures:
            ended = "; ".join(map(str, window.failures)) or "it was done"
            raise RuntimeError(f"the training ended before the measurement did: {ended}")
        window.quit()
    return figures


def _by_hand(window: OpenWindow, tap: WireTap) -> list[float]:
    """Place orders one at a time: market and limit orders, purchases and sales in turn, the market at its real pace."""
    _pace(window, 1.0)
    price = _bought(window, tap)
    taken = []
    for number in range(ORDERS):
        side = Side.SELL if number % 2 else Side.BUY
        quantity = QUANTITY + number * STEP
        draft = OrderDraft(SYMBOL, side, OrderType.MARKET, quantity)
        if number // 2 % 2:
            limit = (price * (1 + side.sign * ACROSS)).quantize(Decimal("0.01"))
            draft = replace(draft, order_type=OrderType.LIMIT, limit_price=limit, time_in_force=TimeInForce.IOC)
        began = time.monotonic()
        sent = _placed(window, tap, draft)
        taken.append((sent.at_s - began) * 1_000)
        window.spin(max(0.0, ORDER_PAUSE_S - (time.monotonic() - began)))
    return taken


def _bought(window: OpenWindow, tap: WireTap) -> Decimal:
    """Buy a stock to sell from; returns its price."""
    fills = window.application.window.models.fills
    _placed(window, tap, OrderDraft(SYMBOL, Side.BUY, OrderType.MARKET, STOCK))
    window.wait(lambda: bool(fills.records()), WIRE_LIMIT_S)
    return Decimal(fills.records()[-1].fill.price)


def _placed(window: OpenWindow, tap: WireTap, draft: OrderDraft) -> SentOrder:
    """Place an order and wait until it is on the wire."""
    before, text = len(tap.orders), f"{draft.quantity.normalize():f}"

    def found() -> list[SentOrder]:
        return [sent for sent in tap.orders[before:] if f"{Decimal(sent.quantity).normalize():f}" == text]

    window.application.executor.place_order(draft)
    window.wait(lambda: bool(found()), WIRE_LIMIT_S)
    return found()[0]


def _by_bars(window: OpenWindow, tap: WireTap) -> list[float]:
    """Let a strategy trade on every bar; the time runs from the frame that closes the bar."""
    from core.strategies.spec import StrategySpec

    _pace(window, BARS_SPEED)
    application = window.application
    application.executor.add_strategy(
        StrategySpec("bench", "Bench", SYMBOL, "1m", "bench", Decimal(500), entry_z=0.5, exit_z=0.0)
    )
    application.executor.start_strategy("bench")
    window.spin(BARS_S)
    application.executor.stop_strategy("bench")
    window.spin(1.0)
    orders = {order.client_order_id: order.intent for order in application.window.models.orders.records()}
    taken = []
    for sent in tap.orders:
        intent = orders.get(sent.client_id)
        bar_ns = intent.evidence.bar_open_ns if intent is not None else None
        if bar_ns is not None and (heard_s := tap.bars.get(bar_ns // 1_000_000)) is not None:
            taken.append((sent.at_s - heard_s) * 1_000)
    if len(taken) < BARS_S / 2:
        raise RuntimeError(f"only {len(taken)} orders of the strategy could be followed to the wire")
    return taken


def _pace(window: OpenWindow, speed: float) -> None:
    """Change how fast the market runs."""

    async def change() -> None:
        control = PracticeControl(window.application.practice.endpoints.result())
        try:
            await control.set_speed(speed)
        finally:
            await control.close()

    window.application.market.submit(change)
    window.spin(2.0)  # until everybody's clock has heard of it


def _kills(window: OpenWindow, tap: WireTap) -> list[float]:
    """Stop trading several times, with orders resting, and allow it again in between."""
    executor, taken = window.application.executor, []
    price = Decimal(window.application.window.models.fills.records()[-1].fill.price)
    for number in range(KILLS):
        for rung in range(RESTING):
            limit = (price * Decimal("0.8")).quantize(Decimal("0.01")) - rung
            quantity = QUANTITY + (ORDERS + number * RESTING + rung) * STEP
            _placed(window, tap, OrderDraft(SYMBOL, Side.BUY, OrderType.LIMIT, quantity, limit))
            window.spin(0.2)
        before, began = len(tap.cancels), time.monotonic()
        executor.kill(False)
        window.wait(lambda seen=before: len(tap.cancels) > seen, WIRE_LIMIT_S)  # type: ignore[misc]
        taken.append((tap.cancels[before] - began) * 1_000)
        window.spin(3.0)  # until it is confirmed
        executor.rearm()
        window.spin(1.0)
    return taken


if __name__ == "__main__":
    sys.exit(main())
