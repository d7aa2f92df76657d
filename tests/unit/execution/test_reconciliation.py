"""`reconcile` as a pure function: what follows from each difference, and that doing it twice changes nothing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import NS_PER_S
from core.domain.fills import Fill, Liquidity
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side
from core.execution import reconciliation as rec
from core.execution.api.gateway import OrderReport
from core.execution.records import OrderRecord

D = Decimal
S = OrderState
NOW = 100_000 * NS_PER_S


def record(key: str = "a", state: OrderState = S.ACCEPTED, venue_id: str = "v-a", **changes: Any) -> OrderRecord:
    intent = Intent(key, IntentSource.MANUAL, "manual", "BTC/USDT", Side.BUY, D(2), OrderType.LIMIT, limit_price=D(9))
    order = Order(key, intent, state, venue_id, submitted_ns=NOW)
    return OrderRecord(replace(order, **changes))


def report(key: str = "a", state: OrderState = S.ACCEPTED, venue_id: str = "v-a", filled: str = "0") -> OrderReport:
    return OrderReport("BTC/USDT", key, venue_id, state, Side.BUY, OrderType.LIMIT, D(2), D(filled), D(9), None, NOW)


def trade(number: int, venue_id: str = "v-a", quantity: str = "1", side: Side = Side.BUY, **changes: Any) -> Fill:
    made = Fill(
        "fake", "BTC/USDT", str(number), venue_id, "", side, D(9), D(quantity), D(0), "USDT", Liquidity.MAKER, NOW
    )
    return replace(made, **changes)


def found(local: rec.LocalState, venue: rec.VenueState) -> list[rec.Event]:
    return rec.reconcile(local, venue)


def test_equal_books_need_nothing() -> None:
    local = rec.LocalState((record(),), {("BTC/USDT", "v-a"): "a"})
    assert found(local, rec.VenueState((report(),))) == []


def test_a_change_of_state_fill_or_id_is_reported() -> None:
    for seen in (report(state=S.PARTIALLY_FILLED, filled="1"), report(filled="1")):
        assert found(rec.LocalState((record(),)), rec.VenueState((seen,))) == [rec.OrderReported(seen)]
    unknown = record(state=S.SUBMITTED, venue_id="")
    seen = report()
    assert found(rec.LocalState((unknown,)), rec.VenueState((seen,))) == [rec.OrderReported(seen)]


def test_the_single_query_beats_the_older_list() -> None:
    newer = report(state=S.FILLED, filled="2")
    venue = rec.VenueState((report(),), {"a": newer})
    assert found(rec.LocalState((record(),)), venue) == [rec.OrderReported(newer)]


def test_missing_is_only_what_was_asked_for_and_denied() -> None:
    local = rec.LocalState((record(),))
    assert found(local, rec.VenueState(())) == []
    assert found(local, rec.VenueState((), {"a": None})) == [rec.OrderMissing("a")]
    assert found(local, rec.VenueState(None, {"a": None})) == []
    over = rec.LocalState((record(state=S.FILLED, filled_quantity=D(2)),))
    assert found(over, rec.VenueState((), {"a": None})) == []


def test_every_event_is_a_short_line_of_the_log() -> None:
    fill = replace(trade(7), client_order_id="a")
    lines = [
        rec.describe(event)
        for event in (
            rec.OrderReported(report(state=S.PARTIALLY_FILLED, filled="1")),
            rec.OrderAdopted(report(key="", venue_id="v-9")),
            rec.FillMissed(fill),
            rec.ExternalFill(trade(8, venue_id="v-9")),
            rec.OrderMissing("a"),
            rec.CancelPending("a"),
        )
    ]
    assert lines == [
        "order a BTC/USDT buy 2, filled 1, partially_filled",
        "foreign order v-9 BTC/USDT buy 2, filled 0, accepted",
        "missed fill of order a BTC/USDT buy 1 @ 9",
        "fill of foreign order v-9 BTC/USDT buy 1 @ 9",
        "order a not known to the venue",
        "order a still working, cancel repeated",
    ]


def test_a_cancel_that_did_not_arrive_is_asked_again() -> None:
    local = rec.LocalState((record(state=S.PENDING_CANCEL),))
    seen = report()
    assert found(local, rec.VenueState((seen,))) == [rec.OrderReported(seen), rec.CancelPending("a")]
    gone = report(state=S.CANCELED)
    assert found(local, rec.VenueState((), {"a": gone})) == [rec.OrderReported(gone)]


def test_orders_nobody_knows_are_adopted() -> None:
    foreign = report("web_1", venue_id="v-x")
    assert found(rec.LocalState(()), rec.VenueState((foreign,))) == [rec.OrderAdopted(foreign)]
    known = rec.LocalState((), {("BTC/USDT", "v-x"): "web_1"})
    assert found(known, rec.VenueState((foreign,))) == []


def test_fills_are_booked_once_and_only_where_they_belong() -> None:
    local = rec.LocalState((record(),), {("BTC/USDT", "v-a"): "a"}, booked=frozenset({("BTC/USDT", "1")}))
    fills = (trade(1), trade(2), trade(2), trade(3, "", client_order_id="a"), trade(4, "v-x"))
    assert found(local, rec.VenueState((report(),), fills=fills)) == [
        rec.FillMissed(fills[1]),
        rec.FillMissed(fills[3]),
        rec.ExternalFill(fills[4]),
    ]


def test_fills_of_an_order_adopted_just_now_belong_to_it() -> None:
    foreign = report("web_1", venue_id="v-x", filled="1")
    events = found(rec.LocalState(()), rec.VenueState((foreign,), fills=(trade(1, "v-x"),)))
    assert events == [rec.OrderAdopted(foreign), rec.FillMissed(trade(1, "v-x"))]


def test_old_trades_of_others_are_left_alone() -> None:
    venue = rec.VenueState((), fills=(trade(1, "v-x"),))
    assert found(rec.LocalState((), adopt_from_ns=NOW + 1), venue) == []


def test_a_trade_of_an_order_whose_answer_is_on_its_way_is_nobodys_yet() -> None:
    fill = trade(1, "v-?")
    venue = rec.VenueState((), fills=(fill,))
    assert found(rec.LocalState((), in_flight=(record(state=S.SUBMITTED, venue_id=""),)), venue) == []
    assert found(rec.LocalState((), in_flight=(record(),)), venue) == [rec.ExternalFill(fill)]


def test_a_trade_that_may_be_ours_is_nobodys_yet() -> None:
    lost = record(state=S.UNKNOWN, venue_id="")
    for fill, may in (
        (trade(1, "v-?"), True),
        (trade(1, "v-?", side=Side.SELL), False),
        (trade(1, "v-?", quantity="2.1"), False),
        (trade(1, "v-?", symbol="ETH/USDT"), False),
        (trade(1, "v-?", time_ns=NOW - 60 * NS_PER_S), True),  # the clock was set back in between
        (trade(1, "v-?", time_ns=NOW - rec.CLOCK_TOLERANCE_NS), True),
        (trade(1, "v-?", time_ns=NOW - rec.CLOCK_TOLERANCE_NS - 1), False),
    ):
        assert rec.may_be_ours(fill, (lost,), 0) is may
        assert bool(found(rec.LocalState((lost,)), rec.VenueState((), fills=(fill,)))) is not may
    assert not rec.may_be_ours(trade(1, "v-?"), (record(),), 0)
    assert not rec.may_be_ours(trade(1, "v-?"), (replace_state(lost, S.ACCEPTED),), 0)
    limit_ns = rec.CLOCK_TOLERANCE_NS
    assert not rec.may_be_ours(trade(1, "v-?", time_ns=NOW + 8 * NS_PER_S - limit_ns), (lost,), 9 * NS_PER_S)
    assert rec.may_be_ours(trade(1, "v-?", time_ns=NOW + 9 * NS_PER_S - limit_ns), (lost,), 9 * NS_PER_S)


def replace_state(old: OrderRecord, state: OrderState) -> OrderRecord:
    return replace(old, order=replace(old.order, state=state))


def test_one_report_per_foreign_order() -> None:
    fills = [trade(1, "v-x"), trade(2, "v-y", quantity="0.5"), trade(3, "v-x", quantity="2", time_ns=NOW + 5)]
    first, second = rec.external_reports(fills)
    assert (first.venue_order_id, first.quantity, first.filled_quantity, first.time_ns) == ("v-x", 3, 3, NOW + 5)
    assert first.fills == (fills[0], fills[2])
    assert (second.venue_order_id, second.state) == ("v-y", S.FILLED)


def test_trades_are_read_up_to_the_newest_that_is_booked() -> None:
    listed = [trade(n, time_ns=NOW + n) for n in (1, 3, 2)]
    assert rec.read_until({}, listed, [], 0) == {"BTC/USDT": NOW + 3}
    assert rec.read_until({"BTC/USDT": NOW + 9, "ETH/USDT": 1}, listed, [], 0) == {"BTC/USDT": NOW + 9, "ETH/USDT": 1}
    assert rec.read_until({"BTC/USDT": NOW}, [], [], 0) == {"BTC/USDT": NOW}, "nothing new is nothing read"


def test_trades_behind_one_without_an_owner_count_as_not_read() -> None:
    listed = [trade(n, time_ns=NOW + n) for n in (1, 2, 3, 4)]
    assert rec.read_until({}, listed, [listed[2], listed[1]], 0) == {"BTC/USDT": NOW + 2}
    assert rec.read_until({}, listed, listed, 0) == {}
    assert rec.read_until({}, listed, [listed[1]], NOW + 3) == {"BTC/USDT": NOW + 4}, "nobody waits for what is older"


@given(st.lists(st.tuples(st.sampled_from(("BTC/USDT", "ETH/USDT")), st.integers(1, 50), st.booleans())))
def test_no_reading_leaves_a_trade_behind(made: list[tuple[str, int, bool]]) -> None:
    listed = [trade(n, symbol=symbol, time_ns=time_ns) for n, (symbol, time_ns, _) in enumerate(made)]
    waiting = [fill for fill, (*_, waits) in zip(listed, made, strict=True) if waits]
    until = rec.read_until({}, listed, waiting, 0)
    assert all(fill.time_ns >= until[fill.symbol] for fill in waiting if fill.symbol in until)
    assert set(until) == {fill.symbol for fill in listed if fill not in waiting}


states = st.sampled_from([S.ACCEPTED, S.PARTIALLY_FILLED, S.PENDING_CANCEL, S.UNKNOWN, S.SUBMITTED])
seen_states = st.sampled_from([S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED])
keys = st.sampled_from("abcd")


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(keys, states),
    st.dictionaries(keys, seen_states),
    st.lists(st.tuples(st.integers(1, 9), keys)),
    st.frozensets(st.integers(1, 9)),
)
def test_no_fill_is_lost_doubled_or_booked_again(
    ours: dict[str, OrderState], theirs: dict[str, OrderState], trades: list[tuple[int, str]], booked: frozenset[int]
) -> None:
    local = rec.LocalState(
        tuple(record(key, state, f"v-{key}") for key, state in ours.items()),
        {("BTC/USDT", f"v-{key}"): key for key in ours},
        booked=frozenset(("BTC/USDT", str(number)) for number in booked),
    )
    reports = tuple(report(key, state, f"v-{key}") for key, state in theirs.items())
    fills = tuple(trade(number, f"v-{key}") for number, key in trades)
    listed = tuple(r for r in reports if not r.state.is_terminal)
    queried = {r.client_order_id: r for r in reports if r.client_order_id in ours}
    events = found(local, rec.VenueState(listed, queried, fills))
    to_book = [e.fill.trade_id for e in events if isinstance(e, rec.FillMissed | rec.ExternalFill)]
    assert len(to_book) == len(set(to_book))
    assert set(to_book) == {str(number) for number, _ in trades} - {str(number) for number in booked}
    adopted = [e.report.client_order_id for e in events if isinstance(e, rec.OrderAdopted)]
    assert set(adopted) == {k for k, s in theirs.items() if not s.is_terminal} - set(ours)
