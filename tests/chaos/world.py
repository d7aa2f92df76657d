"""Runs one schedule: network, venue, driver and the lives of the program. One virtual-time loop per schedule.

A new kind of step is a method `_do_NAME` here and a maker in `schedule.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.clock import NS_PER_MS, NS_PER_S
from core.config import DataPaths
from core.domain.order_plans import PlanState
from core.domain.orders import (
    MANUAL_OWNER,
    Intent,
    IntentSource,
    Order,
    OrderDraft,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
    TradingState,
)
from core.errors import UserError
from core.events import ExecutorEvent, TradingStateChanged
from core.execution.api.gateway import ExchangeGateway, OrderRequest
from core.execution.fence import Fence
from core.execution.outside_kill import OutsideKill
from core.execution.process_lock import ExecutorLock
from core.execution.records import OrderRecord
from core.execution.trading_control import DRAWDOWN_REASON, state_at_rest
from core.practice.orders import Fill, Rejection
from core.signals.risk_management import ReasonCode
from tests.chaos import invariants
from tests.chaos.faults import Fault, FaultPlan
from tests.chaos.gateway import SimGateway
from tests.chaos.plan_watch import PlanWatch
from tests.chaos.process import ProcessDied, SimProcess
from tests.chaos.schedule import Schedule
from tests.chaos.venue import SimVenue
from tests.chaos.virtual_loop import Deadlock, Spinning, VirtualLoop
from tests.chaos.wishes import WishSteps, probe_source

_KINDS = {
    "market": OrderType.MARKET,
    "limit": OrderType.LIMIT,
    "limit_maker": OrderType.LIMIT_MAKER,
    "stop": OrderType.STOP_LOSS_LIMIT,
}
_RESPAWN_S = 2.0
# Why a program that has recovered may still deny an order, and the state that its own watch must be in then.
_LIMITS_REACHED = {
    ReasonCode.DRAWDOWN.value: TradingState.HALTED,
    ReasonCode.DAILY_LOSS.value: TradingState.REDUCING,
}
_PATIENCE_S = (13.0, 15.0, 40.0, 80.0, 120.0)


class SkewedClock:
    """The program's idea of wall time: the venue's, wrong by `skew_ns`."""

    def __init__(self, sim: SimVenue, loop: VirtualLoop) -> None:
        self._begin_ns = sim.server_ms() * NS_PER_MS
        self._loop = loop
        self.skew_ns = 0

    def now_ns(self) -> int:
        return self._begin_ns + int(self._loop.time() * NS_PER_S) + self.skew_ns


@dataclass(slots=True)
class Outcome:
    """What became of a schedule.

    Attributes:
        violations: one sentence each, beginning with the invariant's name and a colon.
        virtual_s: how much time passed in it.
        counts: how much happened.
    """

    violations: list[str] = field(default_factory=list)
    virtual_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def kinds(self) -> set[str]:
        """Names of the invariants broken."""
        return {text.partition(":")[0] for text in self.violations}


class World(WishSteps):
    """One account, one venue, and programs that come and go."""

    def __init__(self, loop: VirtualLoop, folder: Path, schedule: Schedule) -> None:
        self.loop = loop
        self.schedule = schedule
        self.paths = DataPaths(folder)
        self.plan = FaultPlan(loop.time, schedule.jitter)
        self.sim = SimVenue(loop, schedule.market, self.plan)
        self.clock = SkewedClock(self.sim, loop)
        self.fence = Fence(folder / "fence.json")
        self.context = copy_context()
        self.outcome = Outcome()
        self.watch = PlanWatch(self)
        self.sim.on_change = self.watch.look
        self.lives: list[SimProcess] = []
        self.inserted: dict[str, int] = {}  # client id -> the life that committed it
        self.sources: dict[str, IntentSource] = {}
        self.sent: dict[str, int] = {}  # client id -> the life that put it on the wire
        self._sent_in: set[str] = set()  # markets
        self.cancels: dict[str, int] = {}  # client id -> the life that was asked to cancel it
        self.halted = False  # as commanded
        self.stops = 0  # how often trading was stopped
        self.killing = 0  # STOPs of the present life that have not returned
        self.rearming = False
        self.limited = False  # whether a loss may halt trading
        self.wanted = True
        self._down_s = 0.0
        self._intents: list[Intent | OrderDraft] = []
        self._manual_ids = 0
        self._work: set[asyncio.Task[Any]] = set()

    @property
    def life(self) -> SimProcess:
        """The newest program, dead or alive."""
        return self.lives[-1]

    def violate(self, kind: str, text: str) -> None:
        """Note that an invariant is broken."""
        self.outcome.violations.append(f"{kind}: {text}")

    def is_watched(self, fill: Fill) -> bool:
        """Return whether the program follows the market of somebody else's trade: it sent or holds something there."""
        held = {row["symbol"].replace("/", "") for row in invariants.held_positions(self.paths)}
        return fill.symbol in held or fill.symbol in self._sent_in

    # --- lives ------------------------------------------------------------------------------------------------

    def spawn_life(self) -> None:
        """Start the program, unless it runs."""
        if self.lives and self.life.alive and not self.life.ended:
            return
        process = SimProcess(
            self.loop,
            self.sim,
            self.paths,
            self.clock,
            len(self.lives) + 1,
            self._new_id,
            self._on_wire,
            self._on_insert,
            self._on_event,
            self._on_death,
        )
        self.lives.append(process)
        self.killing = 0
        process.run().add_done_callback(lambda task: self._on_end(process, task))

    def _on_end(self, process: SimProcess, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (exc := task.exception()) is not None and not isinstance(exc, ProcessDied):
            self.violate("bug", f"life {process.number} ended with {exc!r}")
        if process.failure is not None:
            invariants.program_failed(self, process)
        if process.alive and self.wanted:
            self.loop.call_later(_RESPAWN_S, self.spawn_life, context=self.context)

    def _on_death(self, process: SimProcess) -> None:
        self._forget_commands()
        self.loop.call_soon(self._bury, process, context=self.context)

    def _forget_commands(self) -> None:
        """A command under way when the program ends may or may not have reached the disk; what stands there counts."""
        if self.killing or self.rearming or self.limited:
            self.killing, self.rearming = 0, False
            self.halted = self._halted_on_disk()

    def _bury(self, process: SimProcess) -> None:
        self._spawn(process.reap())
        if self.wanted:
            self.loop.call_later(self._down_s, self.spawn_life, context=self.context)

    def _halted_on_disk(self) -> bool:
        stored = invariants.stored_trading_state(self.paths)
        return state_at_rest(stored, self.fence.read()).state is TradingState.HALTED

    def _new_id(self) -> str:
        self._manual_ids += 1
        return str(self._manual_ids)

    def _on_insert(self, process: SimProcess, record: OrderRecord) -> None:
        if record.order.state is OrderState.SUBMITTED:
            self._check_lock(process, record)
        if record.order.state is not OrderState.DENIED:
            self.inserted[record.key] = process.number
            self.sources[record.key] = record.intent.source
        self.watch.made(record)

    def _on_event(self, event: ExecutorEvent) -> None:
        self.watch.heard(event)
        if isinstance(event, TradingStateChanged) and event.reason == DRAWDOWN_REASON:
            self._is_stopped()

    def _check_lock(self, process: SimProcess, record: OrderRecord) -> None:
        """Nothing is bought where the fate of an order is open."""
        intent = record.intent
        held = process.executor.position(intent.symbol, intent.owner).quantity
        unknown = [
            order.client_order_id
            for order in process.executor.working_orders
            if order.state is OrderState.UNKNOWN and order.intent.symbol == intent.symbol
        ]
        if unknown and intent.side is Side.BUY and held >= 0:
            self.violate("unknown-lock", f"{record.key} was approved while the fate of {unknown} was open")

    def _on_wire(self, process: SimProcess, request: OrderRequest) -> None:
        key = request.client_order_id
        if key in self.sent:
            self.violate("sent-twice", f"{key} went out in life {self.sent[key]} and again in life {process.number}")
        self.sent[key] = process.number
        self._sent_in.add(request.symbol.replace("/", ""))
        if self.inserted.get(key) != process.number:
            self.violate("sent-later", f"{key} was committed in life {self.inserted.get(key)}, not in {process.number}")
        if self.halted and not self._may_close(process, key):
            self.violate("sent-halted", f"{key} went out although trading was stopped")

    def _may_close(self, process: SimProcess, key: str) -> bool:
        """Whether an order passes a halt: STOP's own sales, and after a loss limit what only reduces a position."""
        if self.sources.get(key) is IntentSource.KILL_SWITCH:
            return True
        reduces = any(o.client_order_id == key and o.intent.reduce_only for o in process.executor.working_orders)
        return reduces and process.executor.trading_record.reason == DRAWDOWN_REASON

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(work, context=self.context.copy())
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    def _ask(self, what: str, work: Callable[[SimProcess], Awaitable[Any]]) -> None:
        """Let the running program do something; nothing happens where none runs."""
        process = self.life
        if process.alive and process.started and not process.ended:
            process.spawn(self._watched(what, process, work))

    async def _watched(self, what: str, process: SimProcess, work: Callable[[SimProcess], Awaitable[Any]]) -> None:
        try:
            await work(process)
        except (UserError, ProcessDied, asyncio.CancelledError):
            pass  # refused with a sentence, or dead
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is the finding
            if process.alive:
                self.violate("bug", f"{what} raised {exc!r}")

    # --- the run ----------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Play the schedule, let everything recover, and look."""
        self.spawn_life()
        await self._until_started()
        for name, parameters in self.schedule.steps:
            done = getattr(self, f"_do_{name}")(parameters)
            if done is not None:
                await done
            await asyncio.sleep(0.001)
        await self._recover()
        self.outcome.virtual_s = self.loop.time()
        states = Counter(row["state"] for row in invariants.rows(self.paths, "SELECT state FROM orders"))
        self.outcome.counts = {
            "orders sent": len(self.sent),
            "orders denied": states["denied"],
            "trades": len(self.sim.all_fills()),
            "plans": len(self.watch.plans),
            "plans done": sum(plan.state is PlanState.DONE for plan in self.watch.plans.values()),
            "plan orders": sum(
                bool(self.watch.intents[key].parent_id) for key in self.watch.intents.keys() & self.sent
            ),
            "replacements": sum(map(len, self.watch.successors.values())),
            "programs": len(self.lives),
            "killed": sum(process.killed for process in self.lives),
        }
        return self.outcome

    async def _until_started(self, patience_s: float = 180.0) -> bool:
        until = self.loop.time() + patience_s
        while self.loop.time() < until:
            if self.life.alive and self.life.started and not self.life.ended:
                return True
            await asyncio.sleep(0.05)
        return False

    async def _recover(self) -> None:
        """Faults off, market still: now everything must come right by itself, and stay right over a restart."""
        self.plan.clear()
        self.sim.heal()
        for process in self.lives:
            process.die_at.clear()
            process.disk_faults = 0
        self.wanted, self._down_s = True, 0.0
        await self._settle("recovered")
        if not self.halted:
            await self._probe()
        life = self.life
        await life.leave()
        self._forget_commands()
        self.spawn_life()
        await self._settle("restarted")
        invariants.check_history(self)
        for context in self.loop.failures:
            if not isinstance(context.get("exception"), ProcessDied):
                self.violate("bug", f"{context.get('message')}: {context.get('exception')!r}")
        self.wanted = False
        await self.life.leave()

    async def _probe(self) -> None:
        """A program that has recovered can trade."""
        quantity = Decimal("0.01")
        now, source = self.clock.now_ns(), probe_source(self, "BTC/USDT")
        intent = Intent("probe:1", source, "probe", "BTC/USDT", Side.BUY, quantity, OrderType.MARKET, created_ns=now)
        task = self.life.spawn(self.life.executor.submit(intent))
        await asyncio.wait({task}, timeout=20)
        order = task.result() if task.done() and not task.cancelled() and task.exception() is None else None
        if order is not None and order.reason_code in _LIMITS_REACHED:
            await asyncio.sleep(2.0)  # the gate asks at every order, the watch every half second
            if self.life.executor.trading_state is _LIMITS_REACHED[order.reason_code]:
                return
        if order is None or order.state is not OrderState.FILLED:
            self.violate("trades-no-more", f"the order after the recovery became {order}")

    async def _settle(self, when: str) -> None:
        problems = []
        for wait_s in _PATIENCE_S:
            self.spawn_life()
            if not await self._until_started():
                self.violate("never-started", f"no program came up, {when}")
                return
            self.sim.tick()
            await asyncio.sleep(wait_s)
            problems = await invariants.eventual_problems(self)
            if not problems:
                return
        self.outcome.violations += [f"{text} ({when})" for text in problems]

    # --- steps: orders ----------------------------------------------------------------------------------------

    def _do_place(self, step: dict[str, Any]) -> None:
        last, spec = self.sim.last_price(step["symbol"]), self.sim.spec(step["symbol"])
        tick, lot = Decimal(1).scaleb(-spec.price_decimals), Decimal(1).scaleb(-spec.quantity_decimals)
        side, kind = Side(step["side"]), _KINDS[step["kind"]]
        quantity = (Decimal(step["value"]) / last).quantize(lot)
        away = Decimal(step.get("away_bp", 0)) / 10_000
        limit = stop = None
        if kind is OrderType.STOP_LOSS_LIMIT:
            stop = (last * (1 + side.sign * abs(away))).quantize(tick)
            limit = (stop * (1 + side.sign * Decimal("0.002"))).quantize(tick)
        elif kind is not OrderType.MARKET:
            limit = (last * (1 - side.sign * away)).quantize(tick)
        terms: dict[str, Any] = {
            "symbol": step["symbol"],
            "side": side,
            "quantity": quantity,
            "order_type": kind,
            "limit_price": limit,
            "stop_price": stop,
            "time_in_force": TimeInForce(step.get("tif", "GTC")),
            "reduce_only": step.get("reduce", False),
        }
        wish: Intent | OrderDraft
        if step["owner"] == MANUAL_OWNER:
            wish = OrderDraft(**terms)
        else:
            intent_id = f"{step['owner']}:{step['tag']}"
            now = self.clock.now_ns()
            wish = Intent(intent_id, IntentSource.STRATEGY, step["owner"], created_ns=now, **terms)
        self._intents.append(wish)
        self._submit(wish)

    def _submit(self, wish: Intent | OrderDraft) -> None:
        def work(process: SimProcess) -> Awaitable[Order]:
            executor = process.executor
            return executor.place_order(wish) if isinstance(wish, OrderDraft) else executor.submit(wish)

        self._ask("placing an order", work)

    def _do_again(self, step: dict[str, Any]) -> None:
        """The same wish once more: a second click, or a strategy that decides again after a restart."""
        if len(self._intents) > step["nth"]:
            self._submit(self._intents[-1 - step["nth"]])

    def _do_cancel(self, step: dict[str, Any]) -> None:
        keys = [key for key, source in self.sources.items() if source is not IntentSource.KILL_SWITCH]
        if len(keys) <= step["nth"]:
            return
        key = keys[-1 - step["nth"]]

        async def work(process: SimProcess) -> None:
            self.cancels[key] = process.number
            await process.executor.cancel_order(key)

        self._ask("cancelling an order", work)

    def _do_cancel_all(self, step: dict[str, Any]) -> None:
        self.watch.disturbed = True
        self._ask("cancelling all orders", lambda process: process.executor.cancel_all(step["symbol"]))

    # --- steps: STOP and its end ------------------------------------------------------------------------------

    def _is_stopped(self) -> None:
        self.halted = self.watch.disturbed = True
        self.stops += 1

    def _do_kill(self, step: dict[str, Any]) -> None:
        async def work(process: SimProcess) -> None:
            self.killing += 1
            self._is_stopped()
            await process.executor.kill(step["flatten"])
            if process is self.life and process.alive:
                self.watch.stopped(process)
                self.killing -= 1

        self._ask("STOP", work)

    def _do_rearm(self, step: dict[str, Any]) -> None:
        async def work(process: SimProcess) -> None:
            self.rearming, stops = True, self.stops
            try:
                await process.executor.rearm()
            finally:
                self.rearming = False
            # Refused while STOP works; what stopped trading since it was done is still in force.
            self.halted = self.stops != stops

        self._ask("re-arming", work)

    def _do_fence(self, step: dict[str, Any]) -> None:
        self._is_stopped()
        self.fence.raise_epoch("stopped from outside", self.clock.now_ns())

    def _do_kill_outside(self, step: dict[str, Any]) -> None:
        self._is_stopped()
        epoch = self.fence.raise_epoch("killed from outside", self.clock.now_ns()).epoch
        lock = ExecutorLock(self.paths.root / "locks", "chaos", self.paths.root)
        kill = OutsideKill(self.paths, self.fence, lock, self._outside_gateway, self.clock)
        self._spawn(kill.run(epoch, flatten=step["flatten"], reason="killed from outside"))

    @contextlib.asynccontextmanager
    async def _outside_gateway(self) -> AsyncIterator[ExchangeGateway]:
        gateway = SimGateway(self.sim, self.clock, lambda: None, self._on_outside_wire)
        await gateway.connect()
        try:
            yield gateway
        finally:
            await gateway.close()

    def _on_outside_wire(self, request: OrderRequest) -> None:
        key = request.client_order_id
        if key in self.sent:
            self.violate("sent-twice", f"{key} went out in life {self.sent[key]} and again from outside")
        self.sent[key] = 0

    # --- steps: time, market, faults --------------------------------------------------------------------------

    def _do_sleep(self, step: dict[str, Any]) -> Awaitable[None]:
        return asyncio.sleep(step["s"])

    def _do_market(self, step: dict[str, Any]) -> None:
        self.sim.move(step["s"])

    def _do_foreign(self, step: dict[str, Any]) -> None:
        last, spec = self.sim.last_price(step["symbol"]), self.sim.spec(step["symbol"])
        lot, tick = Decimal(1).scaleb(-spec.quantity_decimals), Decimal(1).scaleb(-spec.price_decimals)
        params = {
            "symbol": spec.symbol,
            "side": step["side"].upper(),
            "type": "MARKET",
            "quantity": f"{(Decimal(step['value']) / last).quantize(lot):f}",
            "newClientOrderId": f"web_{step['tag']}",
        }
        if step["away_bp"] is not None:
            sign = 1 if step["side"] == "buy" else -1
            price = (last * (1 - sign * Decimal(step["away_bp"]) / 10_000)).quantize(tick)
            params |= {"type": "LIMIT", "timeInForce": "GTC", "price": f"{price:f}"}
        with contextlib.suppress(Rejection):
            self.sim.api.place_order(params)

    def _do_foreign_cancel(self, step: dict[str, Any]) -> None:
        """Somebody cancels one of the account's orders on the venue's own page."""
        self.watch.disturbed = True
        orders = self.sim.open_now()
        if len(orders) > step["nth"]:
            self.sim.exchange.cancel(orders[-1 - step["nth"]], self.sim.server_ms())

    def _do_fault(self, step: dict[str, Any]) -> None:
        fault = Fault(step["kind"], step.get("s", 0.3), step.get("at", 1.0))
        lane = "frame" if step["lane"] == "stream" and step["kind"] == "delay" else step["lane"]
        self.plan.arm(lane, fault, step["n"])

    def _do_lag(self, step: dict[str, Any]) -> None:
        for lane in step["lanes"]:
            self.plan.lag(lane, step["s"], step["for"])

    def _do_cut(self, step: dict[str, Any]) -> None:
        self.sim.cut(step["s"])

    def _do_mute(self, step: dict[str, Any]) -> None:
        self.sim.mute(step["s"])

    def _do_outage(self, step: dict[str, Any]) -> None:
        self.sim.outage(step["s"])

    def _do_skew(self, step: dict[str, Any]) -> None:
        self.clock.skew_ns = int(step["s"] * NS_PER_S)

    def _do_disk(self, step: dict[str, Any]) -> None:
        self.life.disk_faults = step["n"]

    # --- steps: death -----------------------------------------------------------------------------------------

    def _do_crash(self, step: dict[str, Any]) -> None:
        self._down_s = step["down"]
        if not self.life.ended:
            self.life.die()

    def _do_crash_at(self, step: dict[str, Any]) -> None:
        self._down_s = step["down"]
        self.life.die_at[step["point"]] = step["n"]

    async def _do_stop(self, step: dict[str, Any]) -> None:
        self.wanted = False
        life = self.life
        if life.alive and life.started and not life.ended:
            await life.leave()
            self._forget_commands()

    def _do_start(self, step: dict[str, Any]) -> None:
        self.wanted = True
        self.spawn_life()


def play(schedule: Schedule, folder: Path, template: Path) -> Outcome:
    """Run a schedule in a folder of its own.

    Args:
        folder: must not exist; removed afterwards.
        template: a migrated data folder.
    """
    shutil.copytree(template, folder)
    loop = VirtualLoop()
    world = World(loop, folder, schedule)
    try:
        return loop.run_until_complete(world.run())
    except (Deadlock, Spinning) as exc:
        world.violate("stuck", str(exc))
        return world.outcome
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        shutil.rmtree(folder)
