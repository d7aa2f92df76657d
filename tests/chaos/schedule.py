"""What happens in one simulated life of an account: plain steps that a person can read, paste and shorten.

A step is `[name, {parameters}]`; `world.py` says what each one does. Steps refer to nothing but earlier steps of their
kind ("the third newest order"), so any of them may be left out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Step = list[Any]  # [name, parameters]

SYMBOLS = ("BTC/USDT", "ETH/USDT")
OWNERS = ("manual", "alpha", "beta")


@dataclass(frozen=True, slots=True)
class Schedule:
    """One script.

    Attributes:
        market: seed of the prices.
        jitter: seed of the latencies; 0 makes them constant.
        steps: what happens, in order.
    """

    market: int = 0
    jitter: int = 0
    steps: list[Step] = field(default_factory=list)

    def to_text(self) -> str:
        """Return the script as text that is JSON and a Python literal at once."""
        lines = ",\n        ".join(json.dumps(step) for step in self.steps)
        head = f'{{\n    "market": {self.market},\n    "jitter": {self.jitter},\n    "steps": [\n        '
        return f"{head}{lines}\n    ]\n}}"

    @classmethod
    def from_text(cls, text: str) -> Schedule:
        """Read what `to_text` wrote."""
        return cls(**json.loads(text))


Maker = Callable[[random.Random, int], list[Step]]


def place(rng: random.Random, number: int) -> list[Step]:
    symbol = rng.choice(SYMBOLS)
    kind = rng.choices(("market", "limit", "limit_maker", "stop"), (5, 7, 2, 1))[0]
    side = rng.choice(("buy", "buy", "sell"))
    step: dict[str, Any] = {"tag": number, "symbol": symbol, "owner": rng.choice(OWNERS), "side": side, "kind": kind}
    step["value"] = rng.choice((200, 1_000, 5_000, 20_000))
    if kind != "market":
        step["away_bp"] = rng.choice((-30, -5, 0, 2, 5, 10, 30, 200))
    if kind == "limit" and rng.random() < 0.2:
        step["tif"] = rng.choice(("IOC", "FOK"))
    if side == "sell" and rng.random() < 0.3:
        step["reduce"] = True
    return [["place", step]]


def again(rng: random.Random, number: int) -> list[Step]:
    return [["again", {"nth": rng.randrange(3)}]]


def cancel(rng: random.Random, number: int) -> list[Step]:
    return [["cancel", {"nth": rng.randrange(4)}]]


def cancel_all(rng: random.Random, number: int) -> list[Step]:
    return [["cancel_all", {"symbol": rng.choice((*SYMBOLS, None))}]]


def sleep(rng: random.Random, number: int) -> list[Step]:
    return [["sleep", {"s": rng.choice((0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 11.0))}]]


def market(rng: random.Random, number: int) -> list[Step]:
    return [["market", {"s": rng.choice((1, 3, 10, 30))}]]


SUBMIT_FAULTS = (
    ("ack_lost", 5), ("lost", 4), ("late", 4), ("slow", 2), ("throttled", 1), ("busy", 1), ("stale", 1), ("reject", 1),
    ("error", 1), ("error_done", 2), ("refused", 1), ("fatal", 0.3),
)  # fmt: skip
QUERY_FAULTS = (("lost", 2), ("ack_lost", 2), ("slow", 2), ("busy", 1), ("stale", 1), ("error_done", 1), ("refused", 1))
STREAM_FAULTS = (("drop", 5), ("twice", 2), ("delay", 3))


def fault(rng: random.Random, number: int) -> list[Step]:
    lane = rng.choices(
        ("submit", "cancel", "cancel_all", "order", "open", "trades", "balances", "time", "ticker", "stream"),
        (8, 3, 2, 3, 2, 2, 1, 1, 1, 4),
    )[0]
    if lane == "stream":
        kind = _draw(rng, STREAM_FAULTS)
        return [["fault", {"lane": lane, "kind": kind, "s": rng.choice((0.05, 0.5, 3.0)), "n": rng.choice((1, 2, 5))}]]
    kind = _draw(rng, SUBMIT_FAULTS if lane == "submit" else QUERY_FAULTS)
    step = {"lane": lane, "kind": kind, "n": rng.choice((1, 1, 1, 2, 3))}
    if kind in ("lost", "ack_lost", "late", "slow", "throttled"):
        step["s"] = rng.choice((0.05, 0.3, 1.0, 1.9))
    if kind == "late":
        step["at"] = step["s"] + rng.choice((0.1, 0.5, 1.0, 1.9))
    return [["fault", step]]


def risky(rng: random.Random, number: int) -> list[Step]:
    """An order whose own request meets a fault."""
    step = {"lane": "submit", "kind": _draw(rng, SUBMIT_FAULTS), "n": 1, "s": rng.choice((0.05, 0.3, 1.0, 1.9))}
    step["at"] = step["s"] + rng.choice((0.1, 0.5, 1.0, 1.9, 2.9))
    return [["fault", step], *place(rng, number)]


def blind(rng: random.Random, number: int) -> list[Step]:
    """An order that nobody hears of: its answer is lost, its frames are too, and queries lag."""
    fault = {"lane": "submit", "kind": rng.choice(("ack_lost", "error_done", "late")), "n": 1, "s": 0.1, "at": 0.4}
    lanes = rng.choice((["order"], ["order"], ["order", "open"], ["trades"]))
    lag: Step = ["lag", {"lanes": lanes, "s": rng.choice((1.0, 1.5)), "for": rng.choice((4.0, 20.0))}]
    blind: Step = rng.choice((["fault", {"lane": "stream", "kind": "drop", "s": 0.0, "n": 4}], ["mute", {"s": 0.6}]))
    end: Step = rng.choice((["sleep", {"s": 0.5}], ["cut", {"s": 0.1}], ["crash", {"down": 0.0}]))
    return [["fault", fault], lag, blind, *place(rng, number), ["sleep", {"s": 0.3}], end]


def lag(rng: random.Random, number: int) -> list[Step]:
    lanes = [lane for lane in ("order", "open", "trades") if rng.random() < 0.5] or ["order"]
    # Short lags may hit everything at once; a long one leaves the other sources as evidence.
    if rng.random() < 0.3:
        return [["lag", {"lanes": lanes[:1], "s": rng.choice((4.0, 12.0)), "for": rng.choice((5.0, 20.0, 60.0))}]]
    return [["lag", {"lanes": lanes, "s": rng.choice((0.2, 0.8, 1.5)), "for": rng.choice((2.0, 10.0, 30.0))}]]


def stream(rng: random.Random, number: int) -> list[Step]:
    return [[rng.choice(("cut", "cut", "mute")), {"s": rng.choice((0.1, 1.0, 6.0))}]]


def outage(rng: random.Random, number: int) -> list[Step]:
    return [["outage", {"s": rng.choice((0.5, 3.0, 15.0))}]]


def crash(rng: random.Random, number: int) -> list[Step]:
    down = rng.choice((0.0, 0.0, 0.5, 3.0, 20.0))
    if rng.random() < 0.3:
        return [["crash", {"down": down}]]
    point = rng.choice(("commit", "committed", "wire", "fence"))
    return [["crash_at", {"point": point, "n": rng.choice((1, 1, 2, 3, 5, 8)), "down": down}]]


def restart(rng: random.Random, number: int) -> list[Step]:
    return [["stop", {}], *([["market", {"s": 5}]] if rng.random() < 0.5 else []), ["start", {}]]


def kill(rng: random.Random, number: int) -> list[Step]:
    return _stopped(rng, ["kill", {"flatten": rng.random() < 0.5}])


def kill_outside(rng: random.Random, number: int) -> list[Step]:
    if rng.random() < 0.5:
        return _stopped(rng, ["fence", {}])
    return _stopped(rng, ["kill_outside", {"flatten": rng.random() < 0.5}])


def _stopped(rng: random.Random, step: Step) -> list[Step]:
    """Trading is stopped, and mostly allowed again before long: nothing happens while it is not."""
    if rng.random() < 0.25:
        return [step]
    pauses = [["sleep", {"s": rng.choice((0.02, 0.5, 2.5))}] for _ in range(rng.choice((0, 1, 1)))]
    return [step, *pauses, ["rearm", {}]]


def rearm(rng: random.Random, number: int) -> list[Step]:
    return [["rearm", {}]]


def burst(rng: random.Random, number: int) -> list[Step]:
    """Several orders at once."""
    return [step for index in range(rng.choice((2, 3, 5))) for step in place(rng, 1_000 * (index + 1) + number)]


def foreign(rng: random.Random, number: int) -> list[Step]:
    if rng.random() < 0.25:
        return [["foreign_cancel", {"nth": rng.randrange(3)}]]
    symbol, side = rng.choice(SYMBOLS), rng.choice(("buy", "sell"))
    away = rng.choice((None, 0, 5, 100))
    return [
        ["foreign", {"tag": number, "symbol": symbol, "side": side, "value": rng.choice((300, 3_000)), "away_bp": away}]
    ]


def skew(rng: random.Random, number: int) -> list[Step]:
    return [["skew", {"s": rng.choice((-4.0, -1.5, -0.4, 0.4, 0.9, 1.5, 5.0))}]]


def disk(rng: random.Random, number: int) -> list[Step]:
    return [["disk", {"n": rng.choice((1, 1, 2))}]]


def plan(rng: random.Random, number: int) -> list[Step]:
    """An order plan of any kind; an exit mostly has something to close."""
    symbol = rng.choice(SYMBOLS)
    kind = rng.choices(("exit", "bracket", "twap", "iceberg"), (4, 5, 2, 2))[0]
    side = rng.choice(("buy", "buy", "buy", "sell")) if kind in ("twap", "iceberg") else "buy"
    value = rng.choice((200, 1_000, 5_000, 20_000))
    step: dict[str, Any] = {"symbol": symbol, "owner": "manual", "kind": kind, "side": side, "value": value}
    if kind in ("exit", "bracket"):
        step |= _exits(rng)
    if kind == "exit":
        step |= {"owner": rng.choice(OWNERS), "part": rng.choice(("1", "1", "0.5"))}
    if kind == "bracket":
        step["away_bp"] = rng.choice((None, None, -5, 2, 5))
    if kind == "twap":
        step |= {"slices": rng.choice((2, 3, 5)), "away_bp": rng.choice((None, -30, 0))}
        step["duration"] = step["slices"] * rng.choice((2, 3))
    if kind == "iceberg":
        step |= {"slices": rng.choice((2, 3, 5)), "away_bp": rng.choice((-5, 2, 5, 30))}
    if side == "sell" and rng.random() < 0.5:
        step["reduce"] = True
    if kind != "exit" or rng.random() < 0.2:
        return [["plan", step]]
    terms = {"tag": number, "symbol": symbol, "owner": step["owner"], "side": "buy", "kind": "market", "value": value}
    return [["place", terms], ["sleep", {"s": rng.choice((0.3, 1.0))}], ["plan", step]]


def _exits(rng: random.Random) -> dict[str, Any]:
    exits: dict[str, Any] = {}
    kind = rng.choice(("stop", "both", "both", "trail", "trail_target", "target"))
    if kind in ("stop", "both"):
        exits["stop_bp"] = rng.choice((5, 15, 40, 150))
    if kind in ("both", "target", "trail_target"):
        exits["target_bp"] = rng.choice((5, 15, 40, 150))
    if kind in ("trail", "trail_target"):
        exits["trail_bp"] = rng.choice((10, 30, 100))
    return exits


def planned(rng: random.Random, number: int) -> list[Step]:
    """A plan that the market meets, and something that goes wrong on its way."""
    steps = plan(rng, number)
    for _ in range(rng.choice((1, 2, 3))):
        makers = (market, market, market, sleep, fault, crash, stream, lag, cancel, restart)
        steps += rng.choice(makers)(rng, number)
    return [*steps, ["resume_plan", {"nth": 0}]] if rng.random() < 0.5 else steps


def cancel_plan(rng: random.Random, number: int) -> list[Step]:
    return [["cancel_plan", {"nth": rng.randrange(3)}]]


def resume_plan(rng: random.Random, number: int) -> list[Step]:
    return [["resume_plan", {"nth": rng.randrange(3)}]]


def change(rng: random.Random, number: int) -> list[Step]:
    """An order changed: its quantity, its price or both; sometimes with two clicks, or while it is being filled."""
    step: dict[str, Any] = {"nth": rng.choice((0, 0, 1, 2)), "times": rng.choice((1, 1, 2))}
    step |= rng.choice(({"factor": "0.5"}, {"factor": "1.5"}, {"shift_bp": -10}, {"shift_bp": 10}))
    if rng.random() < 0.3:
        step |= {"factor": "2", "shift_bp": rng.choice((-3, 3))}
    before = market(rng, number) if rng.random() < 0.4 else sleep(rng, number)
    terms = {"tag": number, "symbol": rng.choice(SYMBOLS), "owner": rng.choice(OWNERS), "side": "buy", "kind": "limit"}
    terms |= {"value": rng.choice((1_000, 5_000)), "away_bp": rng.choice((2, 5, 30))}
    order: list[Step] = [["place", terms], ["sleep", {"s": 0.3}]] if rng.random() < 0.7 else []
    return [*order, *before, ["replace", step], *(market(rng, number) if rng.random() < 0.3 else [])]


def ownership(rng: random.Random, number: int) -> list[Step]:
    symbol = rng.choice(SYMBOLS)
    take: Step = ["take_over", {"symbol": symbol, "move": rng.random() < 0.5}]
    back: Step = ["hand_back", {"symbol": symbol, "to": rng.choice(("shared", "bot"))}]
    if rng.random() < 0.3:
        back[1]["move_to"] = rng.choice(("alpha", "beta"))
    return rng.choice(([take], [back], [take, ["sleep", {"s": rng.choice((0.02, 1.0, 5.0))}], back]))


def resolve(rng: random.Random, number: int) -> list[Step]:
    """A person looks into an order whose answer is lost."""
    look: Step = rng.choice((["ask_about", {"nth": rng.randrange(3)}], ["declare_gone", {}]))
    if rng.random() < 0.5:
        return [look]
    return [*risky(rng, number), ["sleep", {"s": rng.choice((2.5, 6.0, 8.0))}], look]


def limits(rng: random.Random, number: int) -> list[Step]:
    return [["limits", {"drawdown": rng.choice((15, 40, 100, 10_000))}]]


# New operations join here; weights say how often they come.
MAKERS: list[tuple[Maker, float]] = [
    (place, 16), (burst, 3), (risky, 12), (blind, 3), (again, 2), (cancel, 8), (cancel_all, 1.5),
    (sleep, 16), (market, 14), (fault, 8), (lag, 4), (stream, 4), (outage, 1.5), (crash, 5), (restart, 2),
    (kill, 2), (kill_outside, 1.2), (rearm, 3.5), (foreign, 3), (skew, 1), (disk, 0.7),
    (plan, 4), (planned, 4), (cancel_plan, 1), (resume_plan, 1), (change, 3), (ownership, 1.5), (resolve, 1.5),
    (limits, 0.7),
]  # fmt: skip


def makers_named(names: tuple[str, ...]) -> tuple[Maker, ...]:
    """Return makers by name.

    Raises:
        KeyError: there is no such maker.
    """
    by_name = {maker.__name__: maker for maker, _ in MAKERS}
    return tuple(by_name[name] for name in names)


def generate(seed: int, focus: tuple[Maker, ...] = ()) -> Schedule:
    """Make the schedule of a seed.

    Args:
        focus: what is to come often.
    """
    rng = random.Random(seed)
    makers = [maker for maker, _ in MAKERS]
    # Each schedule has habits of its own: some steps never come, others often.
    weights = [weight * rng.choice((0.0, 0.5, 1.0, 1.0, 3.0)) for _, weight in MAKERS]
    weights[0] = max(weights[0], MAKERS[0][1])  # without orders there is nothing to see
    weights = [weight + 20.0 * (maker in focus) for maker, weight in zip(makers, weights, strict=True)]
    steps: list[Step] = []
    for number in range(rng.choice((8, 14, 20, 28, 40))):
        steps += rng.choices(makers, weights)[0](rng, number)
    return Schedule(rng.randrange(8), rng.choice((0, rng.randrange(1, 1 << 30))), steps)


def _draw(rng: random.Random, table: tuple[tuple[str, float], ...]) -> str:
    kinds, weights = zip(*table, strict=True)
    return str(rng.choices(kinds, weights)[0])
