"""The ways of submit, cancel and replace, undisturbed and with each fault that adds something to them.

A way is what comes before (prepared unharmed) and the command on whose way the process is killed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.crash.rig import PATIENCE_S, SYMBOL, Rig

# Where the ways begin.
ROOTS = {
    "executor:Executor.place_order",
    "executor:Executor.cancel_order",
    "executor:Executor.replace_order",
    "executor:Executor.ask_about",
    "order_manager:OrderManager.transmit",
}

# Points of coroutines on the ways, in branches into which no way leads.
ELSEWHERE = {
    "ccxt_gateway:CcxtGateway._client_id_of:1": "trades of orders this process has neither sent nor compared: a start",
}

# Who lets the journal write something, and on no way of an order.
BESIDE = {
    "account:AccountBook.remember_first_balances": "once, when a session starts",
    "assembly:": "the journal is opened",
    "book_keeper:BookKeeper.open": "a session starts",
    "cash_check:": "a round that compares cash",
    "executor:": "a start, and commands about strategies and limits",
    "foreign_kill:": "a start after a kill from another process",
    "journal:": "one method of the journal through another",
    "loss_measure:LossMeasure.restart": "trading is armed again",
    "order_manager:OrderManager._correct": "an order of somebody else is larger than its trades made it",
    "order_manager:OrderManager.adopt": "an order of somebody else was found",
    "order_manager:OrderManager.import_unknown": "a start after a kill from another process",
    "ownership_desk:": "commands about ownership",
    "plan_runner:": "order plans; tests/chaos dies there",
    "position_desk:": "funding, transfers, and fees in a currency that had no price",
    "position_rebuild:": "a start over the books of an earlier version",
    "rearm:": "a command while nothing runs",
    "risk_at_rest:": "a command while nothing runs",
    "strategy_runner:": "commands about strategies",
    "synchroniser:Synchroniser._note_read": "how far trades were read, once a minute; a crash reads them again",
    "synchroniser:Synchroniser._read_so_far": "the first comparison of a session over older books",
    "synchroniser:Synchroniser.declare_gone": "a person's word about a lost order; tests/chaos dies there",
    "trading_control:": "a halt or a re-arm",
}
# Of these, what a round may write at any moment, on a slow machine also in the middle of a way.
ROUNDS = ("cash_check:", "synchroniser:Synchroniser._note_read")

Made = dict[str, Any]
Prepare = Callable[[Rig], Made]
Walk = Callable[[Rig, Made], Made]


def market(rig: Rig) -> Made:
    """An order like no other before: the same one twice within two seconds is taken for a second click."""
    return {"symbol": SYMBOL, "side": "buy", "quantity": f"{0.001 + next(rig.numbers) * 0.00001:.5f}"}


def limit(rig: Rig, factor: float) -> Made:
    return {**market(rig), "price": f"{rig.price() * factor:.2f}"}


def nothing(rig: Rig) -> Made:
    return {}


def resting(rig: Rig) -> Made:
    made = rig.ask("place", **limit(rig, 0.97))
    assert made["state"] == "accepted", str(made)
    return made


def submit_market(rig: Rig, made: Made) -> Made:
    return rig.ask("place", **market(rig))


def submit_limit(rig: Rig, made: Made) -> Made:
    return rig.ask("place", **limit(rig, 0.97))


def cancel(rig: Rig, made: Made) -> Made:
    return rig.ask("cancel", order=made["order"])


def replace(rig: Rig, made: Made) -> Made:
    return rig.ask("replace", order=made["order"], price=limit(rig, 0.96)["price"])


def faults(spec: str, then: Prepare = nothing) -> Prepare:
    """Let something go wrong at the exchange from the preparation on."""

    def prepare(rig: Rig) -> Made:
        made = then(rig)
        rig.arm_faults(spec)
        return made

    return prepare


def filled_unheard(rig: Rig) -> Made:
    """An order that rests in the books and is filled at the exchange."""
    made = resting(rig)
    rig.arm_faults("drop:user,for=10s")
    rig.trade_against(made["order"])
    return made


def unanswered(rig: Rig) -> Made:
    """An order that arrived, and of which neither answer nor query tells."""
    rig.arm_faults("lost-ack:order,next=1;drop:user,for=5s;lag:query+openOrders+myTrades,ms=1500")
    made = rig.ask("place", **limit(rig, 0.97))
    assert made["state"] == "unknown", str(made)
    return made


def never_arrived(rig: Rig) -> Made:
    """An order that was lost on its way; once it can arrive no more, evidence says so."""
    rig.arm_faults("lost:order,next=1")
    made = rig.ask("place", **limit(rig, 0.97))
    assert made["state"] == "unknown", str(made)
    return made


def resolve(rig: Rig, made: Made) -> Made:
    return rig.ask("resolve", order=made["order"])


def resolve_until_known(rig: Rig, made: Made) -> Made:
    """Ask until it is decided, quicker than the rounds that ask by themselves."""
    deadline = time.monotonic() + PATIENCE_S
    while (answer := resolve(rig, made))["state"] == "unknown":
        assert time.monotonic() < deadline, str(answer)
        time.sleep(0.3)  # more questions would use up the request limit
    return answer


def paused(rig: Rig) -> Made:
    """The venue has just said that it is asked too often: the next order has to wait for its turn."""
    rig.arm_faults("error:order,status=429,retry=1,next=1")
    made = rig.ask("place", **limit(rig, 0.97))
    assert made["state"] == "rejected", str(made)
    return made


def submit_refused(rig: Rig, made: Made) -> Made:
    """More than the account can pay: the gate says no, and the books keep that."""
    answer = rig.ask("place", symbol=SYMBOL, side="buy", quantity=f"{1000 + next(rig.numbers)}")
    assert answer["state"] == "denied", str(answer)
    return answer


def happening(what: str, then: Prepare = nothing) -> Prepare:
    """Let the clock step, or a day begin, on the way itself."""

    def prepare(rig: Rig) -> Made:
        made = then(rig)
        rig.let_happen(what)
        return made

    return prepare


def submit_filled_in_parts(rig: Rig, made: Made) -> Made:
    """The book gives a part at once and the rest while nobody tells; queries have to find the trades."""
    done = threading.Event()
    helper = threading.Thread(target=rig.fill_what_rests, args=(done,), daemon=True)
    helper.start()
    try:
        return rig.ask("place", **limit(rig, 1.002))
    finally:
        done.set()
        helper.join()


PLAIN: dict[str, tuple[Prepare, Walk]] = {
    "submit a market order": (nothing, submit_market),
    "submit a limit order": (nothing, submit_limit),
    "cancel": (resting, cancel),
    "replace": (resting, replace),
}
# The stream shows the order and not its trades, the answer is lost: only queries can tell that it is filled.
HALF_TOLD = "delay:order,ms=300,next=1;lost-ack:order,next=1;drop:user,skip=1,for=10s"
LAG = "lag:query+openOrders+myTrades,ms=1500"
WAYS = PLAIN | {
    "submit while queries lag": (faults(LAG), submit_market),
    "replace while queries lag": (faults(LAG, resting), replace),
    "submit with its answer lost": (faults("lost-ack:order,next=1"), submit_market),
    "submit with a stale timestamp": (faults("error:order,code=-1021,next=1"), submit_limit),
    "submit filled in parts": (faults("partial:BTCUSDT,lots=20;drop:user,for=10s"), submit_filled_in_parts),
    "cancel what was filled": (filled_unheard, cancel),
    "cancel with an error first": (faults("error:cancel,code=-1001,next=1", resting), cancel),
    "cancel with a stale timestamp": (faults("error:cancel,code=-1021,next=1", resting), cancel),
    "cancel what has no answer": (unanswered, cancel),
    "cancel after the clock was set": (happening("clock step", resting), cancel),
    "submit on a new day": (happening("new day"), submit_limit),
    "submit that has to wait": (paused, submit_limit),
    "submit that risk refuses": (nothing, submit_refused),
    "submit of which the stream tells the beginning": (faults(HALF_TOLD), submit_market),
    "resolve": (unanswered, resolve_until_known),
    "resolve what never arrived": (never_arrived, resolve_until_known),
}
