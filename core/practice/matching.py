"""Price-time matching of one market: our orders, synthetic liquidity and the flow of market trades.

Runs on the exchange's event loop; no I/O, no clock of its own: every call is told the times. Prices are ticks,
quantities lots. Own orders take from the synthetic book at once; what rests is filled by market trades through its
price, after the synthetic queue in front of it at its price, or when the synthetic book moves across it.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass

from core.practice.ledger import Ledger
from core.practice.liquidity import Touch, liquidity_step, resting_levels
from core.practice.orders import (
    CANCELED,
    EXPIRED,
    EXPIRED_IN_MATCH,
    FILLED,
    FOK,
    GTC,
    LIMIT,
    LIMIT_MAKER,
    MARKET,
    PARTIALLY_FILLED,
    STOP_LOSS_LIMIT,
    Fill,
    Order,
    OrderEvent,
    Rejection,
    insufficient_balance,
)
from core.practice.specs import MarketSpec
from core.practice.tape import Print, Tape

Levels = list[tuple[int, int]]
FillCap = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happens: market time and server (wall) time, ms."""

    market_ms: int
    server_ms: int


class Matcher:
    """Matching engine of one market.

    Everything that happens is appended to `events` (our orders) and `prints` (the public tape); the caller drains both.
    """

    def __init__(
        self, spec: MarketSpec, seed: int, ledger: Ledger, tape: Tape, fill_cap: FillCap = lambda symbol: None
    ) -> None:
        """Match one market.

        Args:
            spec: the market.
            seed: of its synthetic liquidity.
            ledger: the account.
            tape: its trades.
            fill_cap: returns how many lots an order may get at once (None: as many as there are); asked once for
                every occasion on which it would get some.
        """
        self.spec = spec
        self.tape = tape
        self.events: list[OrderEvent] = []
        self.prints: list[Print] = []
        self._seed = seed
        self._ledger = ledger
        self._fill_cap = fill_cap
        self._touch = Touch.after(tape.last_price, tape.last_buyer_maker, tape.last_price)
        self._version = 0
        self._consumed: dict[bool, dict[int, int]] = {True: {}, False: {}}  # by side (asks?), price -> lots taken
        self._levels: dict[bool, tuple[tuple[int, int], Levels]] = {}
        self._resting: dict[bool, list[Order]] = {True: [], False: []}  # by is_buy, best first, then oldest
        self._stops: list[Order] = []

    @property
    def has_orders(self) -> bool:
        """Whether any own order is open here."""
        return bool(self._resting[True] or self._resting[False] or self._stops)

    @property
    def open_orders(self) -> list[Order]:
        """Own open orders, oldest first."""
        return sorted(self._resting[True] + self._resting[False] + self._stops, key=lambda order: order.order_id)

    def restore(self, order: Order) -> None:
        """Put a stored open order back, without events."""
        if order.working:
            self._rest(order)
        else:
            self._stops.append(order)

    def book(self, market_ms: int, depth: int) -> tuple[Levels, Levels]:
        """Return (bids, asks), best first, own orders included."""
        return self._shown(False, market_ms, depth), self._shown(True, market_ms, depth)

    def book_key(self, market_ms: int) -> tuple[int, int]:
        """Return a value that changes whenever the book may have changed."""
        return self._version, liquidity_step(market_ms)

    # --- own orders -------------------------------------------------------------------------------------------

    def place(self, order: Order, now: Moment) -> None:
        """Accept a checked order, match it and rest what remains.

        Raises:
            Rejection: it would match although it must not, or the account cannot pay; nothing happened.
        """
        if order.type == STOP_LOSS_LIMIT:
            self._place_stop(order)
            return
        if order.type == LIMIT_MAKER and self._crosses(order, now.market_ms):
            raise Rejection(-2010, "Order would immediately match and take.")
        if order.type == MARKET:
            self._place_market(order, now)
        else:
            self._ledger.lock(self.spec, order)
            self._note("NEW", order)
            self._work(order, now)
        self._after_own_trades(now)

    def cancel(self, order: Order, now: Moment) -> None:
        """Take an open order off the book."""
        self._end(order, CANCELED, "CANCELED", now)

    def _place_stop(self, order: Order) -> None:
        last = self.tape.last_price
        order.stop_above = order.is_buy
        if (last >= order.stop) if order.stop_above else (last <= order.stop):
            raise Rejection(-2010, "Stop price would trigger immediately.")
        self._ledger.lock(self.spec, order)
        order.working = False
        self._stops.append(order)
        self._note("NEW", order)

    def _place_market(self, order: Order, now: Moment) -> None:
        available = self._synthetic(order.is_buy, now.market_ms)
        if order.quote_quantity:
            plan = self._plan_by_value(available, order.quote_quantity)
            order.quantity = sum(lots for _, lots in plan)
        else:
            plan = _plan(available, None, order.quantity, is_buy=order.is_buy)
        sufficed = sum(lots for _, lots in plan) == order.quantity
        plan, capped = self._capped(plan)
        cost = sum(price * lots for price, lots in plan) * self.spec.value_scale
        need = cost if order.is_buy else sum(lots for _, lots in plan) * self.spec.lot_units
        asset = self.spec.quote if order.is_buy else self.spec.base
        if need > self._ledger.free(asset) or (order.quote_quantity and order.quantity == 0):
            raise insufficient_balance()
        self._note("NEW", order)
        self._expire_own_in_the_way(order, plan, now, sufficed=sufficed or capped)
        self._take(order, plan, now)
        if order.is_open:
            self._end(order, EXPIRED, "EXPIRED", now)

    def _work(self, order: Order, now: Moment) -> None:
        """Match a limit order whose funds are locked and rest or expire the remainder."""
        plan = _plan(self._synthetic(order.is_buy, now.market_ms), order.price, order.remaining, is_buy=order.is_buy)
        sufficed = sum(lots for _, lots in plan) == order.remaining
        plan, capped = self._capped(plan)
        if order.time_in_force == FOK and sum(lots for _, lots in plan) < order.remaining:
            self._end(order, EXPIRED, "EXPIRED", now)
            return
        self._expire_own_in_the_way(order, plan, now, sufficed=sufficed or capped)
        self._take(order, plan, now)
        if not order.is_open:
            return
        if order.type == LIMIT and order.time_in_force != GTC:
            self._end(order, EXPIRED, "EXPIRED", now)
            return
        if capped:
            self._withdraw_within(order, now.market_ms)
        same_side = self._synthetic(not order.is_buy, now.market_ms)
        order.queue = next((lots for price, lots in same_side if price == order.price), 0)
        self._rest(order)

    def _capped(self, plan: Levels) -> tuple[Levels, bool]:
        """Return the part of a plan that an order gets at once, and whether that is less."""
        most = self._fill_cap(self.spec.symbol) if plan else None
        if most is None or sum(lots for _, lots in plan) <= most:
            return plan, False
        allowed: Levels = []
        for price, lots in plan:
            allowed.append((price, min(lots, most)))
            most -= allowed[-1][1]
            if most == 0:
                break
        return allowed, True

    def _withdraw_within(self, order: Order, market_ms: int) -> None:
        """Take away the liquidity that an order may not have, lest its rest stands in a crossed book."""
        taken = self._consumed[order.is_buy]
        for price, lots in list(self._synthetic(order.is_buy, market_ms)):
            if price > order.price if order.is_buy else price < order.price:
                break
            taken[price] = taken.get(price, 0) + lots
        self._version += 1

    def _take(self, order: Order, plan: Levels, now: Moment) -> None:
        consumed = self._consumed[order.is_buy]
        for price, lots in plan:
            consumed[price] = consumed.get(price, 0) + lots
            self._execute(order, price, lots, now, is_maker=False)
        if plan:
            self._version += 1

    def _expire_own_in_the_way(self, order: Order, plan: Levels, now: Moment, *, sufficed: bool) -> None:
        """Self-trade prevention as the venue's default does it: the resting order goes (EXPIRE_MAKER).

        In the way is what has a better price than the last level taken; where the book did not suffice, everything
        within the limit.
        """
        sign = 1 if order.is_buy else -1
        for resting in list(self._resting[not order.is_buy]):
            if sufficed:
                meets = sign * resting.price < sign * plan[-1][0]
            else:
                meets = order.price == 0 or sign * resting.price <= sign * order.price
            if meets:
                self._end(resting, EXPIRED_IN_MATCH, "TRADE_PREVENTION", now)

    def _crosses(self, order: Order, market_ms: int) -> bool:
        opposite = self._shown(order.is_buy, market_ms, 1)
        if not opposite:
            return False
        return order.price >= opposite[0][0] if order.is_buy else order.price <= opposite[0][0]

    def _plan_by_value(self, available: Levels, units: int) -> Levels:
        plan: Levels = []
        for price, lots in available:
            affordable = units // (price * self.spec.value_scale)
            take = min(lots, affordable)
            if take:
                plan.append((price, take))
                units -= take * price * self.spec.value_scale
            if take < lots:
                break
        return plan

    # --- the market -------------------------------------------------------------------------------------------

    def advance(self, until_ms: int, server_ms: int, *, wanted: bool) -> None:
        """Let the market's trades of the current cell up to `until_ms` happen.

        Args:
            until_ms: market time, inclusive.
            server_ms: wall time.
            wanted: whether anybody looks at the single trades; if not they are not collected in `prints`.
        """
        due = self.tape.upcoming(until_ms)
        if self.has_orders:
            for position in due:
                time_ms, price, lots, maker = self.tape.pure(position)
                self._market_trade(position, time_ms, price, lots, maker, server_ms)
            # Also between two market trades the book gets new liquidity, and some of it may meet what we left there.
            self.settle_gap(Moment(until_ms, server_ms))
            return
        if not due:
            return
        time_ms, price, _, maker = self.tape.pure(due[-1])
        if wanted:
            self.prints += self.tape.play_through(due.stop)
        else:
            self.tape.skip_through(due.stop)
        self._moved(price, maker, time_ms)

    def extra_trade(self, is_buy: bool, lots: int, now: Moment) -> None:
        """Print one more market trade of `lots` at the best price."""
        level = self._synthetic(is_buy, now.market_ms)[:1]
        if level:
            price = level[0][0]
            self._hit(price, lots, not is_buy, now)
            self._after_own_trades(now)

    def trade_against(self, order: Order, lots: int, now: Moment) -> None:
        """Let the market trade up to `lots` against an own order on the book."""
        self._execute(order, order.price, min(lots, order.remaining), now, is_maker=True)
        self._after_own_trades(now)

    def _market_trade(self, position: int, time_ms: int, price: int, lots: int, maker: bool, server_ms: int) -> None:
        now = Moment(time_ms, server_ms)
        own = self._resting[maker]  # a sell (the buyer was the maker) hits our bids
        if own and (own[0].price >= price if maker else own[0].price <= price):
            self.tape.replace_next()
            self._hit(price, lots, maker, now)
        else:
            self.prints += self.tape.play_through(position + 1)
        self._moved(price, maker, time_ms)
        self._fill_crossed(now)
        self._after_own_trades(now)

    def _hit(self, price: int, lots: int, maker: bool, now: Moment) -> None:
        """Match an incoming market trade against own orders in its way, then print what is left of it."""
        passed = 0  # synthetic lots at `price` that were in front of us
        for order in list(self._resting[maker]):
            if lots == 0 or (order.price < price if maker else order.price > price):
                break
            if order.price == price:
                ahead = min(lots, max(0, order.queue - passed))
                passed += ahead
                lots -= ahead
                order.queue = max(0, order.queue - passed)
            filled = min(lots, order.remaining)
            most = self._fill_cap(self.spec.symbol) if filled else None
            if filled:
                filled = filled if most is None else min(filled, most)
                lots -= filled
                self._execute(order, order.price, filled, now, is_maker=True)
        if lots + passed:
            self.prints.append(self.tape.insert(now.market_ms, price, lots + passed, maker))

    def _moved(self, price: int, maker: bool, stamp: int) -> None:
        self._touch = Touch.after(price, maker, stamp)
        self._version += 1
        self._consumed = {True: {}, False: {}}

    def _fill_crossed(self, now: Moment) -> None:
        """Fill own orders that the synthetic book has moved across: the liquidity that arrived matched them."""
        for is_buy in (True, False):
            best = self._touch.ask if is_buy else self._touch.bid
            for order in list(self._resting[is_buy]):
                if order.price < best if is_buy else order.price > best:
                    break
                plan = _plan(self._synthetic(is_buy, now.market_ms), order.price, order.remaining, is_buy=is_buy)
                plan, capped = self._capped(plan)
                taken = self._consumed[is_buy]
                for price, lots in plan:
                    taken[price] = taken.get(price, 0) + lots
                self._version += 1
                if capped:
                    self._withdraw_within(order, now.market_ms)
                if plan:
                    self._execute(order, order.price, sum(lots for _, lots in plan), now, is_maker=True)

    def settle_gap(self, now: Moment) -> None:
        """Match own orders against whatever the book has moved across them, for example after a restart."""
        self._fill_crossed(now)
        self._after_own_trades(now)

    def _after_own_trades(self, now: Moment) -> None:
        """Trigger stops that the last price has reached; their trades may trigger others."""
        while True:
            last = self.tape.last_price
            due = [o for o in self._stops if (last >= o.stop if o.stop_above else last <= o.stop)]
            if not due:
                return
            for order in sorted(due, key=lambda order: order.order_id):
                self._stops.remove(order)
                order.working = True
                order.working_ms = order.updated_ms = now.server_ms
                self._note("NEW", order)
                self._work(order, now)

    # --- books ------------------------------------------------------------------------------------------------

    def _synthetic(self, asks: bool, market_ms: int) -> Levels:
        """Return the synthetic levels of one side less what was taken since the last market trade."""
        key = self.book_key(market_ms)
        cached = self._levels.get(asks)
        if cached is None or cached[0] != key:
            prices, lots = resting_levels(self._seed, self.spec.level_lots, self._touch, market_ms, asks=asks)
            taken = self._consumed[asks]
            levels = list(zip(prices.tolist(), lots.tolist(), strict=True))
            if taken:
                levels = [(p, q - taken.get(p, 0)) for p, q in levels if q > taken.get(p, 0)]
            cached = self._levels[asks] = (key, levels)
        return cached[1]

    def _shown(self, asks: bool, market_ms: int, depth: int) -> Levels:
        levels = self._synthetic(asks, market_ms)
        own = self._resting[not asks]
        if own:
            merged = dict(levels)
            for order in own:
                merged[order.price] = merged.get(order.price, 0) + order.remaining
            levels = sorted(merged.items(), reverse=not asks)
        return levels[:depth]

    def _rest(self, order: Order) -> None:
        sign = -1 if order.is_buy else 1
        bisect.insort(self._resting[order.is_buy], order, key=lambda o: (sign * o.price, o.working_ms, o.order_id))
        self._version += 1

    # --- bookkeeping ------------------------------------------------------------------------------------------

    def _execute(self, order: Order, price: int, lots: int, now: Moment, *, is_maker: bool) -> None:
        buyer_maker = order.is_buy if is_maker else not order.is_buy
        done = self.tape.insert(now.market_ms, price, lots, buyer_maker)
        self.prints.append(done)
        fee, asset = self._ledger.settle(self.spec, order, price, lots)
        order.executed += lots
        order.value += price * lots
        order.updated_ms = now.server_ms
        order.status = FILLED if order.remaining == 0 else PARTIALLY_FILLED
        fill = Fill(
            done.trade_id,
            order.order_id,
            order.symbol,
            price,
            lots,
            fee,
            asset,
            order.is_buy,
            is_maker,
            now.server_ms,
            now.market_ms,
        )
        if order.status == FILLED:
            self._forget(order)
        self._note("TRADE", order, fill)

    def _end(self, order: Order, status: str, kind: str, now: Moment) -> None:
        self._ledger.release(self.spec, order)
        order.status = status
        order.updated_ms = now.server_ms
        self._forget(order)
        self._note(kind, order)

    def _forget(self, order: Order) -> None:
        for orders in (self._resting[order.is_buy], self._stops):
            if order in orders:
                orders.remove(order)
                self._version += 1

    def _note(self, kind: str, order: Order, fill: Fill | None = None) -> None:
        self.events.append(OrderEvent(kind, order.copy(), fill))


def _plan(available: Levels, limit: int | None, lots: int, *, is_buy: bool) -> Levels:
    """Return the (price, lots) that a taker of `lots` gets from `available`, best first, within `limit`."""
    plan: Levels = []
    for price, offered in available:
        if lots == 0 or (limit is not None and (price > limit if is_buy else price < limit)):
            break
        take = min(lots, offered)
        plan.append((price, take))
        lots -= take
    return plan
