"""When and at which price a simulated order fills, at three levels of market data. Pure: no I/O, no clock, any thread.

One model of one market serves paper trading and backtests. It knows prices and quantities, no money; whoever owns the
account asks `plan` what an order would take, checks that it can be paid for, and books what the methods return. Every
rule errs on the side of the market:

- BOOK. A market order and the crossing part of a limit order walk the displayed book level by level. What was taken
  stays subtracted from its level for as long as the level is displayed without interruption: only what the level grows
  by, or shows after it had vanished, is new. A level out of sight keeps what was taken from it. A resting order joins
  behind everything displayed at its price. Trades at its price advance it, and what a trade leaves over fills it.
  Cancellations are assumed behind it: a level that shrinks moves it forward only where less is displayed than was
  assumed in front. A shrinkage that a trade reported later explains counts once. A trade through its price fills it
  with at most that trade's quantity; an opposite book that reaches its price fills it with at most what is displayed.
  A trade also takes everything better than its price from the displayed side it hit; where that leaves nothing, an
  order waits for the next book.
- TRADES. There is no book: a resting order fills by trades through its price only, or with `touch_fraction` of those
  at it. An order that takes meets the trades after its arrival, each worsened by half the spread and the slippage.
- BARS. An order decided on a closed bar arrives at the next one's open and takes there, worsened likewise. Within a bar
  the worst order of events is assumed: stops trigger before resting orders fill, and what a stop leaves resting waits
  for the next bar. A resting order fills where the bar trades through its price by a tick, or with `touch_fraction` of
  what remains where the bar only touches it. At most `participation` of a trade or bar is ours.

A resting order fills at its own price, also where the market gapped past it. Stop orders trigger on the last price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from core.domain.fills import Liquidity
from core.domain.instruments import Instrument
from core.domain.money import ZERO
from core.domain.orders import OrderType, Side, TimeInForce
from core.execution.fill_values import (
    DataLevel,
    Ended,
    ExactBar,
    Execution,
    FillRules,
    Happening,
    Level,
    Refusal,
    SimOrder,
    Triggered,
)


class FillModel:
    """One market and our orders in it.

    Attributes:
        last_price: of the newest trade or bar; None before the first.
    """

    def __init__(self, instrument: Instrument, rules: FillRules, level: DataLevel) -> None:
        self._instrument = instrument
        self._rules = rules
        self._level = level
        self.last_price: Decimal | None = None
        self._shown: dict[Side, list[Level]] = {Side.BUY: [], Side.SELL: []}  # bids, asks; best first
        self._known = {Side.BUY: False, Side.SELL: False}  # whether the displayed side is that of now
        self._taken: dict[Side, dict[Decimal, Decimal]] = {Side.BUY: {}, Side.SELL: {}}
        self._orders: dict[str, SimOrder] = {}  # in order of arrival
        # Shrinkage of a level that moved us forward and that a trade may still explain.
        self._explained: dict[tuple[Side, Decimal], Decimal] = {}

    # --- looking ----------------------------------------------------------------------------------------------

    @property
    def has_orders(self) -> bool:
        """Whether any own order is here."""
        return bool(self._orders)

    @property
    def remembers_takings(self) -> bool:
        """Whether something was taken from a displayed level, so that no book may be left out."""
        return any(self._taken.values())

    def knows_book(self, side: Side) -> bool:
        """Whether the bids (BUY) or asks (SELL) displayed now are known."""
        return self._known[side]

    def order(self, key: str) -> SimOrder | None:
        """Return an own order."""
        return self._orders.get(key)

    def available(self, side: Side) -> list[Level]:
        """Return what can be taken from the bids (BUY) or asks (SELL): displayed, less what we took; best first."""
        taken = self._taken[side]
        levels = ((price, quantity - taken.get(price, ZERO)) for price, quantity in self._shown[side])
        return [(price, quantity) for price, quantity in levels if quantity > 0]

    def plan(self, order: SimOrder) -> list[Level]:
        """Return what an order arriving now takes at once (BOOK), best first; nothing is changed."""
        if self._level is not DataLevel.BOOK or order.order_type is OrderType.STOP_LOSS_LIMIT:
            return []
        plan = self._walk(order)
        return [] if order.time_in_force is TimeInForce.FOK and _total(plan) < order.remaining else plan

    def refusal(self, order: SimOrder) -> Refusal | None:
        """Return why the market would refuse an order arriving now."""
        if order.order_type is OrderType.STOP_LOSS_LIMIT:
            reached = self.last_price is not None and _reached(order, self.last_price)
            return Refusal.WOULD_TRIGGER if reached else None
        if order.order_type is not OrderType.LIMIT_MAKER:
            return None
        opposite = order.side.opposite
        best = self._shown[opposite][:1]
        own = [o.limit_price for o in self._resting(opposite) if o.limit_price is not None]
        prices = [price for price, _ in best] + own
        return Refusal.WOULD_TAKE if any(order.within_limit(price) for price in prices) else None

    # --- own orders -------------------------------------------------------------------------------------------

    def place(self, order: SimOrder) -> list[Happening]:
        """Let an order arrive that `refusal` has nothing against."""
        if order.key in self._orders:
            raise ValueError(f"order {order.key} is here already")
        self._orders[order.key] = order
        if order.order_type is OrderType.STOP_LOSS_LIMIT:
            order.waiting = True
            return []
        return self._enter(order, self._level)

    def restore(self, order: SimOrder) -> None:
        """Put an order back as it stood."""
        self._orders[order.key] = order

    def cancel(self, key: str) -> bool:
        """Take an order out; returns whether it was here."""
        return self._orders.pop(key, None) is not None

    def forget_orders(self) -> None:
        """Take all orders out; what was taken from the book stays taken."""
        self._orders.clear()
        self._explained.clear()

    def _enter(self, order: SimOrder, level: DataLevel) -> list[Happening]:
        order.arriving = level is not DataLevel.BOOK or not self._known[order.side.opposite]
        if order.arriving:
            return []
        plan = self._walk(order)
        if order.time_in_force is TimeInForce.FOK and _total(plan) < order.remaining:
            return [self._end(order, "the order could not be filled completely at once")]
        happened: list[Happening] = self._end_own_in_the_way(order, plan)
        happened += self._take(order, plan)
        if order.remaining > 0:
            happened += self._rest(order)
        return happened

    def _rest(self, order: SimOrder) -> list[Happening]:
        """Leave the rest of an order in the book, or end it."""
        order.arriving = False
        if order.order_type is OrderType.MARKET:
            return [self._end(order, "the order book held no more")]
        if order.time_in_force is not TimeInForce.GTC:
            return [self._end(order, "immediate or cancel: the rest was not filled")]
        order.ahead = self._displayed(order)
        return []

    def _end(self, order: SimOrder, reason: str) -> Ended:
        self._orders.pop(order.key, None)
        return Ended(order.key, reason)

    def _walk(self, order: SimOrder) -> list[Level]:
        plan: list[Level] = []
        left = order.remaining
        for price, offered in self.available(order.side.opposite):
            if left == 0 or not order.within_limit(price):
                break
            quantity = min(left, offered)
            plan.append((price, quantity))
            left -= quantity
        return plan

    def _take(self, order: SimOrder, plan: Sequence[Level]) -> list[Happening]:
        self._mark_taken(order.side.opposite, plan)
        return [self._fill(order, price, quantity, Liquidity.TAKER) for price, quantity in plan]

    def _mark_taken(self, side: Side, plan: Sequence[Level]) -> None:
        taken = self._taken[side]
        for price, quantity in plan:
            taken[price] = taken.get(price, ZERO) + quantity

    def _fill(self, order: SimOrder, price: Decimal, quantity: Decimal, liquidity: Liquidity) -> Execution:
        order.remaining -= quantity
        if order.remaining == 0:
            self._orders.pop(order.key, None)
        return Execution(order.key, price, quantity, liquidity)

    def _end_own_in_the_way(self, order: SimOrder, plan: Sequence[Level]) -> list[Happening]:
        """Own resting orders that the new one would meet go first, as the venue's default does it.

        In the way is what has a better price than the last level taken; where the book did not suffice, everything
        within the limit.
        """
        sufficed = _total(plan) == order.remaining
        ended: list[Happening] = []
        for resting in self._resting(order.side.opposite):
            price = resting.limit_price
            assert price is not None  # what rests has a limit
            meets = _better(order.side, price, plan[-1][0]) if sufficed else order.within_limit(price)
            if meets:
                ended.append(self._end(resting, "an own order would have met it"))
        return ended

    def _resting(self, side: Side) -> list[SimOrder]:
        """Return own resting orders of one side by price, then by time."""
        found = [order for order in self._orders.values() if order.side is side and order.is_resting]
        return sorted(found, key=lambda order: -side.sign * (order.limit_price or ZERO))

    # --- the book ---------------------------------------------------------------------------------------------

    def on_book(self, bids: Sequence[Level], asks: Sequence[Level]) -> list[Happening]:
        """Take the displayed book in, best first, in whole ticks and lots."""
        for side, levels in ((Side.BUY, bids), (Side.SELL, asks)):
            self._shown[side], self._known[side] = list(levels), True
            self._forget_vanished(side)
        self._move_up()
        happened = [event for side in Side for event in self._fill_crossed(side)]
        if self._level is DataLevel.BOOK:
            for order in [o for o in self._orders.values() if o.arriving]:
                happened += self._enter(order, self._level)
        return happened

    def _forget_vanished(self, side: Side) -> None:
        levels, taken = self._shown[side], self._taken[side]
        if not taken or not levels:
            return
        shown, worst = dict(levels), levels[-1][0]
        for price in list(taken):
            if side.sign * price < side.sign * worst:
                continue  # out of sight, which is not gone
            taken[price] = min(taken[price], shown.get(price, ZERO))
            if taken[price] == 0:
                del taken[price]

    def _displayed(self, order: SimOrder) -> Decimal | None:
        """Return what is displayed at an order's price on its own side; None where that is out of sight."""
        levels, price = self._shown[order.side], order.limit_price
        if not levels or price is None or order.side.sign * price < order.side.sign * levels[-1][0]:
            return None
        return dict(levels).get(price, ZERO)

    def _move_up(self) -> None:
        """Move resting orders forward where less is displayed than was assumed in front of them."""
        shrunk: dict[tuple[Side, Decimal], Decimal] = {}
        for order in self._orders.values():
            if not order.is_resting or order.limit_price is None:
                continue
            place, displayed = (order.side, order.limit_price), self._displayed(order)
            shrunk.setdefault(place, ZERO)
            if displayed is None:
                continue
            if order.ahead is None:
                order.ahead = displayed
            elif displayed < order.ahead:
                shrunk[place] = max(shrunk[place], order.ahead - displayed)
                order.ahead = displayed
        self._explained = {place: self._explained.get(place, ZERO) + lost for place, lost in shrunk.items()}

    def _fill_crossed(self, side: Side) -> list[Happening]:
        """Fill own orders that the opposite book has reached."""
        happened: list[Happening] = []
        for order in self._resting(side):
            plan = self._walk(order)
            if not plan:
                break  # the ones behind have worse prices
            self._mark_taken(side.opposite, plan)
            assert order.limit_price is not None  # what rests has a limit
            order.ahead = ZERO
            happened.append(self._fill(order, order.limit_price, _total(plan), Liquidity.MAKER))
        return happened

    # --- trades -----------------------------------------------------------------------------------------------

    def on_trade(
        self, price: Decimal, quantity: Decimal, aggressor: Side, *, level: DataLevel | None = None
    ) -> list[Happening]:
        """Take one trade of the market in, in whole ticks and lots.

        Args:
            level: TRADES where the book of that moment is not known, although the model is one at level BOOK.
        """
        self.last_price, level = price, level or self._level
        if level is DataLevel.BOOK:
            happened = self._hit(price, quantity, aggressor)
            self._trim(price, aggressor.opposite)
        else:
            budget = self._instrument.round_quantity(quantity * self._rules.participation)
            happened, budget = self._meet_arriving(price, budget)
            happened += self._hit_without_book(price, budget, aggressor)
        return happened + self._trigger(price, level)

    def _trim(self, price: Decimal, side: Side) -> None:
        """Take what a trade passed from a displayed side: it was there before the trade."""
        self._shown[side] = [level for level in self._shown[side] if not _better(side.opposite, level[0], price)]
        self._known[side] = self._known[side] and bool(self._shown[side])

    def _hit(self, price: Decimal, quantity: Decimal, aggressor: Side) -> list[Happening]:
        happened: list[Happening] = []
        side = aggressor.opposite
        known = min(quantity, self._explained.get((side, price), ZERO))  # a shrinkage told that part before
        if known:
            self._explained[side, price] -= known
        passed = ZERO  # displayed quantity at the price that was in front of us
        for order in self._resting(side):
            assert order.limit_price is not None  # what rests has a limit
            if not order.within_limit(price) or (quantity == 0 and order.limit_price != price):
                break
            if order.limit_price == price:
                quantity, known = quantity - known, ZERO
                if order.ahead is None:
                    break  # how much is in front is not known yet
                ahead = min(quantity, max(ZERO, order.ahead - passed))
                passed, quantity = passed + ahead, quantity - ahead
                order.ahead = max(ZERO, order.ahead - passed)
            else:
                order.ahead = ZERO
            filled = min(quantity, order.remaining)
            if filled:
                quantity -= filled
                happened.append(self._fill(order, order.limit_price, filled, Liquidity.MAKER))
        return happened

    def _hit_without_book(self, price: Decimal, budget: Decimal, aggressor: Side) -> list[Happening]:
        happened: list[Happening] = []
        touched = self._instrument.round_quantity(budget * self._rules.touch_fraction)
        for order in self._resting(aggressor.opposite):
            assert order.limit_price is not None  # what rests has a limit
            if not order.within_limit(price):
                break
            offered = min(budget, touched) if order.limit_price == price else budget
            filled = min(offered, order.remaining)
            if filled:
                budget, touched = budget - filled, max(ZERO, touched - filled)
                happened.append(self._fill(order, order.limit_price, filled, Liquidity.MAKER))
        return happened

    def _trigger(self, price: Decimal, level: DataLevel) -> list[Happening]:
        happened: list[Happening] = []
        for order in [o for o in self._orders.values() if o.waiting and _reached(o, price)]:
            order.waiting = False
            happened.append(Triggered(order.key))
            happened += self._enter(order, level)
        return happened

    def _meet_arriving(self, price: Decimal, budget: Decimal) -> tuple[list[Happening], Decimal]:
        """Let arriving orders take at `price`, worsened; returns what happened and what is left of the budget."""
        happened: list[Happening] = []
        for order in [o for o in self._orders.values() if o.arriving]:
            events = self._take_at(order, price, budget)
            budget -= sum((e.quantity for e in events if isinstance(e, Execution)), start=ZERO)
            happened += events
        return happened, budget

    def _take_at(self, order: SimOrder, price: Decimal, budget: Decimal) -> list[Happening]:
        """Let one order take up to `budget` at `price`, worsened; what is left rests, waits or ends."""
        paid = self._worsened(order.side, price)
        if order.order_type is OrderType.LIMIT_MAKER:
            if order.within_limit(price):
                return [self._end(order, Refusal.WOULD_TAKE.value)]
            return self._rest(order)
        quantity = min(budget, order.remaining) if order.within_limit(paid) else ZERO
        if order.time_in_force is TimeInForce.FOK and quantity < order.remaining:
            return [self._end(order, "the order could not be filled completely at once")]
        happened: list[Happening] = [self._fill(order, paid, quantity, Liquidity.TAKER)] if quantity else []
        if order.remaining > 0 and order.order_type is not OrderType.MARKET:
            happened += self._rest(order)
        return happened

    def _worsened(self, side: Side, price: Decimal) -> Decimal:
        share = self._rules.half_spread + self._rules.slippage
        if side is Side.BUY:
            return self._instrument.ceil_price(price * (1 + share))
        return max(self._instrument.tick_size, self._instrument.floor_price(price * (1 - share)))

    # --- bars -------------------------------------------------------------------------------------------------

    def on_bar(self, bar: ExactBar) -> list[Happening]:
        """Take one closed bar in; every order that is here arrived before it opened."""
        budget = self._instrument.round_quantity(bar.volume * self._rules.participation)
        settled = {order.key for order in self._orders.values() if order.is_resting}
        happened, budget = self._meet_arriving(bar.open, budget)
        # What arrived at the open and took nothing lies in the book for the rest of the bar.
        took = {event.key for event in happened if isinstance(event, Execution)}
        settled |= {o.key for o in self._orders.values() if o.is_resting and o.key not in took}
        for order in [o for o in self._orders.values() if o.waiting]:
            events = self._trigger_in(order, bar, budget)
            budget -= sum((e.quantity for e in events if isinstance(e, Execution)), start=ZERO)
            happened += events
        for order in [o for side in Side for o in self._resting(side) if o.key in settled]:
            filled = self._reached_by(order, bar, budget)
            if filled:
                assert order.limit_price is not None  # what rests has a limit
                budget -= filled
                happened.append(self._fill(order, order.limit_price, filled, Liquidity.MAKER))
        self.last_price = bar.close
        return happened

    def _trigger_in(self, order: SimOrder, bar: ExactBar, budget: Decimal) -> list[Happening]:
        if not _reached(order, bar.high if order.side is Side.BUY else bar.low):
            return []
        assert order.stop_price is not None  # what waits has a stop
        order.waiting = False
        # A gap past the stop triggers it at the open.
        worse = max if order.side is Side.BUY else min
        return [Triggered(order.key), *self._take_at(order, worse(order.stop_price, bar.open), budget)]

    def _reached_by(self, order: SimOrder, bar: ExactBar, budget: Decimal) -> Decimal:
        """Return how much of a resting order a bar fills."""
        assert order.limit_price is not None  # what rests has a limit
        extreme = bar.low if order.side is Side.BUY else bar.high
        if _better(order.side, extreme, order.limit_price):
            order.ahead = ZERO
            return min(budget, order.remaining)
        if extreme == order.limit_price:
            touched = self._instrument.round_quantity(order.remaining * self._rules.touch_fraction)
            return min(budget, touched)
        return ZERO


def _better(side: Side, price: Decimal, other: Decimal) -> bool:
    """Whether who buys (sells) at `price` does better than at `other`."""
    return side.sign * price < side.sign * other


def _reached(order: SimOrder, price: Decimal) -> bool:
    """Whether a price triggers a stop."""
    assert order.stop_price is not None  # what waits has a stop
    return order.side.sign * price >= order.side.sign * order.stop_price


def _total(levels: Iterable[Level]) -> Decimal:
    return sum((quantity for _, quantity in levels), start=ZERO)
