"""What must hold when everything has recovered, and what must have held all along. Reads the journal with plain SQL.

Each problem is one sentence that begins with the name of the invariant.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.config import DataPaths
from core.domain.orders import OrderState, TradingState
from core.events import BalancesChanged, BooksTold, FillBooked, Notice, OrderUpdated
from core.execution.api.gateway import GatewayError
from core.execution.journal import CORRECTED
from core.execution.order_manager import is_ours
from core.execution.order_state import TRANSITIONS
from core.execution.reconciliation import describe
from core.execution.records import TradingStateRecord
from core.execution.trading_control import DRAWDOWN_REASON
from core.practice.orders import Fill as VenueFill
from core.practice.orders import Order as VenueOrder
from core.practice.specs import UNITS
from tests.chaos import plan_watch, wire
from tests.chaos.venue import OPENING

if TYPE_CHECKING:
    from tests.chaos.process import SimProcess
    from tests.chaos.world import World

Row = dict[str, Any]

# What the books may say of an order that never came to rest at the venue.
_NEVER_THERE = frozenset({"rejected", "denied"})
_NEVER_ARRIVED = ("NEVER_ARRIVED", "DECLARED_GONE")
_OVER = {"FILLED": "filled", "CANCELED": "canceled", "EXPIRED": "expired", "EXPIRED_IN_MATCH": "expired"}
_ROUNDING = Decimal("1e-9")


def rows(paths: DataPaths, query: str) -> list[Row]:
    """Return rows of the journal, read apart from the code under test."""
    with closing(sqlite3.connect(paths.journal_db)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def stored_trading_state(paths: DataPaths) -> TradingStateRecord | None:
    """Return the trading state on disk."""
    found = rows(paths, "SELECT * FROM trading_state")
    if not found:
        return None
    row = found[0]
    return TradingStateRecord(TradingState(row["state"]), row["reason"], row["epoch"], row["since_ns"])


def held_positions(paths: DataPaths) -> list[Row]:
    """Return the positions that are not flat."""
    return [row for row in rows(paths, "SELECT * FROM positions") if Decimal(row["quantity"])]


def program_failed(world: World, process: SimProcess) -> None:
    """A bug ended the program."""
    world.violate("bug", f"life {process.number} ended with {process.failure!r}")


async def eventual_problems(world: World) -> list[str]:
    """Return what is wrong now; with faults off and time passing, nothing may stay wrong."""
    orders = rows(
        world.paths, "SELECT o.*, i.source, i.owner, i.reduce_only FROM orders o JOIN intents i USING (intent_id)"
    )
    fills = rows(world.paths, "SELECT * FROM fills")
    intents = rows(
        world.paths,
        "SELECT o.client_order_id, o.state, o.venue_order_id, i.* FROM orders o JOIN intents i USING (intent_id)",
    )
    problems = [
        *_crossing_problems(world, intents),
        *plan_watch.plan_problems(world),
        *_fill_problems(world, orders, fills),
        *_order_problems(world, orders),
        *_money_problems(world, fills),
        *_position_problems(world, fills),
        *_state_problems(world, orders),
        *_memory_problems(world, orders),
    ]
    if not problems:
        try:
            events = await world.life.executor.reconcile_now()
        except GatewayError as exc:
            return [f"unreachable: {exc.message}"]
        problems += [f"unsettled: {describe(event)}" for event in events]
    return problems


def _is_own(order: VenueOrder) -> bool:
    return is_ours(order.client_id)


def _fill_problems(world: World, orders: list[Row], fills: list[Row]) -> list[str]:
    """Every trade of the venue stands in the books once, to the last digit, under the order it belongs to."""
    problems = []
    by_id = {order.order_id: order for order in world.sim.all_orders()}
    booked = {(row["symbol"], row["trade_id"]): row for row in fills}
    keys = {row["client_order_id"]: row for row in orders}
    for fill in world.sim.all_fills():
        order, spec = by_id[fill.order_id], world.sim.exchange.specs[fill.symbol]
        row = booked.pop((spec.unified, str(fill.trade_id)), None)
        kind = "fill" if _is_own(order) else "foreign-fill"
        if row is None and not _is_own(order) and not world.is_watched(fill):
            continue
        if row is None:
            problems.append(f"{kind}-missing: trade {fill.trade_id} of {order.client_id} is not booked")
        elif _seen(row) != _truth(fill, spec):
            problems.append(f"{kind}-wrong: {_seen(row)} is booked, {_truth(fill, spec)} happened")
        else:
            holder = keys[row["client_order_id"]]
            if holder["venue_order_id"] != str(fill.order_id) or (
                _is_own(order) and holder["client_order_id"] != order.client_id
            ):
                problems.append(
                    f"fill-owner: trade {fill.trade_id} of {order.client_id} is booked for {row['client_order_id']}"
                )
    return problems + [f"fill-invented: {place} is booked and never happened" for place in booked]


def _seen(row: Row) -> tuple[Any, ...]:
    return (row["side"], Decimal(row["price"]), Decimal(row["quantity"]), Decimal(row["fee"]), row["fee_currency"])


def _truth(fill: VenueFill, spec: Any) -> tuple[Any, ...]:
    price, quantity = Decimal(spec.price_text(fill.price)), Decimal(spec.quantity_text(fill.quantity))
    return ("buy" if fill.is_buyer else "sell", price, quantity, wire.units(fill.fee), fill.fee_asset)


def _order_problems(world: World, orders: list[Row]) -> list[str]:
    """Every order of the venue stands in the books as it is there, and nothing else does."""
    problems = []
    venue = world.sim.all_orders()
    specs = world.sim.exchange.specs
    count = Counter(order.client_id for order in venue if _is_own(order))
    problems += [f"doubled: {client_id} is {n} orders at the venue" for client_id, n in count.items() if n > 1]
    mine = {order.client_id: order for order in venue if _is_own(order)}
    by_place = {(specs[order.symbol].unified, str(order.order_id)): order for order in venue}
    known: set[int] = set()
    for row in orders:
        order = mine.get(row["client_order_id"]) or by_place.get((row["symbol"], row["venue_order_id"]))
        if order is not None:
            known.add(order.order_id)
        if (problem := _order_problem(world, row, order)) is not None:
            problems.append(problem)
    for order in venue:
        if order.order_id not in known and (_is_own(order) or order.is_open):
            kind = "order-lost" if _is_own(order) else "foreign-lost"
            problems.append(f"{kind}: {order.client_id} ({order.status}) is at the venue and not in the books")
    return problems


def _order_problem(world: World, row: Row, order: VenueOrder | None) -> str | None:
    key, state = row["client_order_id"], row["state"]
    if order is None:
        fine = state in _NEVER_THERE or (state == "expired" and row["reason_code"] in _NEVER_ARRIVED)
        return None if fine else f"order-ghost: {key} is {state} in the books and was never at the venue"
    spec = world.sim.exchange.specs[order.symbol]
    filled = Decimal(spec.quantity_text(order.executed))
    wanted = _OVER.get(order.status) or ("partially_filled" if order.executed else "accepted")
    if state != wanted or Decimal(row["filled_quantity"]) != filled:
        ended = OrderState(state).is_terminal and not order.is_open
        if not _is_own(order) and OrderState(state).is_terminal and Decimal(row["filled_quantity"]) == filled:
            return None  # of an order of others first seen by its trades nothing else is known
        if ended and not order.executed and row["reason_code"] in _NEVER_ARRIVED:
            return None  # it came, was cancelled and left no trace that a lagging query could show
        return f"order-differs: {key} is {state} {row['filled_quantity']} in the books, {wanted} {filled} at the venue"
    if not row["fills_complete"] or Decimal(row["booked_quantity"]) != filled:
        return f"order-incomplete: {key} has {row['booked_quantity']} of {filled} booked"
    return None


def _money_problems(world: World, fills: list[Row]) -> list[str]:
    """What the venue holds is what it held plus what the booked trades brought, to the last digit."""
    expected = {asset: wire.units(amount) for asset, amount in OPENING.items()}
    for row in [*fills, *_overlooked(world, fills)]:
        base, _, quote = row["symbol"].partition("/")
        quantity, price, fee = Decimal(row["quantity"]), Decimal(row["price"]), Decimal(row["fee"])
        sign = 1 if row["side"] == "buy" else -1
        expected[base] += sign * quantity
        expected[quote] -= sign * quantity * price
        expected[row["fee_currency"]] -= fee
    held = {
        asset: Decimal(free + locked) / UNITS for asset, (free, locked) in world.sim.exchange.ledger.balances().items()
    }
    return [
        f"money: {expected[asset]} {asset} by the books, {held[asset]} at the venue"
        for asset in expected
        if expected[asset] != held[asset]
    ]


def _overlooked(world: World, fills: list[Row]) -> list[Row]:
    """Trades of others in markets that are nobody's business."""
    booked = {(row["symbol"], row["trade_id"]) for row in fills}
    by_id = {order.order_id: order for order in world.sim.all_orders()}
    found = []
    for fill in world.sim.all_fills():
        spec = world.sim.exchange.specs[fill.symbol]
        foreign = not _is_own(by_id[fill.order_id]) and not world.is_watched(fill)
        if foreign and (spec.unified, str(fill.trade_id)) not in booked:
            names = ("side", "price", "quantity", "fee", "fee_currency")
            found.append({"symbol": spec.unified, **dict(zip(names, _truth(fill, spec), strict=True))})
    return found


def _position_problems(world: World, fills: list[Row]) -> list[str]:
    """Positions are the sum of their owner's trades, and their profit is what the trades earned."""
    sums: dict[tuple[str, str], list[Decimal]] = {}
    for row in fills:
        base = row["symbol"].partition("/")[0]
        quantity, price, fee = Decimal(row["quantity"]), Decimal(row["price"]), Decimal(row["fee"])
        sign = 1 if row["side"] == "buy" else -1
        total = sums.setdefault((row["symbol"], row["owner"]), [Decimal(0), Decimal(0)])
        total[0] += sign * quantity - (fee if row["fee_currency"] == base else 0)
        total[1] -= sign * quantity * price + (0 if row["fee_currency"] == base else fee)
    for row in rows(world.paths, "SELECT * FROM transfers"):  # at cost: nobody earns by it
        moved = sum((Decimal(lot["quantity"]) for lot in json.loads(row["lots"])), start=Decimal(0))
        for owner, sign in ((row["from_owner"], -1), (row["to_owner"], 1)):
            total = sums.setdefault((row["symbol"], owner), [Decimal(0), Decimal(0)])
            total[0] += sign * moved
            total[1] -= sign * moved * Decimal(row["average_price"])
    problems = []
    stored = {(row["symbol"], row["owner"]): row for row in rows(world.paths, "SELECT * FROM positions")}
    for place in sums.keys() | stored.keys():
        quantity, cash = sums.get(place, [Decimal(0), Decimal(0)])
        row = stored.get(place)
        held = Decimal(row["quantity"]) if row else Decimal(0)
        if held != quantity:
            problems.append(f"position: {place} is {held} in the books, its trades make {quantity}")
        elif row is not None:
            earned = Decimal(row["realised_pnl"]) - Decimal(row["average_price"]) * held - Decimal(row["fees"])
            if abs(earned - cash) > _ROUNDING:
                problems.append(f"profit: {place} accounts for {earned}, its trades make {cash}")
    return problems


def _crossing_problems(world: World, intents: list[Row]) -> list[str]:
    """What may only reduce a position never turns it around: as it happened at the venue, heard of or not."""
    wishes = {row["client_order_id"]: row for row in intents}
    theirs = {(row["symbol"], row["venue_order_id"]): row for row in intents if row["venue_order_id"]}
    by_id = {order.order_id: order for order in world.sim.all_orders()}
    held: dict[tuple[str, str], Decimal] = {}
    moved = {
        (row["symbol"], row[name])
        for row in rows(world.paths, "SELECT * FROM transfers")
        for name in ("from_owner", "to_owner")
    }
    problems = []
    for fill in sorted(world.sim.all_fills(), key=lambda fill: (fill.time_ms, fill.market_ms, fill.trade_id)):
        spec = world.sim.exchange.specs[fill.symbol]
        wish = wishes.get(by_id[fill.order_id].client_id) or theirs.get((spec.unified, str(fill.order_id)))
        if wish is None:
            continue
        place = (spec.unified, wish["owner"])
        _, _, quantity, fee, currency = _truth(fill, spec)
        before = held.get(place, Decimal(0))
        after = before + (quantity if fill.is_buyer else -quantity) - (fee if currency == spec.base else 0)
        held[place] = after
        if wish["reduce_only"] and before * after < 0 and place not in moved:
            kind = "stop-oversells" if wish["source"] == "kill_switch" else "reduce-crosses"
            problems.append(f"{kind}: {wish['client_order_id']} took {place} from {before} to {after}")
    return problems


def _state_problems(world: World, orders: list[Row]) -> list[str]:
    """Trading is allowed exactly where it was last commanded so; a halt leaves no order of ours at the venue."""
    problems = []
    halted = world.life.executor.trading_state is TradingState.HALTED
    if halted is not world.halted:
        problems.append(f"trading-state: halted is {halted} in the program, {world.halted} was commanded")
    if world.halted:
        sources = {row["client_order_id"]: row["source"] for row in orders}
        by_limit = world.life.executor.trading_record.reason == DRAWDOWN_REASON
        protecting = {row["client_order_id"] for row in orders if row["reduce_only"] and by_limit}
        left = [
            o.client_id
            for o in world.sim.open_now()
            if sources.get(o.client_id) in ("manual", "strategy") and o.client_id not in protecting
        ]
        problems += [f"halt-leaves: {client_id} rests although trading was stopped" for client_id in left]
    states = {row["client_order_id"]: OrderState(row["state"]) for row in orders}
    for key, life in world.cancels.items():
        if life == world.life.number and not states[key].is_terminal:
            problems.append(f"cancel-forgotten: {key} is {states[key]} although its cancel was commanded")
    return problems


def _memory_problems(world: World, orders: list[Row]) -> list[str]:
    """What the program holds in memory and told its screen is what stands on disk."""
    problems = []
    executor = world.life.executor
    disk = {r["client_order_id"]: (r["state"], Decimal(r["filled_quantity"])) for r in orders}
    memory = {o.client_order_id: (o.state.value, o.filled_quantity) for o in executor.working_orders}
    working = {key: value for key, value in disk.items() if not OrderState(value[0]).is_terminal}
    if memory != working:
        problems.append(f"memory: orders {memory} in memory, {working} on disk")
    held = {(p.symbol, p.owner): p.quantity for p in executor.positions}
    stored = {(r["symbol"], r["owner"]): Decimal(r["quantity"]) for r in rows(world.paths, "SELECT * FROM positions")}
    if held != stored:
        problems.append(f"memory: positions {held} in memory, {stored} on disk")
    venue = wire.balances_of(world.sim.exchange.ledger.balances())
    balances = [event.balances for event in world.life.events if isinstance(event, BalancesChanged)]
    if balances and balances[-1] != venue:
        problems.append(f"balances: {balances[-1]} were told, the venue holds {venue}")
    problems += [f"trouble-stays: {source}, {text}" for source, text in world.life.gateway.troubles.items()]
    told = {}
    for event in world.life.events:
        if isinstance(event, OrderUpdated):
            told[event.order.client_order_id] = (event.order.state.value, event.order.filled_quantity)
    problems += [
        f"screen: {key} was told as {value}, is {disk[key]}" for key, value in told.items() if disk[key] != value
    ]
    return problems


def check_history(world: World) -> None:
    """Look at how it came about: legal steps, nothing told twice, no contradictions."""
    last: dict[str, tuple[str, str]] = {}
    for row in rows(world.paths, "SELECT * FROM order_events ORDER BY event_id"):
        key, before, after = row["client_order_id"], OrderState(row["from_state"]), OrderState(row["to_state"])
        state, reason = last.get(key, ("initialized", ""))
        if before.value != state:
            world.violate("journal-gap", f"{key} goes from {before} to {after} after it was {state}")
        revived = before is OrderState.EXPIRED and _was_given_up(reason) and after in TRANSITIONS[OrderState.UNKNOWN]
        resumed = row["cause"] == CORRECTED and before is OrderState.FILLED  # of somebody else, first seen by trades
        if after is not before and after not in TRANSITIONS[before] and not revived and not resumed:
            world.violate("illegal-step", f"{key} goes from {before} to {after} by {row['cause']}")
        last[key] = (after.value, row["detail"] if after is not before else reason)
    for process in world.lives:
        _check_told(world, process)


def _was_given_up(reason: str) -> bool:
    return "proven never" in reason or "a person saw" in reason


def _check_told(world: World, process: SimProcess) -> None:
    news = False
    trades: Counter[tuple[str, str]] = Counter()
    for event in process.events:
        if isinstance(event, BooksTold):
            news = True
        elif isinstance(event, FillBooked) and news:
            trades[(event.fill.symbol, event.fill.trade_id)] += 1
        elif isinstance(event, Notice) and "contradicts" in event.title:
            world.violate("contradiction", f"life {process.number}: {event.text}")
    for trade, count in trades.items():
        if count > 1:
            world.violate("told-twice", f"life {process.number} told trade {trade} {count} times")
