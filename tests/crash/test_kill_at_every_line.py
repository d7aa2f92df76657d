"""`main.py trade` is killed at every await and every commit of submit, cancel and replace, and started again.

Each way is walked once to see what points it passes, then killed at each of them in turn. Afterwards at most one order
of each wish is at the exchange, the books equal it order for order and trade for trade, nothing is undecided, and
nothing was sent that had not been sent before.
"""

from __future__ import annotations

import ast
import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from app.runtime import new_practice_account
from core.practice.control import PracticeEndpoints
from core.practice.process import PracticeProcess
from tests.crash.points import ROOT, WRITE, all_points, everything, function_of
from tests.crash.rig import Died, Rig
from tests.crash.ways import BESIDE, ELSEWHERE, PLAIN, ROOTS, ROUNDS, WAYS, Prepare, Walk

CASES_PER_ACCOUNT = 15  # the comparison of the books looks at every order there is
MOST_VISITS = 6  # a loop that polls passes its points many times; at some time nothing is new
EFFECTS = ("journal:", "ccxt_client:")  # where something is written, sent or answered
ATTEMPTS = 3
SIDE_BY_SIDE = 3
BALANCE = Decimal(1_000_000)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[PracticeEndpoints]:
    with PracticeProcess(data_dir=tmp_path / "exchange", seed=11, balance=str(BALANCE), limits="off") as endpoints:
        yield endpoints


def walk_once(rig: Rig, prepare: Prepare, walk: Walk) -> list[list[str]]:
    """Walk a way unharmed and return what it passed, instant by instant."""
    time.sleep(0.5)  # so many orders within a second are taken for a loop that runs away
    made = prepare(rig)
    rig.arm("log")
    walk(rig, made)
    instants = rig.instants()
    rig.disarm()
    rig.clean_up()
    return instants


def where_to_die(instants: list[list[str]], known: frozenset[str] | None = None) -> list[str]:
    """Choose the visits to die at: every point the first time, later on one for each state of the world.

    Args:
        instants: what was passed.
        known: where a fault is walked, what is passed without one: then only what is new counts, and the first time
            that something is written, sent or answered.
    """
    chosen: list[str] = []
    for instant in instants:
        first = [visit for visit in instant if visit.endswith("#1")]
        if known is None:
            again = [visit for visit in instant if int(visit.rpartition("#")[2]) <= MOST_VISITS]
            chosen += first or again[-1:]
        else:
            new = [visit for visit in first if visit not in known]
            chosen += new or [visit for visit in first if visit.startswith(EFFECTS)][-1:]
    return chosen


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_every_await_and_commit(way: str, tmp_path: Path, exchange: PracticeEndpoints) -> None:
    prepare, walk = WAYS[way]
    rig = Rig(tmp_path / "first", exchange)
    try:
        rig.start()
        instants = walk_once(rig, prepare, walk)
        visits = where_to_die(instants, None if way in PLAIN else what_plain_ways_pass(rig))
    finally:
        rig.stop()
    assert len(visits) > 3
    # Most of the time is spent waiting for processes and proofs: several exchanges are killed at side by side.
    shares = [(tmp_path / f"share-{n}", visits[n::SIDE_BY_SIDE]) for n in range(SIDE_BY_SIDE)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        missed = [pool.submit(kill_at_each, folder, share, prepare, walk) for folder, share in shares]
        # How often a loop polls differs from time to time; that a point is passed at all does not.
        assert [visit for done in missed for visit in done.result() if visit.endswith("#1")] == []


def kill_at_each(folder: Path, visits: list[str], prepare: Prepare, walk: Walk) -> list[str]:
    """Kill a process at each of the points, over an exchange of its own; returns what was never reached."""
    missed: list[str] = []
    with PracticeProcess(data_dir=folder / "exchange", seed=11, balance=str(BALANCE), limits="off") as exchange:
        rig = Rig(folder / "first", exchange)
        try:
            for number, visit in enumerate(visits):
                if number % CASES_PER_ACCOUNT == 0:
                    rig.stop()
                    exchange = asyncio.run(new_practice_account(exchange, BALANCE))
                    rig = Rig(folder / f"account-{number}", exchange)
                    rig.start()
                if not killed_at(rig, visit, prepare, walk):
                    missed.append(visit)
        finally:
            rig.stop()
    return missed


def what_plain_ways_pass(rig: Rig) -> frozenset[str]:
    """Return the visits on the ways without a fault."""
    walks = [walk_once(rig, prepare, walk) for prepare, walk in PLAIN.values()]
    return frozenset(visit for instants in walks for instant in instants for visit in instant)


def killed_at(rig: Rig, visit: str, prepare: Prepare, walk: Walk) -> bool:
    """Kill the process at a point and check what must hold after the restart; False where it was not reached."""
    # How often a loop polls differs from time to time; a first visit must come.
    for _ in range(ATTEMPTS if visit.endswith("#1") else 1):
        made = prepare(rig)
        rig.arm(visit)
        try:
            walk(rig, made)
        except Died:
            state = rig.recover()
            assert len(state["orders"]) <= 1, f"{visit}: {state['orders']}"
            rig.clean_up()
            return True
        rig.disarm()
        rig.clean_up()
    return False


@dataclass
class Spied:
    """What the ways led through."""

    points: set[str] = field(default_factory=set)
    coroutines: set[str] = field(default_factory=set)
    commits: set[tuple[str, str]] = field(default_factory=set)

    def missed(self) -> list[str]:
        """Points of the coroutines entered that were not passed: a branch into which no way leads."""
        return [p for p in all_points() if function_of(p) in self.coroutines and p not in self.points]


def test_every_point_lies_on_a_way(tmp_path: Path, exchange: PracticeEndpoints) -> None:
    """What no way passes would never be tested: a new await or commit must come with a way that reaches it.

    Every coroutine that is entered must be passed whole. An await that is passed enters what it calls, so that from
    `ROOTS` on nothing can be left out.
    """
    spied = Spied()
    for name in WAYS:
        spy_on(name, tmp_path / name.replace(" ", "-"), exchange, spied)
    assert spied.coroutines >= ROOTS
    assert [point for point in spied.missed() if not point.startswith(tuple(ELSEWHERE))] == []
    assert [place for place in ELSEWHERE if not any(point.startswith(place) for point in spied.missed())] == []
    # Whoever lets the journal write something either did, or does so on no way of an order.
    writers = {function_of(p).rpartition(".")[2] for p in all_points() if p.endswith("commit")}
    calls = everything().attributes
    writers |= {
        function.rpartition(".")[2] for function, c in calls if c in writers and function.startswith("journal:")
    }
    callers = {(function, called) for function, called in calls if called in writers}
    assert spied.commits <= callers
    unseen = {caller for caller in callers - spied.commits if not caller[0].startswith(ROUNDS)}
    assert [caller for caller in sorted(unseen) if not caller[0].startswith(tuple(BESIDE))] == []
    beside = tuple(place for place in BESIDE if place not in ROUNDS)
    assert {caller for caller in spied.commits if caller[0].startswith(beside)} == set()
    assert [place for place in beside if not any(caller[0].startswith(place) for caller in unseen)] == []


def spy_on(name: str, folder: Path, exchange: PracticeEndpoints, spied: Spied) -> None:
    """Walk a way over an account of its own and note what it passes."""
    rig = Rig(folder, asyncio.run(new_practice_account(exchange, BALANCE)))
    try:
        rig.start()
        spied.points |= {v.rpartition("#")[0] for instant in walk_once(rig, *WAYS[name]) for v in instant}
        spied.coroutines |= rig.entered()
        spied.commits |= rig.wrote()
    finally:
        rig.stop()


def test_nothing_is_committed_past_the_points() -> None:
    """The journal has one transaction, and every use of it is a `with` that is instrumented."""
    tree = ast.parse((ROOT / "core/execution/journal.py").read_text("utf-8"))
    begins = uses = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"commit", "execution_options", "raw_connection"}
            begins += node.attr == "begin"
            uses += node.attr == WRITE
    instrumented = sum(p.startswith("journal:") and p.endswith("before commit") for p in all_points())
    assert begins == 1
    assert uses == instrumented > 0
