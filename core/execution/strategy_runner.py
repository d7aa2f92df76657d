"""Running strategies: one candle feed per market and bar length, decisions in order. Runs on the executor's event loop.

A strategy that fails is stopped alone and its working orders are cancelled, with its traceback in the log; the others
and the order path go on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Protocol

from core.clock import Clock, to_datetime
from core.domain.candles import Candle, Timeframe
from core.domain.orders import Intent, IntentSource, Order
from core.domain.positions import Position
from core.errors import UserError
from core.events import (
    EventSink,
    ExecutorEvent,
    ForecastMade,
    Notice,
    Severity,
    SignalEmitted,
    StrategyState,
    StrategyStatus,
)
from core.execution.api.gateway import ExchangeGateway, GatewayError
from core.execution.backoff import Backoff
from core.execution.journal import Journal
from core.execution.marks import Marks
from core.execution.order_manager import SHOWN_AFTER_S
from core.execution.position_tracker import net_pnl
from core.execution.records import StrategyRecord
from core.strategies.bar_strategy import BarStrategy
from core.strategies.making import ModelLoaders, make_strategy
from core.strategies.own_account import equity_of
from core.strategies.spec import StrategySpec

HISTORY_PAGE = 1_000
LATE_BARS = 2  # a decision is not traded any more when this many later bars have closed
FEED_BACKOFF_S = 1.0
FEED_BACKOFF_MAX_S = 30.0

_log = logging.getLogger(__name__)

BarHook = Callable[[Candle], Awaitable[None]]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
FeedKey = tuple[str, Timeframe]


class OrderPath(Protocol):
    """What a strategy may ask of the executor."""

    async def submit(self, intent: Intent) -> Order:
        """Send an intent through risk and wait until its order rests or is over and booked."""
        ...

    async def cancel_owned(self, owner: str) -> None:
        """Cancel the owner's working orders."""
        ...

    def position(self, symbol: str, owner: str) -> Position:
        """Return the owner's position."""
        ...


@dataclass(slots=True)
class _Entry:
    """A registered strategy; `strategy` is there while it warms up or runs."""

    record: StrategyRecord
    state: StrategyState = StrategyState.STOPPED
    detail: str = ""
    strategy: BarStrategy | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while another model is made ready

    @property
    def feed(self) -> FeedKey:
        """The candle feed it lives on."""
        return self.record.spec.symbol, Timeframe(self.record.spec.timeframe)


class _Once:
    """Tells an event when it is called for the first time."""

    def __init__(self, sink: EventSink, event: ExecutorEvent) -> None:
        self._sink = sink
        self._event: ExecutorEvent | None = event

    def __call__(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            self._sink(event)


class StrategyRunner:
    """Registered strategies and the feeds of the running ones.

    Attributes:
        release: told ids of strategies that a person, STOP or a limit has stopped: nothing else may start them again.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        journal: Journal,
        path: OrderPath,
        loaders: ModelLoaders,
        marks: Marks,
        sink: EventSink,
        *,
        market: Clock,
        wall: Clock,
        spawn: Spawn,
        bar_processed: BarHook | None,
        jitter: random.Random,
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._path = path
        self._loaders = loaders
        self._marks = marks
        self._sink = sink
        self._market = market
        self._wall = wall
        self._spawn = spawn
        self._bar_processed = bar_processed
        self.release: Callable[[Iterable[str]], None] = lambda strategy_ids: None
        self._entries: dict[str, _Entry] = {}
        self._deciding: dict[str, tuple[_Entry, BarStrategy]] = {}  # who decided an intent that is on its way
        self._jitter = jitter
        self._feeds: dict[FeedKey, asyncio.Task[None]] = {}
        self._heard: dict[FeedKey, asyncio.Event] = {}
        # Held while the orders of a failed strategy are cancelled; waiters come in order, so `settle` comes last.
        self._cancelling = asyncio.Lock()

    # --- commands ---------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read registered strategies from the journal and announce them, stopped."""
        self._entries = {record.spec.strategy_id: _Entry(record) for record in self._journal.strategies()}
        for entry in self._entries.values():
            self._announce(entry)

    @property
    def specs(self) -> tuple[StrategySpec, ...]:
        """All registered strategies."""
        return tuple(entry.record.spec for entry in self._entries.values())

    @property
    def wanted(self) -> set[str]:
        """Strategies that run, or that `resume` starts again."""
        return {strategy_id for strategy_id, entry in self._entries.items() if entry.record.running}

    @property
    def symbols(self) -> set[str]:
        """Markets of all registered strategies."""
        return {entry.record.spec.symbol for entry in self._entries.values()}

    async def resume(self) -> None:
        """Start what was running when the program ended; what a command has started, or tried to, is left alone."""
        for strategy_id, entry in list(self._entries.items()):
            if entry.record.running and entry.state is StrategyState.STOPPED:
                await self.start(strategy_id)

    def hold(self) -> None:
        """Let what was running when the program ended wait until a person starts it.

        As in `resume`, what a command has started already is left alone.
        """
        held = [e for e in self._entries.values() if e.record.running and e.state is StrategyState.STOPPED]
        for entry in held:
            self._save(entry, replace(entry.record, running=False))
            self._change(entry, StrategyState.PAUSED, "was running when the program ended")
        if held:
            titles = ", ".join(entry.record.spec.title for entry in held)
            self._sink(Notice(Severity.WARNING, "Strategies wait to be started", f"They were running: {titles}."))

    def add(self, spec: StrategySpec) -> None:
        """Register a strategy, stopped.

        Raises:
            UserError: its id is taken, or the venue has no such market or bar length.
        """
        if spec.strategy_id in self._entries:
            raise UserError(f"A strategy named {spec.strategy_id} exists already.", "Choose another name.")
        if spec.symbol not in self._gateway.instruments:
            raise UserError(f"{spec.symbol} is not traded at {self._gateway.venue}.", "Choose another market.")
        if spec.timeframe not in set(Timeframe):
            raise UserError(f"{spec.timeframe} is no known bar length.", f"Use one of {', '.join(Timeframe)}.")
        entry = _Entry(StrategyRecord(spec))
        self._journal.save_strategy(entry.record)
        self._entries[spec.strategy_id] = entry
        self._announce(entry)

    async def remove(self, strategy_id: str) -> None:
        """Stop and forget a strategy; its books stay."""
        await self.stop(strategy_id)
        self._journal.delete_strategy(strategy_id)
        self._entries.pop(strategy_id, None)

    async def start(self, strategy_id: str) -> None:
        """Load the model, warm it up with history and follow the market. What fails is told by the status."""
        entry = self._entry(strategy_id)
        if entry.state in (StrategyState.RUNNING, StrategyState.WARMING_UP):
            return
        self._save(entry, replace(entry.record, running=True))
        self._change(entry, StrategyState.WARMING_UP)
        strategy: BarStrategy | None = None
        try:
            record = entry.record
            strategy = entry.strategy = make_strategy(
                record.spec,
                self._loaders,
                self._gateway.instruments[record.spec.symbol],
                last_bar_ns=record.last_bar_ns,
                last_target=record.last_target,
                account=record.account,
            )
            strategy.warm_up(await self._history(strategy, record.spec, self._market.now_ns()))
        except (UserError, GatewayError) as exc:
            await self._fail(entry, strategy, exc.message)
            return
        except Exception as exc:  # noqa: BLE001 - a model's bug must not take the order path down; it is logged
            _log.exception("strategy %s failed to start", strategy_id)
            await self._fail(entry, strategy, f"{type(exc).__name__}: {exc}")
            return
        if entry.strategy is not strategy:
            return  # stopped meanwhile
        self._tell_forecast(strategy)
        self._tell_warmth(entry, strategy)
        self._follow(entry.feed)

    async def change_model(self, strategy_id: str, model_id: str) -> None:
        """Let another model decide; where the strategy runs, from the next bar on and without missing one.

        Raises:
            UserError: no such strategy or model, one of another market, too few bars, or the strategy was stopped
                meanwhile; the former model goes on.
            GatewayError: the venue cannot be asked for history; the former model goes on.
        """
        entry = self._entry(strategy_id)
        async with entry.changing:  # one change after the other: each has its own model standing by
            await self._change_model(entry, model_id)

    async def _change_model(self, entry: _Entry, model_id: str) -> None:
        spec, strategy = replace(entry.record.spec, model_id=model_id), entry.strategy
        # It refuses what does not fit.
        candidate = await asyncio.to_thread(make_strategy, spec, self._loaders, self._gateway.instruments[spec.symbol])
        if strategy is None:
            self._require_same(entry, None)
            self._save(entry, replace(entry.record, spec=spec))
            self._announce(entry)
            return
        history = await self._history(candidate, spec, self._market.now_ns())
        await asyncio.to_thread(strategy.model.prepare, model_id, history)
        try:
            self._require_same(entry, strategy)
            if strategy.model.ready != model_id:
                raise UserError(f"Model {model_id} could not keep up with the market.", "Look at the log.")
            # In the books first: a restart in between begins with the new model.
            self._save(entry, replace(entry.record, spec=spec))
        except UserError:
            strategy.model.give_up()
            raise
        strategy.change_model(spec)
        self._announce(entry)
        self._tell_forecast(strategy)

    def _require_same(self, entry: _Entry, strategy: BarStrategy | None) -> None:
        """Raise `UserError` where a strategy was started, stopped or removed while its new model was made ready."""
        spec = entry.record.spec
        if entry.strategy is not strategy or self._entries.get(spec.strategy_id) is not entry:
            raise UserError(f"The strategy {spec.title} was started, stopped or removed meanwhile.", "Try again.")

    async def stop(self, strategy_id: str) -> None:
        """Stop deciding and cancel working orders; the position stays.

        Raises:
            UserError: there is no such strategy; or the journal cannot be written: it is stopped, its orders are
                cancelled, and it may start again with the program.
        """
        entry = self._entry(strategy_id)
        entry.strategy = None  # before anything that may fail
        self._change(entry, StrategyState.STOPPED)
        self._drop_idle_feeds()
        try:
            self._save(entry, replace(entry.record, running=False))
            self.release([strategy_id])
        finally:
            await self._path.cancel_owned(strategy_id)

    async def wait_until_following(self, strategy_id: str) -> None:
        """Wait until the strategy's market has been heard of by stream: from then on no bar is missed.

        Raises:
            UserError: the strategy failed or was stopped, before or meanwhile.
        """
        entry = self._entry(strategy_id)
        if entry.strategy is not None:
            await self._heard.setdefault(entry.feed, asyncio.Event()).wait()
        if entry.strategy is None:
            title, detail = entry.record.spec.title, entry.detail.rstrip(".")
            trouble = (
                f"The strategy {title} does not run: {detail}." if detail else f"The strategy {title} does not run."
            )
            raise UserError(trouble, "Look at the log.")

    def denies(self, intent: Intent) -> str:
        """Return why a strategy's order must not go out any more, or "": it may have waited for a price."""
        if intent.source is not IntentSource.STRATEGY:
            return ""
        entry = self._entries.get(intent.owner)
        if intent.intent_id in self._deciding:  # the very one that decided: it may be removed, or started anew
            before, strategy = self._deciding[intent.intent_id]
            works = entry is before and before.strategy is strategy
        else:
            works = entry is None or entry.strategy is not None
        return "" if works else "its strategy was stopped"

    def own_equity(self, intent: Intent) -> Decimal | None:
        """Return what the account is worth that an agent's intent trades, quote currency; None of other intents."""
        entry = self._entries.get(intent.owner)
        if intent.source is not IntentSource.STRATEGY or entry is None or entry.record.account is None:
            return None
        mark = self._marks.price(intent.symbol)
        earned = net_pnl(self._path.position(intent.symbol, intent.owner), mark)
        return equity_of(entry.record.spec.capital, earned, entry.record.account)

    def pause_all(self, reason: str) -> None:
        """Stop every running strategy at once, without touching orders (the kill switch cancels those itself)."""
        for entry in self._entries.values():
            if entry.state in (StrategyState.RUNNING, StrategyState.WARMING_UP):
                entry.strategy = None
                self._change(entry, StrategyState.PAUSED, reason)
        self._drop_idle_feeds()

    def pause_market(self, symbol: str, reason: str) -> tuple[str, ...]:
        """Stop the strategies of one market at once, without touching orders; none starts by itself again.

        Returns:
            Ids of those that ran, or were to run again.
        """
        paused = []
        for strategy_id, entry in self._entries.items():
            if entry.record.spec.symbol != symbol or not entry.record.running:
                continue
            self._save(entry, replace(entry.record, running=False))
            entry.strategy = None
            self._change(entry, StrategyState.PAUSED, reason)
            paused.append(strategy_id)
        self._drop_idle_feeds()
        return tuple(paused)

    def forget_running(self) -> None:
        """Journal that no strategy is to be started again by itself, neither a paused one nor one that failed."""
        try:
            for entry in self._entries.values():
                if entry.record.running:
                    self._save(entry, replace(entry.record, running=False))
        finally:
            self.release(self._entries)

    async def settle(self) -> None:
        """Wait until the cancels of strategies that failed have been sent and answered."""
        async with self._cancelling:
            pass

    def refresh(self, symbol: str) -> None:
        """Announce the strategies of one market again, with profit at the newest price."""
        for entry in self._entries.values():
            if entry.record.spec.symbol == symbol:
                self._announce(entry)

    # --- feeds ------------------------------------------------------------------------------------------------

    def _follow(self, key: FeedKey) -> None:
        if key not in self._feeds:
            self._feeds[key] = self._spawn(self._feed(*key))

    def _drop_idle_feeds(self) -> None:
        needed = {entry.feed for entry in self._entries.values() if entry.strategy is not None}
        for key in [key for key in self._feeds if key not in needed]:
            task = self._feeds.pop(key)
            if task is not asyncio.current_task():
                task.cancel()
        for key in [key for key in self._heard if key not in needed]:
            self._heard.pop(key).set()  # nobody waits for a market that is not followed any more

    async def _feed(self, symbol: str, timeframe: Timeframe) -> None:
        """Follow one market until no strategy needs it; a broken stream is opened again."""
        key = (symbol, timeframe)
        backoff = Backoff(self._jitter, first_s=FEED_BACKOFF_S, most_s=FEED_BACKOFF_MAX_S)
        heard = self._heard.setdefault(key, asyncio.Event())
        last_final: int | None = None
        while self._is_mine(key):
            try:
                async for candle in self._gateway.watch_candles(symbol, timeframe):
                    backoff.reset()
                    heard.set()
                    self._marks.update(symbol, candle.close)
                    if candle.final and (last_final is None or candle.open_time_ns > last_final):
                        last_final = candle.open_time_ns
                        await self._on_final(key, candle)
                    if not self._is_mine(key):
                        return
            except GatewayError as exc:
                _log.warning("candles of %s %s stopped: %s", symbol, timeframe, exc.message)
            await asyncio.sleep(backoff.next_s())

    def _is_mine(self, key: FeedKey) -> bool:
        return self._feeds.get(key) is asyncio.current_task()

    async def _on_final(self, key: FeedKey, candle: Candle) -> None:
        for entry in list(self._entries.values()):
            if entry.feed == key and entry.strategy is not None:
                await self._decide(entry, entry.strategy, candle)
        if self._bar_processed is not None:
            await self._bar_processed(candle)

    async def _decide(self, entry: _Entry, strategy: BarStrategy, candle: Candle) -> None:
        spec = entry.record.spec
        if not strategy.is_news(candle):
            return
        try:
            history: list[Candle] | None = None
            while not strategy.follows(candle):
                needed = strategy.warm_up_bars
                history = await self._history(strategy, spec, candle.open_time_ns)
                if entry.strategy is not strategy:
                    return  # stopped while the history was read
                if strategy.warm_up_bars <= needed:
                    break  # else another model took over meanwhile, for which this is too short
            position = self._path.position(spec.symbol, spec.strategy_id)
            decision = strategy.on_bar(candle, position, self._wall.now_ns(), history)
            self._tell_forecast(strategy)
            self._tell_warmth(entry, strategy)
            if decision is None:
                return
            # Before the order: a crash between the two loses a decision, it never makes it twice.
            target = decision.signal.target_weight
            last = candle.open_time_ns
            self._save(entry, replace(entry.record, last_bar_ns=last, last_target=target, account=decision.account))
            show = _Once(self._sink, SignalEmitted(decision.signal))
            asyncio.get_running_loop().call_later(SHOWN_AFTER_S, show)  # the order comes first
            if decision.intent is not None and self._is_too_late(candle):
                # After a pause of the machine every missed bar arrives at once: orders of hours ago must not go out.
                opened = to_datetime(candle.open_time_ns)
                _log.warning("%s: no order for the bar of %s, it is too old", spec.title, opened)
            elif decision.intent is not None:
                await self._submit(entry, strategy, decision.intent)
            show()
            self._announce(entry)
        except (UserError, GatewayError) as exc:
            await self._fail(entry, strategy, exc.message)
        except Exception as exc:  # noqa: BLE001 - one strategy's bug must not stop the others; it is logged
            _log.exception("strategy %s failed", spec.strategy_id)
            await self._fail(entry, strategy, f"{type(exc).__name__}: {exc}")

    def _tell_warmth(self, entry: _Entry, strategy: BarStrategy) -> None:
        """Say whether the model forecasts or needs more bars: after a gap it may warm up again."""
        if strategy.is_warm:
            if entry.state is not StrategyState.RUNNING:
                self._change(entry, StrategyState.RUNNING)
        elif entry.state is not StrategyState.WARMING_UP or not entry.detail:
            needed = strategy.warm_up_bars
            self._change(entry, StrategyState.WARMING_UP, f"the model needs {needed} closed bars without a gap")

    def _tell_forecast(self, strategy: BarStrategy) -> None:
        """Let a person see what the model forecasts, after the order that the bar brings.

        Asked for here rather than told by the model: what a strategy can reach must not lead to whoever listens.
        """
        if strategy.newest is not None:
            candle, forecast = strategy.newest
            event = ForecastMade(forecast, candle.timeframe.value, candle.close)
            asyncio.get_running_loop().call_later(SHOWN_AFTER_S, self._sink, event)

    async def _submit(self, entry: _Entry, strategy: BarStrategy, intent: Intent) -> None:
        self._deciding[intent.intent_id] = entry, strategy
        try:
            await self._path.submit(intent)
        finally:
            del self._deciding[intent.intent_id]

    def _is_too_late(self, candle: Candle) -> bool:
        return self._market.now_ns() >= candle.close_time_ns + LATE_BARS * candle.timeframe.ns

    async def _history(self, strategy: BarStrategy, spec: StrategySpec, end_ns: int) -> list[Candle]:
        # A few more than needed: venues skip bars without trades.
        bars = strategy.warm_up_bars + 10
        return await fetch_history(self._gateway, spec.symbol, Timeframe(spec.timeframe), bars, end_ns)

    # --- status -----------------------------------------------------------------------------------------------

    def _entry(self, strategy_id: str) -> _Entry:
        try:
            return self._entries[strategy_id]
        except KeyError:
            raise UserError(f"There is no strategy named {strategy_id}.", "Look at the strategy manager.") from None

    def _save(self, entry: _Entry, record: StrategyRecord) -> None:
        self._journal.save_strategy(record)
        entry.record = record

    async def _fail(self, entry: _Entry, strategy: BarStrategy | None, detail: str) -> None:
        """Say that a strategy failed and cancel what nobody watches over any more; its position stays.

        It stays wanted: the next start tries again, for what failed may be a connection.

        Args:
            strategy: the one that failed; None where it could not even be made.

        Raises:
            UserError: the journal cannot be written; without books there is no trading.
        """
        if entry.strategy is not strategy:
            return  # stopped meanwhile
        entry.strategy = None
        spec = entry.record.spec
        _log.info("strategy %s failed: %s", spec.strategy_id, detail)
        self._drop_idle_feeds()
        self._change(entry, StrategyState.FAILED, detail)  # whoever listens makes this an error for a person
        async with self._cancelling:
            await self._path.cancel_owned(spec.strategy_id)

    def _change(self, entry: _Entry, state: StrategyState, detail: str = "") -> None:
        entry.state, entry.detail = state, detail
        self._announce(entry)

    def _announce(self, entry: _Entry) -> None:
        spec = entry.record.spec
        if self._entries.get(spec.strategy_id) is not entry:
            return  # removed meanwhile: it must not be shown again
        position = self._path.position(spec.symbol, spec.strategy_id)
        pnl: Decimal = net_pnl(position, self._marks.price(spec.symbol))
        self._sink(
            StrategyStatus(
                strategy_id=spec.strategy_id,
                title=spec.title,
                symbol=spec.symbol,
                timeframe=spec.timeframe,
                model_id=spec.model_id,
                state=entry.state,
                detail=entry.detail,
                position=position.quantity,
                pnl=pnl,
                last_signal=entry.record.last_target,
                kind=spec.kind,
            )
        )


async def fetch_history(
    gateway: ExchangeGateway, symbol: str, timeframe: Timeframe, bars: int, end_ns: int
) -> list[Candle]:
    """Return up to `bars` closed candles that open before the bar containing `end_ns`, oldest first, paged.

    Raises:
        GatewayError: the venue cannot be asked.
    """
    end = timeframe.floor(end_ns)
    since = end - bars * timeframe.ns
    candles: dict[int, Candle] = {}
    while since < end:
        page = await gateway.fetch_candles(symbol, timeframe, since_ns=since, limit=HISTORY_PAGE)
        news = [c for c in page if c.open_time_ns not in candles and since <= c.open_time_ns < end]
        if not news:
            break
        candles.update((c.open_time_ns, c) for c in news)
        since = max(candles) + timeframe.ns
    # The clock may lag behind the venue's: a bar before the end counts as closed only if the venue says so.
    return [candles[time] for time in sorted(candles) if candles[time].final]
