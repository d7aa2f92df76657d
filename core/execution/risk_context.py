"""What the risk gate is told of an intent: books, prices, limits used, and what went out lately. Executor's event loop.

The order desk asks `RiskContexts.of` before every check and tells the `OrderFlow` what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from core.clock import NS_PER_S, Clock
from core.domain.money import ZERO
from core.domain.orders import Intent, Order, Side, TradingMode
from core.execution.account import AccountBook
from core.execution.api.gateway import ExchangeGateway
from core.execution.marks import Marks
from core.execution.order_flow import MINUTE_NS, OrderFlow
from core.execution.order_manager import OrderManager
from core.execution.trading_control import TradingControl
from core.signals.risk.context import BookView, RiskContext
from core.signals.risk_management import RiskManager


class RiskContexts:
    """Builds what the gate is told.

    Args:
        in_doubt: whether the books have yet to be compared with the venue.
        clock_skew_ns: the venue's clock minus ours, None where nobody has measured it.
        owner_denies: why an intent's owner must not trade its market now, one sentence; empty where it may.
        own_equity: worth of the account that an agent's intent trades, quote currency; None of other intents.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        manager: OrderManager,
        risk: RiskManager,
        control: TradingControl,
        account: AccountBook,
        marks: Marks,
        flow: OrderFlow,
        wall: Clock,
        *,
        in_doubt: Callable[[], bool],
        clock_skew_ns: Callable[[], int | None],
        owner_denies: Callable[[Intent], str] = lambda intent: "",
        own_equity: Callable[[Intent], Decimal | None] = lambda intent: None,
    ) -> None:
        self._gateway = gateway
        self._manager = manager
        self._risk = risk
        self._control = control
        self._account = account
        self._marks = marks
        self._flow = flow
        self._wall = wall
        self._in_doubt = in_doubt
        self._clock_skew_ns = clock_skew_ns
        self._owner_denies = owner_denies
        self._own_equity = own_equity

    def of(self, intent: Intent, book: BookView | None = None) -> RiskContext:
        """Return the world around an intent at this moment."""
        self._flow.hear(intent)
        symbol, owner = intent.symbol, intent.owner
        instrument = self._gateway.instruments.get(symbol)
        working = self._manager.working
        prices = {s: self._marks.price(s) for s in {order.intent.symbol for order in working}}
        return RiskContext(
            now_ns=self._wall.now_ns(),
            trading_state=self._control.state,
            keeps_protection=self._control.keeps_protection,
            instrument=instrument,
            mark_price=self._marks.price(symbol),
            mark_age_ns=self._marks.age_ns(symbol),
            marks={s: price for s, price in prices.items() if price is not None},
            in_doubt=self._in_doubt(),
            owner_quantity=self._manager.position(symbol, owner).quantity,
            account_quantity=self._manager.account_quantity(symbol),
            holdings=self._account.total(instrument.base) if instrument else ZERO,
            free=self._account.free,
            equity=self._account.equity(instrument.quote) if instrument else None,
            working=working,
            unbooked=self._manager.unbooked,
            day_pnl=self._account.day_pnl(),
            drawdown=self._account.drawdown(),
            recent=self._flow.recent(self._risk.settings.duplicate_window_s * NS_PER_S),
            usual_quantities=self._flow.usual_quantities(symbol, owner),
            own_equity=self._own_equity(intent),
            orders_last_second=self._flow.orders_within(NS_PER_S),
            orders_last_minute=self._flow.orders_within(MINUTE_NS),
            cancels_last_minute=self._flow.cancels_within(MINUTE_NS),
            book=book,
            live=self._gateway.mode is TradingMode.LIVE,
            clock_skew_ns=self._clock_skew_ns(),
            symbol_owner_denies=self._owner_denies(intent),
        )

    def without(self, intent: Intent, former: Order) -> RiskContext:
        """Return the world as it will be once `former`, an order of the same market, is cancelled: it locks nothing."""
        context = self.of(intent)
        instrument = context.instrument
        if instrument is None:
            return context
        selling = former.intent.side is Side.SELL
        price = former.intent.limit_price or context.mark_price or ZERO
        currency = instrument.base if selling else instrument.quote
        locked = former.remaining_quantity if selling else former.remaining_quantity * price
        return replace(
            context,
            working=[order for order in context.working if order.client_order_id != former.client_order_id],
            free={**context.free, currency: context.free.get(currency, ZERO) + locked},
        )
