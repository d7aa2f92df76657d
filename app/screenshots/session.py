"""A trading session on the market of the pictures, as the executor would have told it. Qt-free, pure, any thread.

Fills happen at closes of past bars and positions follow from them by the ledger's own arithmetic, so that chart,
tables and account agree with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from app.flows.origin_text import market_title
from app.flows.sample_session import MODEL_IDS, PRACTICE, SAMPLE_VERDICT, VENUE, sample_instruments, sample_order
from app.i18n import tr
from app.models.model_choice import ModelChoice
from app.screenshots.market import NOW_NS, PictureMarket
from app.screenshots.plans import BRACKET_ID, picture_plans
from core.clock import NS_PER_S
from core.domain.candles import Timeframe
from core.domain.data_origin import with_caution
from core.domain.fills import Fill, Liquidity
from core.domain.instruments import Instrument
from core.domain.orders import (
    STOP_REASON,
    TERMINAL_STATES,
    Order,
    OrderState,
    OrderType,
    Side,
    TradingMode,
    TradingState,
)
from core.domain.positions import Balance, Position
from core.domain.signals import Signal
from core.events import (
    BalancesChanged,
    ConnectionState,
    ConnectionStatus,
    ExecutorEvent,
    FillBooked,
    IntentDenied,
    Notice,
    OrderUpdated,
    PlanUpdated,
    PositionChanged,
    Severity,
    SignalEmitted,
    StrategyState,
    StrategyStatus,
    TradingStateChanged,
)
from core.execution.kill_switch import KillReport
from core.execution.position_tracker import book_fill, net_pnl

BARS = Timeframe.M15
BTC, ETH, SOL = "BTC/USDT", "ETH/USDT", "SOL/USDT"
HOURLY, QUARTERLY = "btcusdt-1h-9f41c07b", "ethusdt-15m-1b7e55d2"
_FEE_RATE: Final = Decimal("0.001")
_NOT_CONVERTED: Final = None
_LATENCY_MS = {"market": 14.0, "orders": 18.0}
# The sentences are the core's own, word for word: what the pictures show is translated as in a real session.
_VERDICT = "No evidence of an edge over naive forecasts (horizon 1: R² {} on 1,333 unseen bars, p = {})."
_TOO_LARGE = "order value 24901.23 is above the limit 5000"
_NEVER_ARRIVED = "proven never to have reached the venue; it was not sent again"
WOULD_TRADE = "Order would immediately match and take. (-2010)"

Moment = tuple[int, ExecutorEvent]  # when the window hears of it (ns UTC), and what


@dataclass(frozen=True, slots=True)
class _Trade:
    """One execution of the session: who, what, and at the close of which bar (1 is the newest closed one)."""

    symbol: str
    owner: str
    side: Side
    quantity: str
    bars_ago: int
    maker: bool = False


_TRADES = (
    _Trade(BTC, HOURLY, Side.BUY, "0.02500", 58),
    _Trade(ETH, QUARTERLY, Side.BUY, "0.8000", 51),
    _Trade(BTC, HOURLY, Side.SELL, "0.02500", 44, maker=True),
    _Trade(SOL, "manual", Side.BUY, "12.000", 37),
    _Trade(BTC, HOURLY, Side.BUY, "0.03000", 26),
    _Trade(ETH, QUARTERLY, Side.SELL, "0.3000", 21, maker=True),
    _Trade(SOL, "manual", Side.SELL, "12.000", 14),
    _Trade(BTC, HOURLY, Side.BUY, "0.01200", 9, maker=True),
    _Trade(BTC, HOURLY, Side.SELL, "0.00800", 2),
)


class PictureSession:
    """What the window hears in the course of a session that ends at `NOW_NS`."""

    def __init__(self, market: PictureMarket) -> None:
        self.instruments: tuple[Instrument, ...] = sample_instruments()
        self._rules = {instrument.symbol: instrument for instrument in self.instruments}
        self._closes = {symbol: market.history(symbol, BARS, 120) for symbol in self._rules}
        self._prices = {symbol: self._decimal(symbol, market.ticker(symbol).last) for symbol in self._rules}

    def moments(self, mode: TradingMode) -> Iterator[Moment]:
        """Yield every event with its time, oldest first."""
        start_ns = NOW_NS - 60 * BARS.ns
        for link in _LATENCY_MS:
            yield start_ns, self.link(link, mode, ConnectionState.ONLINE)
        for status in self._strategies(StrategyState.RUNNING):
            yield start_ns, status
        positions: dict[tuple[str, str], Position] = {}
        yield from self._executions(positions)
        for status in self._strategies(StrategyState.RUNNING, positions):
            yield NOW_NS, status
        for plan in picture_plans(self.part_of_price, NOW_NS):
            yield plan.created_ns, PlanUpdated(plan)
        for order in self._orders():
            if order.state is OrderState.DENIED:
                yield order.updated_ns, IntentDenied(order.intent, "MAX_ORDER_VALUE", order.message)
            yield order.updated_ns, OrderUpdated(order)
        yield (
            NOW_NS,
            BalancesChanged(
                (
                    Balance("USDT", Decimal("6185.21"), Decimal("1189.06")),
                    Balance("BTC", Decimal("0.02400"), Decimal("0.01000")),
                    Balance("ETH", Decimal("0.5000"), Decimal(0)),
                )
            ),
        )
        yield (
            NOW_NS - 2 * NS_PER_S,
            Notice(
                Severity.SUCCESS,
                tr("Training finished: {market}", market=market_title(BTC, "1h", PRACTICE)),
                with_caution(SAMPLE_VERDICT, origin=PRACTICE),
            ),
        )

    @staticmethod
    def link(name: str, mode: TradingMode, state: ConnectionState) -> ConnectionStatus:
        """Return the health of the link "market" or "orders"."""
        detail = "" if state is ConnectionState.ONLINE else "the candle stream is silent; reading by REST"
        return ConnectionStatus(VENUE, name, mode, state, detail, _LATENCY_MS[name], clock_offset_ms=-3.0)

    def halted(self) -> tuple[Moment, ...]:
        """Return what follows a press of the kill switch."""
        working = [order for order in self._orders() if order.state not in TERMINAL_STATES]
        state = TradingStateChanged(TradingState.HALTED, STOP_REASON)
        report = KillReport(
            "", STOP_REASON, flatten=False, cancelled=[order.client_order_id for order in working], confirmed=True
        )
        summary = Notice(Severity.WARNING, "Stop trading", report.summary())
        positions: dict[tuple[str, str], Position] = {}
        for _ in self._executions(positions):
            pass
        paused = self._strategies(StrategyState.PAUSED, positions)
        cancelled = (OrderUpdated(replace(order, state=OrderState.CANCELED)) for order in working)
        events: tuple[ExecutorEvent, ...] = (*cancelled, *paused, state, summary)
        return tuple((NOW_NS, event) for event in events)

    def models(self) -> tuple[ModelChoice, ...]:
        """Return trained models a strategy can be made of, newest first."""
        day = Timeframe.D1.ns
        return (
            ModelChoice(MODEL_IDS[0], BTC, "1h", SAMPLE_VERDICT, NOW_NS - day // 3, origin=PRACTICE),
            ModelChoice(
                MODEL_IDS[1], ETH, "15m", _VERDICT.format("+0.11%", "0.090"), NOW_NS - 2 * day, origin=PRACTICE
            ),
            ModelChoice(MODEL_IDS[2], SOL, "4h", _VERDICT.format("-0.20%", "0.740"), NOW_NS - 9 * day, origin=PRACTICE),
        )

    def price(self, symbol: str) -> Decimal:
        """Return the last price of a market."""
        return self._prices[symbol]

    def part_of_price(self, symbol: str, share: float) -> Decimal:
        """Return a share of the last price of a market, on its steps."""
        return self._decimal(symbol, float(self.price(symbol)) * share)

    # --- parts ------------------------------------------------------------------------------------------------

    def _executions(self, positions: dict[tuple[str, str], Position]) -> Iterator[Moment]:
        """Yield the fills with what belongs to them; `positions` holds by market and owner what they lead to."""
        for number, entry in enumerate(_TRADES):
            fill = self._fill(number, entry)
            order = sample_order(
                200 + number,
                fill.time_ns,
                symbol=entry.symbol,
                side=entry.side,
                quantity=entry.quantity,
                price=str(fill.price) if entry.maker else None,
                filled=entry.quantity,
                owner=entry.owner,
                state=OrderState.FILLED,
            )
            intent = replace(order.intent, reason="" if entry.owner == "manual" else _reason(entry.side))
            order = replace(order, intent=intent, average_price=fill.price)
            key = (entry.symbol, entry.owner)
            before = positions.get(key, Position(VENUE, entry.symbol, entry.owner))
            positions[key] = book_fill(before, fill, self._rules[entry.symbol], lambda *_: _NOT_CONVERTED).position
            if entry.owner != "manual":
                yield fill.time_ns, self._signal(entry, fill)
            yield fill.time_ns, OrderUpdated(order)
            yield fill.time_ns, FillBooked(fill, order)
            yield fill.time_ns, PositionChanged(positions[key], self.price(entry.symbol))

    def _fill(self, number: int, entry: _Trade) -> Fill:
        frame = self._closes[entry.symbol]
        index = len(frame) - 1 - entry.bars_ago
        price, quantity = self._decimal(entry.symbol, float(frame.close[index])), Decimal(entry.quantity)
        return Fill(
            venue=VENUE,
            symbol=entry.symbol,
            trade_id=str(88_100 + number),
            venue_order_id=str(5_000 + number),
            client_order_id=f"maru-{200 + number:06d}",
            side=entry.side,
            price=price,
            quantity=quantity,
            fee=(price * quantity * _FEE_RATE).quantize(Decimal("0.0001")),
            fee_currency="USDT",
            liquidity=Liquidity.MAKER if entry.maker else Liquidity.TAKER,
            time_ns=int(frame.time_ns[index]) + BARS.ns - 37 * NS_PER_S * (1 + number % 3),
        )

    @staticmethod
    def _signal(entry: _Trade, fill: Fill) -> SignalEmitted:
        weight = 0.85 if entry.side is Side.BUY else 0.0
        reason = _reason(entry.side)
        return SignalEmitted(Signal(entry.owner, entry.symbol, weight, float(fill.price), fill.time_ns, reason))

    def _strategies(
        self, state: StrategyState, positions: Mapping[tuple[str, str], Position] | None = None
    ) -> tuple[StrategyStatus, ...]:
        """Return four strategies, two of them in `state` with what they hold."""
        running = (
            StrategyStatus(HOURLY, tr("Bitcoin hourly"), BTC, "1h", MODEL_IDS[0], state, last_signal=0.85),
            StrategyStatus(QUARTERLY, tr("Ether quarter-hourly"), ETH, "15m", MODEL_IDS[1], state, last_signal=0.4),
        )
        return (
            *(self._with_position(status, positions or {}) for status in running),
            StrategyStatus("solusdt-4h-c3a8802f", tr("Solana swing"), SOL, "4h", MODEL_IDS[2], StrategyState.STOPPED),
            StrategyStatus(
                "btcusdt-5m-1b7e55d2",
                tr("Bitcoin scalp"),
                BTC,
                "5m",
                MODEL_IDS[1],
                StrategyState.FAILED,
                "The model was trained on ETH/USDT 15m, not on BTC/USDT 5m.",
            ),
        )

    def _with_position(self, status: StrategyStatus, positions: Mapping[tuple[str, str], Position]) -> StrategyStatus:
        position = positions.get((status.symbol, status.strategy_id))
        if position is None:
            return status
        pnl = net_pnl(position, self.price(status.symbol)).quantize(Decimal("0.01"))
        return replace(status, position=position.quantity, pnl=pnl)

    def _orders(self) -> tuple[Order, ...]:
        """Return one order in every state, oldest first."""
        new, part = OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED
        return (
            self._order(8, SOL, Side.BUY, "5.000", 1.0, OrderState.REJECTED, 3_544, text=WOULD_TRADE),
            self._order(7, ETH, Side.SELL, "0.1000", 1.02, OrderState.EXPIRED, 3_130, text=_NEVER_ARRIVED),
            self._order(6, BTC, Side.BUY, "0.25000", 0.999, OrderState.DENIED, 2_404, text=_TOO_LARGE),
            self._order(5, SOL, Side.BUY, "40.000", 0.93, OrderState.CANCELED, 1_802),
            self._order(4, BTC, Side.SELL, "0.00500", 0.981, new, 409, stop=0.982, plan=BRACKET_ID),
            self._order(3, BTC, Side.SELL, "0.02000", 1.019, part, 212, owner=HOURLY, filled="0.00800"),
            self._order(2, ETH, Side.BUY, "0.2500", 0.994, new, 74, owner=QUARTERLY),
            self._order(1, BTC, Side.BUY, "0.01000", 0.989, new, 31),
            self._order(10, BTC, Side.SELL, "0.00400", 1.028, OrderState.PENDING_CANCEL, 18),
            self._order(9, ETH, Side.BUY, "0.1500", 0.997, OrderState.UNKNOWN, 9, owner=QUARTERLY),
            self._order(11, SOL, Side.BUY, "8.000", 0.985, OrderState.SUBMITTED, 1),
        )

    def _order(
        self,
        number: int,
        symbol: str,
        side: Side,
        quantity: str,
        share: float,
        state: OrderState,
        age_s: int,
        *,
        owner: str = "manual",
        filled: str = "0",
        text: str = "",
        stop: float | None = None,
        plan: str = "",
    ) -> Order:
        """Return an order at `share` of the last price; with `plan` the stop of that order plan."""
        price = self.part_of_price(symbol, share)
        order = sample_order(
            number,
            NOW_NS,
            symbol=symbol,
            side=side,
            quantity=quantity,
            price=str(price),
            state=state,
            filled=filled,
            owner=owner,
            message=text,
            age_s=age_s,
        )
        if stop is None:
            return order
        trigger = self.part_of_price(symbol, stop)
        intent = replace(order.intent, order_type=OrderType.STOP_LOSS_LIMIT, stop_price=trigger)
        return replace(order, intent=replace(intent, intent_id=f"plan:{plan}:stop:0") if plan else intent)

    def _decimal(self, symbol: str, price: float) -> Decimal:
        return self._rules[symbol].round_price(Decimal(repr(price)))


def _reason(side: Side) -> str:
    """Return why a strategy bought or sold."""
    if side is Side.BUY:
        return "forecast z 1.31 ≥ entry 1.00"
    return "forecast z -0.16 ≤ exit 0.25"
