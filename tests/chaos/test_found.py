"""Scripts that once broke something: shortened schedules, each with what was wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.chaos.run import Player, scratch
from tests.chaos.schedule import Schedule

_LIMIT = {"owner": "alpha", "side": "buy", "kind": "limit"}
_EXIT = {"owner": "alpha", "side": "buy", "kind": "exit", "part": "1"}
_BRACKET = {"owner": "manual", "side": "buy", "kind": "bracket"}
_SALE = {"symbol": "ETH/USDT", "owner": "alpha", "side": "sell", "value": 1000}
_TWAP = {"owner": "manual", "side": "buy", "kind": "twap"}

# A stop from outside ended a plan, trading was re-armed at once and the program left: the plan's stop rested for ever.
STOP_OF_AN_ENDED_PLAN = Schedule(
    market=5,
    steps=[
        ["place", {"tag": 2, "symbol": "BTC/USDT", "owner": "beta", "side": "buy", "kind": "market", "value": 5000}],
        ["sleep", {"s": 1.0}],
        ["plan", {**_EXIT, "symbol": "BTC/USDT", "owner": "beta", "value": 5000, "stop_bp": 150}],
        ["fence", {}],
        ["sleep", {"s": 0.5}],
        ["rearm", {}],
        ["stop", {}],
    ],
)
# The cancel of a change worked, the program died, and the venue's queries did not know the order for a while.
GONE_FOR_A_WHILE = Schedule(
    market=6,
    steps=[
        ["place", {**_LIMIT, "tag": 0, "symbol": "BTC/USDT", "value": 1000, "away_bp": 5}],
        ["sleep", {"s": 0.3}],
        ["replace", {"nth": 0, "times": 1, "shift_bp": 10}],
        ["crash_at", {"point": "wire", "n": 1, "down": 3.0}],
        ["place", {**_LIMIT, "tag": 2, "symbol": "BTC/USDT", "value": 5000, "away_bp": 30}],
        ["lag", {"lanes": ["order"], "s": 12.0, "for": 60.0}],
        ["sleep", {"s": 11.0}],
    ],
)
# A part's trades were booked one by one while the next part was placed already: more was bought than wanted.
NEXT_PART_TOO_EARLY = Schedule(
    market=3,
    jitter=643838040,
    steps=[
        ["stop", {}],
        ["start", {}],
        ["fault", {"lane": "submit", "kind": "ack_lost", "n": 1, "s": 1.9, "at": 3.8}],
        ["fault", {"lane": "submit", "kind": "ack_lost", "n": 1, "s": 0.05, "at": 1.05}],
        ["fault", {"lane": "submit", "kind": "late", "n": 1, "s": 1.9, "at": 2.9}],
        ["sleep", {"s": 5.0}],
        ["plan", {**_TWAP, "symbol": "BTC/USDT", "value": 5000, "slices": 3, "away_bp": -30, "duration": 6}],
        ["place", {"tag": 18, "symbol": "ETH/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 1000}],
        ["sleep", {"s": 5.0}],
    ],
)
# A fill found late made a position whose price nobody followed: the loss limits were not watched.
POSITION_FOUND_LATE = Schedule(
    market=1,
    steps=[
        ["market", {"s": 10}],
        ["fault", {"lane": "submit", "kind": "error_done", "n": 1, "s": 0.1, "at": 0.4}],
        ["lag", {"lanes": ["trades"], "s": 1.5, "for": 4.0}],
        ["mute", {"s": 0.6}],
        ["place", {"tag": 6, "symbol": "BTC/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 5000}],
        ["sleep", {"s": 0.3}],
        ["crash", {"down": 0.0}],
        ["sleep", {"s": 11.0}],
        ["rearm", {}],
        ["market", {"s": 30}],
        ["limits", {"drawdown": 15}],
    ],
)
# A full disk refused the end of a plan while STOP ended it: over in memory, alive on disk.
END_OF_A_PLAN_REFUSED = Schedule(
    market=2,
    steps=[
        ["plan", {**_BRACKET, "symbol": "ETH/USDT", "value": 1000, "stop_bp": 40, "target_bp": 150, "away_bp": None}],
        ["sleep", {"s": 5.0}],
        ["disk", {"n": 2}],
        ["kill", {"flatten": False}],
    ],
)
# The account held more coins than the books: a sale beside a reduce-only one, unanswered yet, sold its position again.
SALE_BESIDE_A_PROMISE = Schedule(
    market=1,
    steps=[
        ["place", {"tag": 5, "symbol": "ETH/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 1000}],
        ["market", {"s": 10}],
        ["sleep", {"s": 0.5}],
        ["market", {"s": 5}],
        ["fault", {"lane": "submit", "kind": "late", "n": 1, "s": 0.3, "at": 0.8}],
        ["place", {**_SALE, "tag": 31, "kind": "market", "reduce": True, "tif": "GTC"}],
        ["place", {**_SALE, "tag": 32, "kind": "limit", "away_bp": -5, "tif": "FOK"}],
    ],
)
# A sale of STOP was filled, its trades were not listed yet, and a second STOP sold the position again.
SOLD_BUT_NOT_LISTED = Schedule(
    market=5,
    jitter=280242409,
    steps=[
        ["place", {"tag": 0, "symbol": "BTC/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 1000}],
        ["sleep", {"s": 0.3}],
        ["crash", {"down": 0.0}],
        ["sleep", {"s": 5.0}],
        ["fault", {"lane": "submit", "kind": "throttled", "n": 1, "s": 0.05, "at": 2.9499999999999997}],
        ["place", {**_LIMIT, "tag": 7, "symbol": "BTC/USDT", "kind": "limit_maker", "value": 200, "away_bp": 200}],
        ["kill", {"flatten": True}],
        ["fault", {"lane": "submit", "kind": "error_done", "n": 1, "s": 0.1, "at": 0.4}],
        ["lag", {"lanes": ["trades"], "s": 1.5, "for": 20.0}],
        ["fault", {"lane": "stream", "kind": "drop", "s": 0.0, "n": 4}],
        ["sleep", {"s": 0.5}],
        ["kill", {"flatten": True}],
        ["sleep", {"s": 0.8}],
    ],
)
# A command outlived its program, which a full disk had ended, and wrote into the books of the next one.
COMMAND_OUTLIVES_ITS_PROGRAM = Schedule(
    market=5,
    steps=[
        ["place", {"tag": 7, "symbol": "BTC/USDT", "owner": "beta", "side": "buy", "kind": "market", "value": 5000}],
        ["sleep", {"s": 0.3}],
        ["plan", {**_EXIT, "symbol": "BTC/USDT", "owner": "beta", "value": 5000, "stop_bp": 150}],
        ["cancel", {"nth": 0}],
        ["disk", {"n": 1}],
        ["market", {"s": 30}],
        ["sleep", {"s": 0.1}],
    ],
)
# The sale of a kill from outside was taken for somebody else's: its trade showed before its order did.
SALE_FROM_OUTSIDE = Schedule(
    market=5,
    steps=[
        ["place", {"tag": 8, "symbol": "ETH/USDT", "owner": "beta", "side": "buy", "kind": "market", "value": 200}],
        ["sleep", {"s": 1.0}],
        ["kill_outside", {"flatten": True}],
        ["lag", {"lanes": ["order", "open"], "s": 1.5, "for": 4.0}],
        ["mute", {"s": 0.6}],
        ["sleep", {"s": 1.3}],
    ],
)
# A kill from outside sold an unbooked purchase without the fee that had been taken out of it.
SALE_WITH_THE_FEE = Schedule(
    market=5,
    steps=[
        ["foreign", {"tag": 0, "symbol": "ETH/USDT", "side": "buy", "value": 300, "away_bp": 5}],
        ["mute", {"s": 6.0}],
        ["market", {"s": 3}],
        ["kill_outside", {"flatten": True}],
    ],
)
# A frame of balances was lost, and nothing ever made it good.
LOST_BALANCES = Schedule(
    market=5,
    steps=[
        ["place", {"tag": 1, "symbol": "BTC/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 1000}],
        ["sleep", {"s": 1.0}],
        ["foreign", {"tag": 2, "symbol": "BTC/USDT", "side": "buy", "value": 300, "away_bp": 5}],
        ["sleep", {"s": 1.0}],
        ["fault", {"lane": "stream", "kind": "twice", "n": 1}],
        ["fault", {"lane": "stream", "kind": "drop", "n": 1}],
        ["foreign_cancel", {"nth": 0}],
    ],
)
# The program's clock was set back between an order and the comparison: its own trade seemed older than the order.
CLOCK_SET_BACK = Schedule(
    market=7,
    steps=[
        ["place", {"tag": 4, "symbol": "ETH/USDT", "owner": "alpha", "side": "sell", "kind": "market", "value": 200}],
        ["fault", {"lane": "submit", "kind": "error_done", "n": 1}],
        ["lag", {"lanes": ["order"], "s": 1.5, "for": 4.0}],
        ["fault", {"lane": "stream", "kind": "drop", "n": 4}],
        ["sleep", {"s": 0.3}],
        ["skew", {"s": -1.5}],
        ["crash", {"down": 0.0}],
        ["sleep", {"s": 0.3}],
    ],
)
# Two kills from outside, one after the other while nothing ran to merge the first: the second sold everything again.
KILLED_TWICE = Schedule(
    market=5,
    steps=[
        ["place", {"tag": 18, "symbol": "BTC/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 20000}],
        ["sleep", {"s": 1.0}],
        ["stop", {}],
        ["kill_outside", {"flatten": True}],
        ["sleep", {"s": 30.0}],
        ["kill_outside", {"flatten": True}],
        ["sleep", {"s": 30.0}],
    ],
)
# STOP in the window while a kill from outside was about to sell the same.
STOPPED_FROM_BOTH_SIDES = Schedule(
    market=5,
    steps=[
        ["place", {"tag": 18, "symbol": "BTC/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 20000}],
        ["sleep", {"s": 1.0}],
        ["kill_outside", {"flatten": True}],
        ["kill", {"flatten": True}],
        ["sleep", {"s": 30.0}],
    ],
)
# The market of a position that came to the account from somebody else was not followed: its sale was never booked.
HELD_BY_OTHERS = Schedule(
    market=5,
    steps=[
        ["foreign", {"tag": 0, "symbol": "ETH/USDT", "side": "buy", "value": 300, "away_bp": 0}],
        ["kill_outside", {"flatten": True}],
        ["market", {"s": 3}],
        ["sleep", {"s": 0.3}],
        ["cut", {"s": 0.1}],
    ],
)
# Two programs closed the same position: a kill from outside, and STOP in the window while its first answer was late.
SOLD_FROM_BOTH_SIDES = Schedule(
    market=3,
    steps=[
        ["place", {"tag": 0, "symbol": "BTC/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 5000}],
        ["sleep", {"s": 2.5}],
        ["place", {"tag": 3, "symbol": "BTC/USDT", "owner": "beta", "side": "buy", "kind": "market", "value": 20000}],
        ["kill_outside", {"flatten": True}],
        ["fault", {"lane": "submit", "kind": "late", "n": 1, "s": 0.3, "at": 0.4}],
        ["kill", {"flatten": True}],
        ["sleep", {"s": 0.5}],
    ],
)
# Two changes of one order, both waiting for a price: each cancelled it and sent an order in its place.
CHANGED_TWICE = Schedule(
    market=3,
    steps=[
        ["place", {**_LIMIT, "tag": 6, "symbol": "BTC/USDT", "value": 1000, "away_bp": 30}],
        ["sleep", {"s": 5.3}],
        ["replace", {"nth": 0, "times": 2, "shift_bp": -3, "factor": "2"}],
    ],
)
# A restart while a drawdown had halted trading ended the exit, and its stop rested on with nobody to look after it.
EXIT_IN_A_DRAWDOWN = Schedule(
    market=4,
    steps=[
        ["limits", {"drawdown": 15}],
        ["place", {"tag": 9, "symbol": "BTC/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 1000}],
        ["sleep", {"s": 2.5}],
        ["place", {"tag": 20, "symbol": "BTC/USDT", "owner": "alpha", "side": "buy", "kind": "market", "value": 20000}],
        ["plan", {**_EXIT, "symbol": "BTC/USDT", "value": 20000, "target_bp": 15, "trail_bp": 30}],
    ],
)
# A plan was cancelled while the book was read for its first part: the part was sent all the same.
CANCELLED_BEFORE_ITS_FIRST_PART = Schedule(
    steps=[
        ["place", {"tag": 6, "symbol": "BTC/USDT", "owner": "manual", "side": "buy", "kind": "market", "value": 20000}],
        ["sleep", {"s": 6.0}],
        ["market", {"s": 10}],
        ["plan", {**_TWAP, "symbol": "BTC/USDT", "value": 200, "slices": 5, "away_bp": None, "duration": 10}],
        ["cancel_plan", {"nth": 0}],
    ],
)
# A plan ended while the answer to its stop was out; trading was allowed again before the stop showed, and it stayed.
STOP_SHOWN_AFTER_REARMING = Schedule(
    market=4,
    steps=[
        [
            "plan",
            {
                "symbol": "BTC/USDT",
                "owner": "manual",
                "kind": "bracket",
                "side": "buy",
                "value": 20000,
                "trail_bp": 100,
                "away_bp": None,
            },
        ],
        ["sleep", {"s": 11.0}],
        ["fault", {"lane": "submit", "kind": "late", "n": 1, "s": 1.9, "at": 4.8}],
        ["place", {"tag": 8, "symbol": "ETH/USDT", "owner": "manual", "side": "sell", "kind": "market", "value": 1000}],
        ["sleep", {"s": 5.0}],
        ["fence", {}],
        ["sleep", {"s": 2.5}],
        ["rearm", {}],
    ],
)
SCRIPTS = [
    STOP_SHOWN_AFTER_REARMING,
    HELD_BY_OTHERS,
    STOP_OF_AN_ENDED_PLAN,
    GONE_FOR_A_WHILE,
    NEXT_PART_TOO_EARLY,
    POSITION_FOUND_LATE,
    END_OF_A_PLAN_REFUSED,
    SALE_BESIDE_A_PROMISE,
    SOLD_BUT_NOT_LISTED,
    COMMAND_OUTLIVES_ITS_PROGRAM,
    SALE_FROM_OUTSIDE,
    SALE_WITH_THE_FEE,
    LOST_BALANCES,
    CLOCK_SET_BACK,
    KILLED_TWICE,
    STOPPED_FROM_BOTH_SIDES,
    SOLD_FROM_BOTH_SIDES,
    CHANGED_TWICE,
    EXIT_IN_A_DRAWDOWN,
    CANCELLED_BEFORE_ITS_FIRST_PART,
]


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    logging.disable(logging.CRITICAL)
    with TemporaryDirectory(dir=scratch()) as folder:
        yield Player(Path(folder))
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("schedule", SCRIPTS)
def test_what_once_broke_holds(player: Player, schedule: Schedule) -> None:
    assert player(schedule).violations == []
