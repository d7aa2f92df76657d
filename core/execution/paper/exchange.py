"""The venue that a paper account trades on: account, fill models and books, without a wire. Its owner's loop.

Every call is complete when it returns: matched, paid for, committed, and only then told. It knows no keys and no
network; market data is handed in. Every call may raise `UserError` where the account's file cannot be read or written,
and `RetryableError` where another process changed the account meanwhile: then nothing has happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from core.clock import Clock
from core.domain.candles import Candle
from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade
from core.domain.money import LEDGER_CONTEXT, ZERO, is_multiple
from core.domain.orders import OrderState, OrderType, Side
from core.domain.positions import Balance
from core.errors import UserError
from core.execution.api.gateway import (
    AmbiguousOutcome,
    BalanceReport,
    DefinitiveReject,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
    UserEvent,
)
from core.execution.fill_model import FillModel
from core.execution.fill_values import (
    DataLevel,
    Ended,
    Execution,
    FillRules,
    Happening,
    exact,
    exact_bar,
    exact_levels,
    fee_of,
)
from core.execution.paper.account_file import AccountChange, AccountChanged, AccountFile
from core.execution.paper.ledger import InsufficientBalance, PaperLedger, PaperOrder

MAX_OPEN_ORDERS = 200  # per market, as Binance counts them
POOR = "Account has insufficient balance for requested action."

Emit = Callable[[UserEvent], None]


class PaperExchange:
    """One paper account and the markets it trades in.

    Args:
        file: open account; closed by `close`.
        venue: whose markets and instruments are used.
        wall: the venue's clock.
        rules: of the fill model.
        emit: told every order and balance report, after it is durable.
        fees_in: currency that pays fees as long as the account holds enough of it, such as BNB; "" for none.
    """

    def __init__(
        self, file: AccountFile, venue: str, wall: Clock, rules: FillRules, emit: Emit, *, fees_in: str = ""
    ) -> None:
        self._file = file
        self._venue = venue
        self._wall = wall
        self._rules = rules
        self._emit = emit
        self._fees_in = fees_in
        self._instruments: Mapping[str, Instrument] = {}
        self._models: dict[str, FillModel] = {}
        self._orders: dict[str, PaperOrder] = {}  # open ones
        self._ledger = PaperLedger()
        self._seen: dict[str, int] = {}
        self._last_order = self._last_trade = 0
        self._load()

    def _load(self) -> None:
        self._file.catch_up()
        self._orders = {order.key: order for order in self._file.open_orders()}
        self._ledger = PaperLedger(self._file.balances())
        self._seen = self._file.seen()
        self._last_order, self._last_trade = self._file.last_ids()
        for model in self._models.values():
            model.forget_orders()
        for order in self._orders.values():
            if order.symbol in self._instruments:
                self._model(order.symbol).restore(order.simulated())

    def use_instruments(self, instruments: Mapping[str, Instrument]) -> None:
        """Take the markets in that can be traded; orders in them are matched from now on."""
        self._instruments = instruments
        self._models = {symbol: model for symbol, model in self._models.items() if symbol in instruments}
        self._load()

    def close(self) -> None:
        """Release the file; idempotent."""
        self._file.close()

    # --- asking -----------------------------------------------------------------------------------------------

    @property
    def symbols(self) -> set[str]:
        """Markets with open orders."""
        return {order.symbol for order in self._orders.values()}

    def seen_ns(self, symbol: str) -> int | None:
        """Return up to which market time the trades of a market have been matched; None where nobody waits for any."""
        return self._seen.get(symbol) if self._waits(symbol) else None

    def knows_book(self, symbol: str) -> bool:
        """Whether both sides of the book displayed now are known."""
        return all(self._model(symbol).knows_book(side) for side in Side)

    def needs_books(self, symbol: str) -> bool:
        """Whether the next order or an open one depends on every change of the book."""
        model = self._models.get(symbol)
        return model is not None and (model.has_orders or model.remembers_takings)

    def balances(self) -> tuple[Balance, ...]:
        """Return all non-zero balances."""
        self.follow_file()
        return self._ledger.balances

    def open_orders(self, symbol: str | None = None) -> list[OrderReport]:
        """Return all open orders, oldest first."""
        self.follow_file()
        return [o.report() for o in self._orders.values() if symbol in (None, o.symbol)]

    def order(self, symbol: str, client_id: str) -> OrderReport:
        """Return the newest order with a client id.

        Raises:
            OrderUnknown: there is none.
        """
        found = self._file.find_order(symbol, client_id)
        if found is None:
            raise OrderUnknown("Order does not exist.", "-2013")
        return found.report()

    def fills(self, symbol: str, since_ns: int | None) -> list[Fill]:
        """Return own trades in one market, oldest first."""
        return self._file.fills(symbol, since_ns or 0)

    # --- orders -----------------------------------------------------------------------------------------------

    def place(self, request: OrderRequest, market_ns: int) -> OrderReport:
        """Let an order arrive at the book that holds now.

        Args:
            market_ns: market time, ns UTC; trades up to it are none of this order's.

        Raises:
            DefinitiveReject: refused; nothing happened.
            AmbiguousOutcome: an order of this id is open.
        """
        self.follow_file()
        instrument = self._check(request)
        model = self._model(request.symbol)
        order = PaperOrder.of(request, self._last_order + 1, self._wall.now_ns())
        simulated = order.simulated()
        refusal = model.refusal(simulated)
        if refusal is not None:
            raise DefinitiveReject(refusal.value, "-2010")
        try:
            if order.order_type is OrderType.MARKET:
                if not model.knows_book(order.side.opposite):
                    raise RetryableError(f"the order book of {order.symbol} is not known")
                # A sale must be covered completely, also where the book takes less.
                takes = model.plan(simulated) if order.side is Side.BUY else [(ZERO, order.quantity)]
                self._ledger.require(instrument, order, takes)
            else:
                self._ledger.lock(instrument, order)
        except InsufficientBalance:
            raise DefinitiveReject(POOR, "-2010") from None
        self._last_order += 1
        if not self._waits(order.symbol):  # a clock behind the market's must not let past trades in
            self._seen[order.symbol] = max(market_ns, self._seen.get(order.symbol, 0))
        self._orders[order.key] = order
        return order.report(self._commit(order.symbol, model.place(simulated), {order.key: order}))

    def cancel(self, symbol: str, client_id: str) -> OrderReport:
        """Cancel one order by its client id.

        Raises:
            OrderUnknown: there is no such open order.
        """
        self.follow_file()
        found = [o for o in self._orders.values() if (o.symbol, o.client_id) == (symbol, client_id)]
        if not found:
            raise OrderUnknown("Unknown order sent.", "-2011")
        return self._cancel(found)[0]

    def cancel_all(self, symbol: str) -> list[OrderReport]:
        """Cancel every open order in one market."""
        self.follow_file()
        return self._cancel([order for order in self._orders.values() if order.symbol == symbol])

    def _cancel(self, orders: list[PaperOrder]) -> list[OrderReport]:
        for order in orders:
            model = self._models.get(order.symbol)
            if model is not None:
                model.cancel(order.key)
            self._end(order, OrderState.CANCELED)
        if orders:
            self._commit(orders[0].symbol, [], {order.key: order for order in orders})
        return [order.report() for order in orders]

    def _check(self, request: OrderRequest) -> Instrument:
        """Apply the venue's filters.

        Raises:
            DefinitiveReject, AmbiguousOutcome: see `place`.
        """
        instrument = self._instruments.get(request.symbol)
        if instrument is None:
            raise DefinitiveReject(f"{self._venue} has no market {request.symbol}", "-1121")
        if any(order.client_id == request.client_order_id for order in self._orders.values()):
            raise AmbiguousOutcome("Duplicate order sent.", "-2010")  # it proves that one of that id is open
        last = self._model(request.symbol).last_price
        price = request.limit_price if request.order_type is not OrderType.MARKET else last
        if request.order_type is not OrderType.MARKET and request.limit_price is None:
            raise DefinitiveReject("a limit order needs a price", "-1102")
        quantity = request.quantity
        outside = not instrument.min_quantity <= quantity <= instrument.max_quantity
        if quantity <= 0 or outside or not is_multiple(quantity, instrument.lot_size):
            raise DefinitiveReject("Filter failure: LOT_SIZE", "-1013")
        for given in (request.limit_price, request.stop_price):
            if given is not None and (given <= 0 or not is_multiple(given, instrument.tick_size)):
                raise DefinitiveReject("Filter failure: PRICE_FILTER", "-1013")
        if price is not None and LEDGER_CONTEXT.multiply(quantity, price) < instrument.min_notional:
            raise DefinitiveReject("Filter failure: NOTIONAL", "-1013")
        if sum(order.symbol == request.symbol for order in self._orders.values()) >= MAX_OPEN_ORDERS:
            raise DefinitiveReject("Filter failure: MAX_NUM_ORDERS", "-1013")
        return instrument

    # --- the market -------------------------------------------------------------------------------------------

    def on_last_price(self, symbol: str, price: float) -> None:
        """Take the last price in where no trade has told it lately."""
        if math.isfinite(price):
            self._model(symbol).last_price = self._instruments[symbol].round_price(exact(price))

    def on_book(self, book: BookSnapshot) -> None:
        """Take a book in."""
        self.follow_file()
        instrument, model = self._instruments[book.symbol], self._model(book.symbol)
        happened = model.on_book(exact_levels(instrument, book.bids), exact_levels(instrument, book.asks))
        self._commit(book.symbol, happened)

    def on_trades(self, symbol: str, trades: Iterable[PublicTrade], *, level: DataLevel = DataLevel.BOOK) -> None:
        """Take trades in, oldest first.

        Args:
            level: TRADES for trades of the past, whose book is not known.
        """
        self.follow_file()
        instrument, model = self._instruments[symbol], self._model(symbol)
        for trade in trades:
            price = instrument.round_price(exact(trade.price))
            happened = model.on_trade(price, instrument.round_quantity(exact(trade.quantity)), trade.side, level=level)
            if trade.time_ns > self._seen.get(symbol, 0):
                self._seen[symbol] = trade.time_ns
            self._commit(symbol, happened)

    def on_bars(self, symbol: str, bars: Iterable[Candle]) -> None:
        """Take closed bars of the past in, oldest first, for what was open all the time."""
        self.follow_file()
        instrument, model = self._instruments[symbol], self._model(symbol)
        for bar in bars:
            happened = model.on_bar(exact_bar(instrument, bar))
            self._seen[symbol] = max(self._seen.get(symbol, 0), bar.close_time_ns - 1)
            self._commit(symbol, happened)

    def remember(self) -> None:
        """Store where open orders stand in their queues and up to when their markets were seen."""
        self.follow_file()
        self._save(AccountChange(orders=self._standing(self._orders.values()), seen=self._waited_for()))

    def follow_file(self) -> None:
        """Take over what another process did to the account, and tell what it changed."""
        if not self._file.changed_outside():
            return
        before, held = self._orders, self._ledger.balances
        self._load()
        for order in before.values():
            after = self._orders.get(order.key) or self._file.order(order.order_id)
            if after is not None and (after.state, after.executed) != (order.state, order.executed):
                self._emit(after.report())
        if held != self._ledger.balances:
            self._emit(BalanceReport(self._ledger.balances, self._wall.now_ns()))

    # --- inside -----------------------------------------------------------------------------------------------

    def _model(self, symbol: str) -> FillModel:
        if symbol not in self._models:
            self._models[symbol] = FillModel(self._instruments[symbol], self._rules, DataLevel.BOOK)
        return self._models[symbol]

    def _waits(self, symbol: str) -> bool:
        return any(order.symbol == symbol for order in self._orders.values())

    def _waited_for(self) -> dict[str, int]:
        return {symbol: time_ns for symbol, time_ns in self._seen.items() if self._waits(symbol)}

    def _standing(self, orders: Iterable[PaperOrder]) -> tuple[PaperOrder, ...]:
        """Write into orders what the model knows of them."""
        found = tuple(orders)
        for order in found:
            model = self._models.get(order.symbol)
            simulated = model.order(order.key) if model is not None else None
            if simulated is not None:
                order.ahead, order.is_waiting = simulated.ahead, simulated.waiting
        return found

    def _commit(
        self, symbol: str, happened: Iterable[Happening], changed: Mapping[str, PaperOrder] | None = None
    ) -> tuple[Fill, ...]:
        """Book what happened in a market, make it durable, then tell it; returns the fills."""
        touched, fills = dict(changed or {}), []
        for event in happened:
            order = touched[event.key] = self._orders[event.key]
            if isinstance(event, Execution):
                fills.append(self._execute(order, event))
            elif isinstance(event, Ended):
                order.message = event.reason
                self._end(order, OrderState.EXPIRED)
        if not touched:
            return ()
        orders, balances = self._standing(touched.values()), self._ledger.take_changes()
        seen = {symbol: self._seen[symbol]} if symbol in self._seen else {}
        self._save(AccountChange(orders, tuple(fills), balances, seen))
        for order in orders:
            if not order.is_open:
                self._orders.pop(order.key, None)
        for order in orders:
            self._emit(order.report(tuple(fill for fill in fills if fill.venue_order_id == order.key)))
        if balances:
            self._emit(BalanceReport(balances, self._wall.now_ns()))
        return tuple(fills)

    def _save(self, change: AccountChange) -> None:
        try:
            self._file.save(change)
        except AccountChanged:
            self.follow_file()
            raise RetryableError("the paper account was changed by another program; nothing was done") from None
        except UserError:
            self._load()  # memory must not be ahead of the file
            raise

    def _execute(self, order: PaperOrder, event: Execution) -> Fill:
        instrument, now = self._instruments[order.symbol], self._wall.now_ns()
        self._last_trade += 1
        fee, currency = self._fee(instrument, order, event)
        fill = Fill(
            venue=self._venue,
            symbol=order.symbol,
            trade_id=str(self._last_trade),
            venue_order_id=order.key,
            client_order_id=order.client_id,
            side=order.side,
            price=event.price,
            quantity=event.quantity,
            fee=fee,
            fee_currency=currency,
            liquidity=event.liquidity,
            time_ns=now,
        )
        self._ledger.settle(instrument, order, fill)
        order.executed = LEDGER_CONTEXT.add(order.executed, event.quantity)
        order.value = LEDGER_CONTEXT.add(order.value, fill.value)
        order.updated_ns = now
        order.state = OrderState.PARTIALLY_FILLED if order.remaining else OrderState.FILLED
        return fill

    def _fee(self, instrument: Instrument, order: PaperOrder, event: Execution) -> tuple[Decimal, str]:
        """Return what a fill costs, in the currency chosen for fees as long as there is enough of it and a price."""
        usual = fee_of(instrument, order.side, event.price, event.quantity, event.liquidity)
        price = self._models.get(f"{self._fees_in}/{instrument.quote}")
        if price is None or price.last_price is None:
            return usual
        third = (self._fees_in, price.last_price)
        chosen = fee_of(instrument, order.side, event.price, event.quantity, event.liquidity, third=third)
        return chosen if chosen[0] <= self._ledger.balance(self._fees_in).free else usual

    def _end(self, order: PaperOrder, state: OrderState) -> None:
        self._ledger.release(order)
        order.state = state
        order.updated_ns = self._wall.now_ns()
