"""`main.py trade`: the executor of the window, without a window. Qt-free; one event loop on the main thread."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from core.clock import NS_PER_MS
from core.domain.money import ZERO, parse_decimal, plain
from core.errors import UserError
from core.events import ExecutorEvent, FillBooked, IntentDenied, Notice, OrderUpdated, SignalEmitted, StrategyStatus
from core.strategies.spec import StrategySpec

if TYPE_CHECKING:
    from app.runtime import BarHook, PracticeLink, TradingSession
    from core.config import DataPaths
    from core.domain.candles import Candle
    from core.execution.books import BookCheck
    from core.practice.control import PracticeEndpoints

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class ExchangeChoice:
    """Which practice exchange to trade on: one named by a file, or one of our own."""

    endpoints: Path | None
    seed: int | None
    speed: str | None
    replay: Path | None
    timeframe: str

    @property
    def lockstep(self) -> bool:
        """Whether our own exchange waits for each bar to be handled."""
        return self.speed == "max"


@app.command()
@command
def trade(
    practice: Annotated[bool, typer.Option("--practice", help="Start a practice exchange for this run.")] = False,
    endpoints: Annotated[
        Path | None, typer.Option(help="JSON file with the addresses of a running practice exchange.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to trade with; none only keeps the books.")] = None,
    symbol: Annotated[str, typer.Option(help="Market.")] = "BTC/USDT",
    timeframe: Annotated[str, typer.Option(help="Bar length.")] = "1h",
    capital: Annotated[str, typer.Option(help="Quote currency the strategy may commit.")] = "1000",
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Wall minutes; until interrupted by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of our own exchange's market.")] = None,
    speed: Annotated[
        str | None, typer.Option(help="Market seconds per wall second of our own exchange, or max.")
    ] = None,
    replay: Annotated[Path | None, typer.Option(help="Stored bars our own exchange replays.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trade headless on the practice exchange and compare the books with it at the end."""
    from app.runtime import prepare_data
    from core.logger import LogSetup

    if practice == (endpoints is not None):
        raise UserError("Where to trade is not clear.", "Give either --practice or --endpoints FILE.")
    choice = ExchangeChoice(endpoints, seed, speed, replay, timeframe)
    spec = _spec(model, symbol, timeframe, capital)
    paths = prepare_data(data_dir)
    if spec is not None:
        _check_model(paths, spec)
    logs = LogSetup(paths.logs)
    try:
        result = asyncio.run(_trade(paths, choice, spec, minutes, logs))
    finally:
        logs.close()
    emit(result, as_json=as_json, text=_text(result))
    if not (result["orders_match"] and result["positions_match"]):
        raise CommandFailed


def _spec(model: str | None, symbol: str, timeframe: str, capital: str) -> StrategySpec | None:
    if model is None:
        return None
    try:
        amount = parse_decimal(capital)
        return StrategySpec(f"model-{model[:12]}", f"Model {model[:12]}", symbol, timeframe, model, amount)
    except ValueError as exc:
        raise UserError(f"The capital {capital!r} is not an amount of money.", "Give a number such as 1000.") from exc


def _check_model(paths: DataPaths, spec: StrategySpec) -> None:
    """Refuse a model that cannot trade here before an exchange is started for it.

    Raises:
        UserError: there is no such model, it is damaged, or it was trained on something else.
    """
    from ml.model_storage import load_model

    data = load_model(paths.models, spec.model_id).spec.data
    if (data.symbol, data.timeframe) != (spec.symbol, spec.timeframe):
        raise UserError(
            f"The model was trained on {data.symbol} {data.timeframe}, not on {spec.symbol} {spec.timeframe}.",
            "Name its market with --symbol and --timeframe.",
        )


async def _trade(
    paths: DataPaths, choice: ExchangeChoice, spec: StrategySpec | None, minutes: float | None, logs: Any
) -> dict[str, Any]:
    from app.runtime import open_trading_session

    async with _exchange(paths, choice) as endpoints:
        logs.redactor.add(endpoints.token, endpoints.api_key, endpoints.api_secret)
        hook = _acknowledge if choice.lockstep else None
        session = await open_trading_session(paths, endpoints, _Teller(), bar_processed=hook)
        try:
            return await _run(session, spec, minutes, lockstep=choice.lockstep)
        finally:
            await session.close()


@asynccontextmanager
async def _exchange(paths: DataPaths, choice: ExchangeChoice) -> AsyncIterator[PracticeEndpoints]:
    from core.practice.endpoints_file import read_endpoints
    from core.practice.process import PracticeProcess

    if choice.endpoints is not None:
        yield read_endpoints(choice.endpoints)
        return
    process = PracticeProcess(
        data_dir=paths.root,
        seed=choice.seed,
        speed=choice.speed,
        replay=choice.replay,
        gate=choice.timeframe if choice.lockstep else None,
    )
    endpoints = await asyncio.to_thread(process.start)
    try:
        yield endpoints
    finally:
        await asyncio.to_thread(process.stop)


def _acknowledge(link: PracticeLink) -> BarHook:
    """In lockstep the exchange closes the next bar only when this one was handled completely."""

    async def acknowledge(candle: Candle) -> None:
        venue_symbol = link.gateway.instruments[candle.symbol].venue_symbol
        await link.control.ack(venue_symbol, candle.timeframe.value, candle.open_time_ns // NS_PER_MS)

    return acknowledge


async def _release_first_bar(link: PracticeLink, symbol: str) -> None:
    """The bar that had closed before we listened is nobody's to acknowledge but ours."""
    state = await link.control.state()
    if state.last_closed_ms is not None:
        venue_symbol = link.gateway.instruments[symbol].venue_symbol
        await link.control.ack(venue_symbol, state.gate_interval, state.last_closed_ms)


async def _run(
    session: TradingSession, spec: StrategySpec | None, minutes: float | None, *, lockstep: bool
) -> dict[str, Any]:
    executor = session.executor
    await executor.start()
    running = asyncio.create_task(executor.run())
    stop = _stop_on_signal()
    say("Trading. Press Ctrl-C to stop; open orders stay at the exchange.")
    try:
        if spec is not None:
            if spec.strategy_id not in {known.strategy_id for known in executor.strategies}:
                await executor.add_strategy(spec)
            await executor.start_strategy(spec.strategy_id)
            if lockstep:
                await executor.wait_until_following(spec.strategy_id)
                await _release_first_bar(session.link, spec.symbol)
        await _wait(running, stop, minutes)
        await executor.quiesce()
        check, analysis = await executor.audit()
        return _result(executor.trading_state.value, check, analysis)
    finally:
        await executor.stop()
        await asyncio.gather(running, return_exceptions=True)


def _stop_on_signal() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: the loop takes no signals
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop


async def _wait(running: asyncio.Task[None], stop: asyncio.Event, minutes: float | None) -> None:
    """Wait for the time to be over, a signal, or the executor to fail.

    Raises:
        Exception: what made the executor fail.
    """
    waiting = asyncio.create_task(stop.wait())
    timeout = None if minutes is None else minutes * 60
    await asyncio.wait({running, waiting}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        await running


def _result(state: str, check: BookCheck, analysis: Any) -> dict[str, Any]:
    return {
        "orders": check.orders,
        "fills": check.fills,
        "positions": {symbol: plain(quantity) for symbol, quantity in sorted(check.positions.items())},
        "orders_match": check.orders_match,
        "positions_match": check.positions_match,
        "differences": list(check.differences),
        "pnl": plain(analysis.net_pnl),
        "fees": plain(analysis.fees),
        "round_trips": len(analysis.round_trips),
        "hit_rate": analysis.hit_rate,
        "max_drawdown": plain(analysis.max_drawdown),
        "trading_state": state,
    }


def _text(result: dict[str, Any]) -> str:
    equal = "The books equal the exchange." if not result["differences"] else "\n".join(result["differences"])
    return f"{result['orders']} orders, {result['fills']} fills, profit {result['pnl']}. {equal}"


class _Teller:
    """Says on standard error what the executor does."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._targets: dict[str, float] = {}

    def __call__(self, event: ExecutorEvent) -> None:
        match event:
            case FillBooked(fill, _):
                say(f"{fill.side} {plain(fill.quantity)} {fill.symbol} at {plain(fill.price)}")
            case IntentDenied(intent, code, message):
                say(f"Denied ({code}): {intent.side} {plain(intent.quantity)} {intent.symbol}: {message}")
            case SignalEmitted(signal) if self._targets.get(signal.owner) != signal.target_weight:
                self._targets[signal.owner] = signal.target_weight
                say(f"Signal of {signal.owner}: hold {signal.target_weight:.0%} ({signal.reason})")
            case OrderUpdated(order) if order.state.is_terminal and order.filled_quantity == ZERO:
                say(f"Order {order.client_order_id}: {order.state} {order.message}".rstrip())
            case StrategyStatus(strategy_id=name, state=state, detail=detail) if self._states.get(name) != state:
                self._states[name] = state
                say(f"Strategy {name}: {state} {detail}".rstrip())
            case Notice(severity, title, text):
                say(f"{severity.value}: {title}. {text}".rstrip())
