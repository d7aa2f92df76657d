"""The plan of faults: chance by seed, counts, windows of time, and what each kind means."""

from __future__ import annotations

from core.practice.fault_rules import parse_faults
from core.practice.faults import NO_STRIKE, Closure, FaultPlan, Lost, frame_matches


class Clock:
    """Milliseconds that a test sets."""

    def __init__(self) -> None:
        self.ms = 1_000

    def __call__(self) -> int:
        return self.ms


def plan(spec: str, clock: Clock | None = None) -> FaultPlan:
    made = FaultPlan(clock or Clock())
    made.arm(parse_faults(spec))
    return made


def drops(made: FaultPlan, count: int = 200, name: str = "btcusdt@trade") -> list[bool]:
    return [made.frame(name) is not None for _ in range(count)]


def test_the_same_seed_gives_the_same_faults() -> None:
    first = drops(plan("seed=5;drop:market,p=0.3"))
    assert first == drops(plan("seed=5;drop:market,p=0.3"))
    assert first != drops(plan("seed=6;drop:market,p=0.3"))
    assert 30 < sum(first) < 90


def test_a_rule_beside_it_changes_nothing() -> None:
    alone = drops(plan("drop:market,p=0.3"))
    both = plan("drop:market,p=0.3;delay:order,p=0.5,ms=5")
    mixed = []
    for _ in range(200):
        both.after("order")
        mixed.append(both.frame("btcusdt@trade") is not None)
    assert mixed == alone


def test_clearing_all_begins_anew_and_clearing_one_leaves_the_others() -> None:
    made = plan("drop:market,p=0.3")
    first = drops(made)
    assert made.clear()
    assert made.to_json() == {"faults": [], "skew_ms": 0}
    made.arm(parse_faults("drop:market,p=0.3"))
    assert drops(made) == first
    made.arm(parse_faults("ban,for=5s"))
    assert made.clear(1)
    assert not made.clear(1)
    assert [rule["kind"] for rule in made.to_json()["faults"]] == ["ban"]


def test_counts() -> None:
    made = plan("drop:market,next=2,skip=3")
    assert drops(made, 8) == [False, False, False, True, True, False, False, False]
    (shown,) = made.to_json()["faults"]
    assert (shown["fired"], shown["met"], shown["active"], shown["id"]) == (2, 5, False, 1)
    assert shown["spec"] == "drop:market,next=2,skip=3"


def test_windows() -> None:
    clock = Clock()
    made = plan("drop:market,in=2s,for=3s", clock)
    seen = []
    for _ in range(7):
        seen.append(made.frame("x@trade") is not None)
        clock.ms += 1_000
    assert seen == [False, False, True, True, True, False, False]


def test_targets_of_frames() -> None:
    assert frame_matches("market", "btcusdt@trade")
    assert not frame_matches("market", "user@executionReport")
    assert frame_matches("user", "user@executionReport")
    assert not frame_matches("user", "btcusdt@trade")
    assert frame_matches("*@kline_*", "ethusdt@kline_1m")
    assert not frame_matches("*@kline_*", "ethusdt@trade")
    assert frame_matches("user@outbound*", "user@outboundAccountPosition")
    assert frame_matches("*", "anything")


def test_strikes_on_requests() -> None:
    made = plan("delay:order,ms=10,when=before;delay:*,ms=5,when=before;lost:order,next=1;lost-ack:order,how=silent")
    first = made.before("order")
    assert (first.delay_ms, first.lost, first.error) == (15, Lost.CUT, None)
    assert made.before("order").lost is None
    assert made.after("order").lost is Lost.SILENT
    assert made.before("account").delay_ms == 5
    assert made.after("account") == NO_STRIKE


def test_an_error_strikes_at_its_own_time() -> None:
    made = plan("error:order,code=-1007,when=after;error:cancel,code=-2011")
    assert made.before("order") == NO_STRIKE
    error = made.after("order").error
    assert error is not None
    assert (error.code, error.status) == (-1007, 503)
    assert made.after("cancel") == NO_STRIKE
    cancel = made.before("cancel").error
    assert cancel is not None
    assert cancel.code == -2011


def test_the_server_is_closed_for_a_time() -> None:
    clock = Clock()
    made = plan("maintenance,for=5s;ban,in=1s,for=2500ms", clock)
    assert made.closure() == Closure(503, 5)
    clock.ms += 1_000
    assert made.closure() == Closure(418, 3)  # a ban goes before
    clock.ms += 2_500
    assert made.closure() == Closure(503, 2)
    clock.ms += 1_500
    assert made.closure() is None
    assert [shown["fired"] for shown in made.to_json()["faults"]] == [2, 1]


def test_the_clock_is_shifted() -> None:
    clock = Clock()
    made = plan("skew,ms=-5000,for=1s;skew,ms=200", clock)
    assert made.skew_ms() == -4_800
    clock.ms += 1_000
    assert made.skew_ms() == 200
    made.clear()
    assert made.skew_ms() == 0


def test_an_order_stays_hidden_from_the_chosen_queries() -> None:
    clock = Clock()
    made = plan("lag:query+openOrders,ms=500,skip=1,next=1;lag:myTrades,ms=900", clock)
    made.accepted(11)
    made.accepted(12)
    made.accepted(13)
    assert [made.hides("query", order) for order in (11, 12, 13)] == [False, True, False]
    assert made.hides("openOrders", 12)
    assert not made.hides("allOrders", 12)
    assert made.hides("myTrades", 11)
    clock.ms += 500
    assert not made.hides("query", 12)
    assert made.hides("myTrades", 12)
    clock.ms += 400
    assert not made.hides("myTrades", 12)
    everything = plan("lag,ms=500")
    everything.accepted(1)
    assert all(everything.hides(name, 1) for name in ("query", "openOrders", "allOrders", "myTrades"))


def test_queues_stalls_sockets_and_fills() -> None:
    clock = Clock()
    made = plan("slow:user,size=3;stall:*@trade,for=1s;refuse:user,next=1;partial:BTCUSDT,lots=7,next=1", clock)
    assert [made.overflows("user@x", queued) for queued in (2, 3)] == [False, True]
    assert not made.overflows("btcusdt@depth", 99)
    assert made.stalled(lambda target: target == "*@trade", count=True)
    assert made.stalled(lambda target: True, count=False)
    assert not made.stalled(lambda target: False, count=True)
    clock.ms += 1_000
    assert not made.stalled(lambda target: True, count=True)
    assert not made.refuses_socket(user=False)
    assert made.refuses_socket(user=True)
    assert not made.refuses_socket(user=True)
    assert made.fill_cap("ETHUSDT") is None
    assert [made.fill_cap("BTCUSDT"), made.fill_cap("BTCUSDT")] == [7, None]
    assert [shown["fired"] for shown in made.to_json()["faults"]] == [1, 1, 1, 1]


def test_nothing_armed_strikes_nothing() -> None:
    made = FaultPlan(Clock())
    assert made.frame("btcusdt@trade") is None
    assert made.before("order") is NO_STRIKE
    assert made.closure() is None
    assert made.fill_cap("BTCUSDT") is None
    assert not made.hides("query", 1)
    assert not made.refuses_socket(user=True)
