"""The decisions of the dead-man switch, as tables; and what it says and hears."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.orders import Intent, IntentSource, OrderState, OrderType, Side
from core.execution.api.gateway import OrderReport
from core.execution.order_manager import ID_PREFIX, client_order_id
from core.execution.sentinel import (
    Action,
    Claim,
    SentinelPolicy,
    SentinelRules,
    SentinelStart,
    Successor,
    is_protective,
    reduces_only,
)

RULES = SentinelRules(silence_s=15.0)
STEP_S = 0.5

# What happens when (seconds), and the action due afterwards at the time given last.
Event = tuple[float, str]


@dataclass
class Next:
    """A successor as the switch sees it; None where it must not be asked."""

    claimed: bool | None = False
    starting: bool | None = False

    def has_claimed(self) -> bool:
        assert self.claimed is not None, "the claim was read although it does not matter"
        return self.claimed

    def is_starting(self) -> bool:
        assert self.starting is not None, "the lock was looked at although it does not matter"
        return self.starting


NOBODY = Next()


def play(policy: SentinelPolicy, events: list[Event], until_s: float, successor: Successor = NOBODY) -> Action:
    """Let time pass in the policy's own steps, with events in between; "asleep" jumps over the time since the last."""
    now, action = 0.0, Action.WATCH
    for at, what in [*events, (until_s, "")]:
        if what != "wakes":
            while now + STEP_S < at:
                now += STEP_S
                action = policy.decide(now, successor)
        now = at
        if what == "beat":
            policy.beat(now, [])
        elif what == "gone":
            policy.program_gone()
        elif what == "bye":
            policy.dismiss()
        elif what == "acted":
            assert policy.decide(now, successor) is Action.CANCEL
            policy.acted()
        action = policy.decide(now, successor)
    return action


@pytest.mark.parametrize(
    ("events", "until_s", "action"),
    [
        ([], 14.9, Action.WATCH),
        ([], 15.0, Action.CANCEL),
        ([(10, "beat")], 24.9, Action.WATCH),
        ([(10, "beat")], 25.0, Action.CANCEL),
        ([(10, "beat"), (10.1, "gone")], 24.9, Action.WATCH),  # a restart within the time finds its orders
        ([(10, "beat"), (10.1, "gone")], 25.0, Action.CANCEL),
        ([(10, "beat"), (11, "bye")], 11, Action.LEAVE),
        ([(10, "beat"), (11, "bye"), (11, "gone")], 60, Action.LEAVE),
        ([(15, "bye")], 15, Action.LEAVE),  # in the last moment: the orders stay
        ([(16, "beat")], 16, Action.WATCH),  # back after it was due
        ([(16, "acted")], 60, Action.WATCH),  # once for one silence
        ([(16, "acted"), (20, "beat")], 34.9, Action.WATCH),
        ([(16, "acted"), (20, "beat")], 35.0, Action.CANCEL),  # armed again
        ([(16, "acted"), (17, "gone")], 17, Action.LEAVE),
        ([(16, "acted"), (17, "beat"), (18, "gone")], 18, Action.WATCH),
        ([(16, "acted"), (17, "beat"), (18, "gone")], 32, Action.CANCEL),
        ([(1, "gone"), (16, "acted")], 16, Action.LEAVE),
        # The machine slept: nobody can say who was silent.
        ([(10, "beat"), (3_600, "wakes")], 3_614.9, Action.WATCH),
        ([(10, "beat"), (3_600, "wakes")], 3_615, Action.CANCEL),
        ([(10, "beat"), (24, ""), (3_600, "wakes"), (3_601, "beat")], 3_615.9, Action.WATCH),
        ([(10, "beat"), (11, "gone"), (3_600, "wakes")], 3_615, Action.CANCEL),
        ([(10, "beat"), (14.9, "wakes")], 25, Action.CANCEL),  # a short pause is none
    ],
)
def test_what_is_due(events: list[Event], until_s: float, action: Action) -> None:
    assert play(SentinelPolicy(RULES, 0.0), events, until_s) is action


@pytest.mark.parametrize(
    ("successor", "until_s", "action"),
    [
        (Next(), 16, Action.CANCEL),
        (Next(starting=True), 16, Action.WATCH),  # it takes the orders over, or it fails
        (Next(starting=True), 3_600, Action.WATCH),
        (Next(claimed=True, starting=None), 16, Action.LEAVE),
        (Next(claimed=True, starting=None), 4, Action.LEAVE),  # nothing is left to wait for
        (Next(starting=None), 14, Action.WATCH),
    ],
)
def test_a_new_executor_decides_once_the_program_is_gone(successor: Next, until_s: float, action: Action) -> None:
    assert play(SentinelPolicy(RULES, 0.0), [(3, "gone")], until_s, successor) is action


def test_a_start_that_fails_leaves_the_orders_to_the_switch_at_once() -> None:
    policy = SentinelPolicy(RULES, 0.0)
    assert play(policy, [(3, "gone")], 20, Next(starting=True)) is Action.WATCH
    assert policy.decide(20.5, NOBODY) is Action.CANCEL


def test_nobody_is_asked_for_while_the_program_lives() -> None:
    assert play(SentinelPolicy(RULES, 0.0), [], 16, Next(None, None)) is Action.CANCEL  # hung: the lock is its own


def test_the_newest_beat_says_what_protects() -> None:
    policy = SentinelPolicy(RULES, 0.0)
    policy.beat(1.0, ["a", "b"])
    policy.beat(2.0, ["b"])
    assert policy.protective == {"b"}


@given(
    st.lists(st.floats(0.05, 4.9), min_size=1, max_size=200),
    st.lists(st.sampled_from(["beat", "", "", "gone"]), min_size=200, max_size=200),
)
def test_it_never_acts_within_the_silence_and_always_after_it(steps: list[float], what: list[str]) -> None:
    policy, now, heard = SentinelPolicy(RULES, 0.0), 0.0, 0.0
    for step, event in zip(steps, what, strict=False):
        now += step
        if event == "beat":
            policy.beat(now, [])
            heard = now
        elif event == "gone":
            policy.program_gone()
        expected = Action.CANCEL if now - heard >= RULES.silence_s else Action.WATCH
        assert policy.decide(now, NOBODY) is expected


def test_a_switch_without_patience_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        SentinelRules(silence_s=1.0)


def intent(side: Side, kind: OrderType, *, reduce_only: bool) -> Intent:
    price = None if kind is OrderType.MARKET else Decimal(10)
    return Intent(
        "i", IntentSource.MANUAL, "manual", "BTC/USDT", side, Decimal(1), kind, price, price, reduce_only=reduce_only
    )


@pytest.mark.parametrize(
    ("side", "kind", "reduce_only", "protects"),
    [
        (Side.SELL, OrderType.STOP_LOSS_LIMIT, False, True),
        (Side.BUY, OrderType.STOP_LOSS_LIMIT, False, False),  # opens a position when it triggers
        (Side.SELL, OrderType.LIMIT, True, True),
        (Side.SELL, OrderType.LIMIT, False, False),
        (Side.BUY, OrderType.LIMIT, False, False),
    ],
)
def test_which_orders_the_program_names(side: Side, kind: OrderType, reduce_only: bool, protects: bool) -> None:
    assert reduces_only(intent(side, kind, reduce_only=reduce_only)) is protects


OWN = client_order_id("i")
REPORT = OrderReport(
    "BTC/USDT",
    OWN,
    "7",
    OrderState.ACCEPTED,
    Side.SELL,
    OrderType.STOP_LOSS_LIMIT,
    Decimal(1),
    Decimal(0),
    Decimal(10),
    None,
    0,
)


@pytest.mark.parametrize(
    ("report", "named", "protects"),
    [
        (REPORT, set(), True),  # sent after the newest beat
        (replace(REPORT, side=Side.BUY), set(), False),
        (replace(REPORT, order_type=OrderType.LIMIT), set(), False),
        (replace(REPORT, order_type=OrderType.LIMIT), {OWN}, True),
        (replace(REPORT, client_order_id="web_1"), set(), False),
        (replace(REPORT, client_order_id="web_1"), {"web_1"}, True),
        (replace(REPORT, client_order_id=""), set(), False),
    ],
)
def test_which_orders_are_left_alone(report: OrderReport, named: set[str], protects: bool) -> None:
    assert is_protective(report, named, ID_PREFIX) is protects


START = SentinelStart(
    mode="practice",
    venue="binance",
    urls={"rest": "http://127.0.0.1:1"},
    journal="/tmp/j",
    runtime_folder="/tmp/r",
    fingerprint="f" * 16,
    claim="new",
    claim_before="old",
    own_prefix=ID_PREFIX,
    rules=SentinelRules(silence_s=4, patience_s=None),
    api_key="the-public-part",
    api_secret="the-secret-part",
)


def test_the_first_message_arrives_whole_and_shows_no_keys() -> None:
    assert SentinelStart.from_json(json.loads(json.dumps(START.to_json()))) == START
    assert "the-" not in repr(START)


def test_a_claim_is_the_newest_word(tmp_path: Path) -> None:
    claim = Claim(tmp_path, "abc")
    assert claim.read() == ""
    claim.write("one")
    Claim(tmp_path, "other").write("elsewhere")
    claim.write("two")
    assert Claim(tmp_path, "abc").read() == "two"
    (tmp_path / "sentinel-abc.claim").write_text("[")
    assert claim.read() == ""
