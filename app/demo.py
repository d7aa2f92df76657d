"""The demo: prices → model → trading on the practice exchange → report. Qt-free; runs on the main thread.

It uses the parts of the real program, in a data folder of its own inside the output folder.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.runtime import PracticeLink, TradingSession, open_market_link, open_trading_session, prepare_data
from app.tokens import ThemeName, palette
from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import BINANCE, DataOrigin, with_caution
from core.domain.fills import Fill
from core.domain.orders import Order, OrderState
from core.errors import UserError
from core.events import (
    ExecutorEvent,
    FillBooked,
    IntentDenied,
    Notice,
    Severity,
    SignalEmitted,
    StrategyState,
    StrategyStatus,
)
from core.execution.journal import Journal
from core.job_supervisor import JobSupervisor
from core.jobs import JobCancelled, JobFailed, JobFinished, JobProgress
from core.practice.account_audit import VenueOrder, list_orders
from core.reporting.demo_report import (
    Curve,
    DemoReportInput,
    ForecastPairs,
    LossPoint,
    ReportColours,
    VenueComparison,
    write_report,
)
from core.reporting.equity import buy_and_hold_curve, equity_curve
from core.strategies.spec import StrategySpec
from ml.api import (
    TRAIN_FORECAST_JOB,
    DataRange,
    EvaluationSpec,
    ForecastSpec,
    ResourceSpec,
    TrainingProgress,
    TrainingResult,
    TrainingSpec,
    forecast_job,
    minimum_bars,
    new_run_id,
)

if TYPE_CHECKING:
    from core.execution.books import BookCheck
    from core.practice.control import PracticeEndpoints
    from core.practice.process import PracticeProcess

TRADED_BARS = 300  # of a replayed file
MADE_SYMBOL, MADE_TIMEFRAME = "BTC/USDT", Timeframe.M1
MADE_BARS, MADE_SPEED = 20_000, 60
START_CAPITAL = Decimal(10_000)
STRATEGY_CAPITAL = Decimal(5_000)
ENTRY_Z, EXIT_Z = 0.5, 0.0
MARKER = ".maru-demo"
POLL_S = 0.25
STALL_S = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run; see `main.py demo --help`."""

    data: Path | None
    minutes: float
    out: Path
    seed: int
    epochs: int
    pictures: bool


@dataclass(frozen=True, slots=True)
class Market:
    """What is traded: the bars before `trade_from_ns` are learnt from, those after it are traded.

    Attributes:
        origin: of the bars that are learnt from: the made market's own, or real ones where a file is replayed. What
            the exchange shows while it replays is not stored: our orders move it, and it would lie over real bars.
    """

    origin: DataOrigin
    symbol: str
    timeframe: Timeframe
    bars: int
    trade_from_ns: int | None


@dataclass(slots=True)
class Traded:
    """What trading left behind."""

    candles: list[Candle] = field(default_factory=list)
    forecasts: dict[int, float] = field(default_factory=dict)  # bar open time -> expected log return
    orders: list[Order] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    venue_orders: list[VenueOrder] = field(default_factory=list)
    check: BookCheck | None = None

    def unlike(self) -> list[str]:
        """Return one sentence for each order that the journal and the exchange's own list do not agree on."""
        here = {o.client_order_id: o.filled_quantity for o in self.orders if o.state is not OrderState.DENIED}
        there = {o.client_order_id: o.executed_quantity for o in self.venue_orders}
        never_arrived = {o.client_order_id for o in self.orders if o.state in (OrderState.REJECTED, OrderState.EXPIRED)}
        return (
            [f"order {key} is only in the journal" for key in here.keys() - there.keys() - never_arrived]
            + [f"order {key} is only at the exchange" for key in there.keys() - here.keys()]
            + [f"order {key} differs in quantity" for key in here.keys() & there.keys() if here[key] != there[key]]
        )


def run_demo(options: DemoOptions, say: Say) -> dict[str, Any]:
    """Run the demo and return its JSON contract.

    Raises:
        UserError: the file cannot be used, the folder cannot be written or the exchange cannot be started.
    """
    started = time.monotonic()
    paths = _fresh_folder(options.out)
    market, process = _open_market(options, paths, say)
    with _running(process) as endpoints:
        if market is None:
            market = asyncio.run(_fetch(endpoints, paths, say))
        result = _train(options, paths, market, say)
        say(f"Trading {market.symbol} {market.timeframe} with the model …")
        traded = asyncio.run(_Trading(options, paths, market, result, endpoints, say).run())
    report = _report(options, market, result, traded)
    pictures = _pictures(options, say) if options.pictures else []
    check = traded.check
    assert check is not None
    unlike = traded.unlike()
    for difference in (*check.differences, *unlike):
        say(f"Difference: {difference}")
    say(f"Done in {time.monotonic() - started:.0f} s.")
    return {
        "orders": check.orders,
        "fills": check.fills,
        "orders_match": check.orders_match and not unlike,
        "positions_match": check.positions_match,
        "model": result.metrics.to_json(),
        "report": str(report),
        "pictures": pictures,
    }


# --- data and exchange ------------------------------------------------------------------------------------------


def _fresh_folder(out: Path) -> DataPaths:
    """Return an empty data folder inside `out`; only a folder that a demo made is ever emptied."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file and the demo needs a folder.", "Choose a folder with --out.")
    folder = out / "data"
    if folder.exists():
        if not (folder / MARKER).exists():
            raise UserError(
                f"The folder {folder} exists and was not made by the demo.", "Choose another folder with --out."
            )
        shutil.rmtree(folder)
    paths = prepare_data(folder)
    (folder / MARKER).write_text("made by the demo; emptied by the next one\n", encoding="utf-8")
    return paths


def _open_market(options: DemoOptions, paths: DataPaths, say: Say) -> tuple[Market | None, PracticeProcess]:
    """Return the market, None where its history is still to be fetched, and the exchange, not yet started."""
    from core.practice.process import PracticeProcess

    balance = format(START_CAPITAL, "f")
    if options.data is None:
        say(f"Market: made from seed {options.seed}, {MADE_SPEED} market minutes per minute.")
        process = PracticeProcess(data_dir=paths.root, seed=options.seed, speed=str(MADE_SPEED), balance=balance)
        return None, process
    from core.data.importer import import_candles

    say(f"Reading {options.data.name} …")
    frame = import_candles(options.data).frame.finals()
    needed = (
        minimum_bars(_spec(options, Market(BINANCE, frame.symbol, frame.timeframe, len(frame), None))) + TRADED_BARS
    )
    if len(frame) < needed:
        raise UserError(
            f"{options.data.name} holds {len(frame)} bars and the demo needs {needed}.", "Choose a longer file."
        )
    CandleStore(paths.candles).write(BINANCE, frame, "import")
    first = len(frame) - TRADED_BARS
    market = Market(BINANCE, frame.symbol, frame.timeframe, first, int(frame.time_ns[first]))
    say(f"{len(frame):,} bars of {market.symbol} {market.timeframe}: training on {first:,}, trading {TRADED_BARS}.")
    process = PracticeProcess(
        data_dir=paths.root, replay=options.data, speed="max", start_bar=first, balance=balance, seed=options.seed
    )
    return market, process


@contextmanager
def _running(process: PracticeProcess) -> Iterator[PracticeEndpoints]:
    try:
        yield process.start()
    finally:
        process.stop()


async def _fetch(endpoints: PracticeEndpoints, paths: DataPaths, say: Say) -> Market:
    from core.data.collector import FetchProgress, fetch_history

    told = _Milestones(say, "Fetching history")

    def progress(part: FetchProgress) -> None:
        told.report(part.done, part.total, part.eta_s)

    link = await open_market_link(endpoints)
    try:
        end_ns = MADE_TIMEFRAME.floor(link.clock.now_ns())
        start_ns = end_ns - MADE_BARS * MADE_TIMEFRAME.ns
        store = CandleStore(paths.candles)
        await fetch_history(link.gateway, store, link.origin, MADE_SYMBOL, MADE_TIMEFRAME, start_ns, end_ns, progress)
    finally:
        await link.close()
    return Market(link.origin, MADE_SYMBOL, MADE_TIMEFRAME, MADE_BARS, end_ns)


# --- training ---------------------------------------------------------------------------------------------------


def _spec(options: DemoOptions, market: Market) -> ForecastSpec:
    data = DataRange(market.origin, market.symbol, market.timeframe.value, None, market.trade_from_ns)
    training = TrainingSpec(epochs=options.epochs, seed=options.seed)
    # One seed: a demo shows the way from bars to orders, and says so; a verdict takes several.
    evaluation = EvaluationSpec(seeds=1, boosting=False, permutation_repeats=0)
    # Every core: nothing else of the demo needs one meanwhile.
    return ForecastSpec(data=data, training=training, evaluation=evaluation, resources=ResourceSpec())


def _train(options: DemoOptions, paths: DataPaths, market: Market, say: Say) -> TrainingResult:
    run_id = new_run_id()
    job = forecast_job(
        _spec(options, market),
        run_id=run_id,
        candles_dir=paths.candles,
        models_dir=paths.models,
        runs_dir=paths.runs,
    )
    say(f"Training an LSTM on {market.bars:,} bars in a child process …")
    last_epoch = 0
    with JobSupervisor() as supervisor:
        supervisor.start(run_id, TRAIN_FORECAST_JOB, job)
        while True:
            for event in supervisor.poll(POLL_S):
                match event:
                    case JobProgress(payload=payload):
                        progress = TrainingProgress.from_json(payload)
                        if progress.epoch > last_epoch:
                            last_epoch = progress.epoch
                            say(_epoch_line(progress))
                    case JobFinished(result=result):
                        trained = TrainingResult.from_json(result)
                        say(f"Model {trained.model_id[:12]}: {with_caution(trained.metrics.verdict, market.origin)}")
                        return trained
                    case JobFailed(message=message, remedy=remedy, user_error=True):
                        raise UserError(message, remedy)
                    case JobFailed(message=message, details=details):
                        raise RuntimeError(f"training failed: {message}\n{details}")
                    case JobCancelled():
                        raise KeyboardInterrupt


def _epoch_line(progress: TrainingProgress) -> str:
    eta = "" if progress.eta_s is None else f", {progress.eta_s:.0f} s left"
    return (
        f"  epoch {progress.epoch}/{progress.epochs}: train {progress.train_loss:.4f}, "
        f"validation {progress.valid_loss:.4f} on {progress.device}{eta}"
    )


# --- trading ----------------------------------------------------------------------------------------------------


class _Trading:
    """Runs the executor on the practice exchange for the time or the bars there are."""

    def __init__(
        self,
        options: DemoOptions,
        paths: DataPaths,
        market: Market,
        model: TrainingResult,
        endpoints: PracticeEndpoints,
        say: Say,
    ) -> None:
        self._options, self._paths, self._market = options, paths, market
        self._model, self._endpoints, self._say = model, endpoints, say
        self._traded = Traded()
        self._milestones = _Milestones(say, "Trading")
        self._last_bar = time.monotonic()

    async def run(self) -> Traded:
        """Trade and compare the books with the exchange."""
        session = await open_trading_session(self._paths, self._endpoints, self._on_event, bar_processed=self._bar_hook)
        executor = session.executor
        await executor.start()
        running = asyncio.create_task(executor.run())
        try:
            strategy_id = f"model-{self._model.model_id[:12]}"
            await executor.add_strategy(
                StrategySpec(
                    strategy_id,
                    "Demo",
                    self._market.symbol,
                    self._market.timeframe.value,
                    self._model.model_id,
                    STRATEGY_CAPITAL,
                    ENTRY_Z,
                    EXIT_Z,
                )
            )
            await executor.start_strategy(strategy_id)
            # A bar that closes before its stream is heard of would be lost, and in lockstep nothing would follow it.
            await executor.wait_until_following(strategy_id)
            await session.link.begin_lockstep(self._market.symbol)
            await self._until_done(session, running)
            await executor.stop_strategy(strategy_id)
            self._traded.check, _ = await executor.audit()
            instrument = session.link.gateway.instruments[self._market.symbol]
            self._traded.venue_orders = await asyncio.to_thread(list_orders, self._endpoints, instrument.venue_symbol)
        finally:
            await session.close()
            await asyncio.gather(running, return_exceptions=True)
        journal = Journal(self._paths.journal_db)
        try:
            self._traded.orders = [record.order for record in journal.orders()]
            self._traded.fills = journal.fills()
        finally:
            journal.close()
        return self._traded

    async def _until_done(self, session: TradingSession, running: asyncio.Task[None]) -> None:
        """Wait for the end of the data or of the time.

        Raises:
            UserError: nothing moved for a minute.
        """
        deadline = time.monotonic() + self._options.minutes * 60
        while True:
            if running.done():
                await running
                return
            if self._options.data is None:
                left = deadline - time.monotonic()
                done = self._options.minutes * 60 - left
                self._milestones.report(min(done, self._options.minutes * 60), self._options.minutes * 60, left)
                if left <= 0:
                    return
            elif (await session.link.control.state()).finished:
                return
            if time.monotonic() - self._last_bar > STALL_S + Timeframe(self._market.timeframe).seconds / MADE_SPEED:
                raise UserError("No bar has closed for a minute.", "Look into the log in the demo's data folder.")
            await asyncio.sleep(POLL_S)

    def _bar_hook(self, link: PracticeLink) -> Callable[[Candle], Any]:
        async def processed(candle: Candle) -> None:
            self._traded.candles.append(candle)
            self._last_bar = time.monotonic()
            if self._options.data is not None:
                self._milestones.report(len(self._traded.candles), TRADED_BARS, None)
                await link.acknowledge(candle)

        return processed

    def _on_event(self, event: ExecutorEvent) -> None:
        match event:
            case SignalEmitted(signal=signal) if signal.forecast is not None:
                self._traded.forecasts[signal.bar_open_ns] = signal.forecast
            case FillBooked(fill=fill):
                self._say(f"  {fill.side} {fill.quantity.normalize():f} {fill.symbol} at {fill.price.normalize():f}")
            case IntentDenied(message=message, code=code):
                self._say(f"  denied ({code}): {message}")
            case StrategyStatus(state=StrategyState.FAILED, title=title, detail=detail):
                self._say(f"  strategy {title} failed: {detail}")
            case Notice(severity=severity, title=title, text=text) if severity in (Severity.WARNING, Severity.ERROR):
                self._say(f"  {title}: {text}")
            case _:
                pass


class _Milestones:
    """Says how far something is, at most once per tenth."""

    def __init__(self, say: Say, what: str) -> None:
        self._say, self._what, self._tenth = say, what, 0
        self._started = time.monotonic()

    def report(self, done: float, total: float, eta_s: float | None) -> None:
        """Take progress; `eta_s` None estimates from the pace so far."""
        tenth = int(10 * done / total) if total else 10
        if tenth <= self._tenth:
            return
        self._tenth = tenth
        left = (time.monotonic() - self._started) / done * (total - done) if eta_s is None and done else eta_s or 0.0
        self._say(f"  {self._what}: {10 * tenth} %, {max(0.0, left):.0f} s left")


# --- report -----------------------------------------------------------------------------------------------------


def _report(options: DemoOptions, market: Market, result: TrainingResult, traded: Traded) -> Path:
    check = traded.check
    assert check is not None
    frame = CandleFrame.from_candles(traded.candles, market.symbol, market.timeframe)
    base, _, quote = market.symbol.partition("/")
    close_ns = frame.time_ns + market.timeframe.ns
    capital = float(START_CAPITAL)
    # Fills carry the venue's wall time; the market's time of a fill is the bar its order was decided on.
    fills = _in_market_time(traded, market)
    equity = equity_curve(close_ns, frame.close, fills, capital, base, quote)
    hold = buy_and_hold_curve(frame.open, frame.close, capital, 0.001)
    source = "made market" if options.data is None else options.data.name
    data = DemoReportInput(
        title=f"Maru demo: {market.symbol} {market.timeframe}",
        created_ns=time.time_ns(),
        quote=quote,
        settings={
            "market": f"{market.symbol} {market.timeframe}",
            "source": source,
            "training bars": market.bars,
            "traded bars": len(frame),
            "seed": options.seed,
            "model": result.model_id,
            "strategy capital": f"{STRATEGY_CAPITAL} {quote}",
            "entry / exit (z)": f"{ENTRY_Z} / {EXIT_Z}",
        },
        model=result.metrics.to_json() | {"verdict": with_caution(result.metrics.verdict, market.origin)},
        loss=[LossPoint(row.epoch, row.train_loss, row.valid_loss) for row in result.history],
        candles=frame,
        orders=traded.orders,
        fills=fills,
        equity=Curve(close_ns, equity),
        buy_and_hold=Curve(close_ns, hold),
        comparison=VenueComparison(
            orders_match=check.orders_match and not traded.unlike(),
            positions_match=check.positions_match,
            journal_orders=check.orders,
            venue_orders=len(traded.venue_orders),
            differences=(*check.differences, *traded.unlike()),
        ),
        dark=_colours(ThemeName.DARK),
        light=_colours(ThemeName.LIGHT),
        forecasts=_pairs(traded, frame),
    )
    return write_report(data, options.out).html


def _in_market_time(traded: Traded, market: Market) -> list[Fill]:
    decided = {order.client_order_id: order.intent.evidence.bar_open_ns for order in traded.orders}
    moved = []
    for fill in traded.fills:
        bar_open_ns = decided.get(fill.client_order_id)
        # Just inside the bar after the one decided on: a fill at its opening belongs to that bar, not to the close.
        time_ns = fill.time_ns if bar_open_ns is None else bar_open_ns + market.timeframe.ns + 1
        moved.append(dataclasses.replace(fill, time_ns=time_ns))
    return moved


def _pairs(traded: Traded, frame: CandleFrame) -> ForecastPairs:
    forecasts, outcomes = [], []
    for row in range(len(frame) - 1):
        expected = traded.forecasts.get(int(frame.time_ns[row]))
        if expected is not None and frame.time_ns[row + 1] == frame.time_ns[row] + frame.timeframe.ns:
            forecasts.append(expected)
            outcomes.append(math.log(frame.close[row + 1] / frame.close[row]))
    return ForecastPairs(np.array(forecasts, np.float64), np.array(outcomes, np.float64))


def _colours(theme: ThemeName) -> ReportColours:
    tokens = palette(theme)
    return ReportColours(**{f.name: getattr(tokens, f.name) for f in dataclasses.fields(ReportColours)})


def _pictures(options: DemoOptions, say: Say) -> list[str]:
    """Draw the main window and the wizard in a child process, which may import Qt."""
    say("Drawing the window and the wizard …")
    main = Path(__file__).resolve().parent.parent / "main.py"
    command = [sys.executable, str(main), "screenshots", "--out", str(options.out / "pictures"), "--json"]
    done = subprocess.run(
        [*command, "--only", "main_window", "--only", "training_wizard"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        say(f"The pictures could not be drawn: {done.stderr.strip().splitlines()[-1] if done.stderr else 'no reason'}")
        return []
    return [picture["path"] for picture in json.loads(done.stdout.splitlines()[-1])["pictures"]]
