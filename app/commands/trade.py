"""`main.py trade`: the executor of the window, without a window. Qt-free; one event loop on the main thread."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, counted, emit, say
from app.commands.key_input import PassphraseFileOption
from app.commands.rearm import command_line as rearm_line
from app.commands.trade_commands import CommandReader
from app.commands.trade_events import StrategyWatch, Teller
from core.clock import NS_PER_MS
from core.domain.data_origin import is_practice
from core.domain.money import ZERO, nearest_step, parse_decimal, plain
from core.domain.orders import TradingState
from core.errors import UserError
from core.execution.sentinel import LEAST_SILENCE_S, SILENCE_S, SentinelRules
from core.strategies.spec import StrategyKind, StrategySpec

if TYPE_CHECKING:
    from app.live import LiveSession
    from app.paper import PaperSession
    from app.runtime import BarHook, PracticeLink, TradingSession
    from core.config import DataPaths
    from core.domain.candles import Candle
    from core.execution.books import BookCheck
    from core.execution.executor import Executor
    from core.execution.records import TradingStateRecord
    from core.practice.control import PracticeEndpoints
    from core.secrets.book import KeyBook
    from core.secrets.keys import LoadedKey

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class ExchangeChoice:
    """Which practice exchange to trade on: one named by a file, or one of our own."""

    endpoints: Path | None
    seed: int | None
    speed: str | None
    replay: Path | None
    faults: str | None
    timeframe: str

    @property
    def lockstep(self) -> bool:
        """Whether our own exchange waits for each bar to be handled."""
        return self.speed == "max"


@dataclass(frozen=True, slots=True)
class PaperChoice:
    """Which paper account to trade with.

    Attributes:
        endpoints: file of a practice exchange that lends its market; None for Binance.
        opening: what it begins with, by currency; None goes on with what is there.
        fees_in: currency that pays fees while there is enough of it; "" for none.
    """

    endpoints: Path | None
    opening: dict[str, Decimal] | None
    new_account: bool
    fees_in: str = ""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What to do on it.

    Attributes:
        spec: the strategy to run; None only keeps the books, and runs what ran before.
        minutes: wall minutes; None until interrupted.
        rearm: the command that re-arms this data folder, for who finds trading halted.
        commands: whether orders by hand are read from standard input.
        sentinel: patience of the dead-man switch; None for none.
    """

    spec: StrategySpec | None
    minutes: float | None
    rearm: str
    commands: bool = False
    sentinel: SentinelRules | None = None


@dataclass(slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        result: what to print; None where the books could not be compared.
        trouble: what failed, one sentence each; empty where all went well.
    """

    result: dict[str, Any] | None
    trouble: list[str]


@app.command()
@command
def trade(
    practice: Annotated[bool, typer.Option("--practice", help="Start a practice exchange for this run.")] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="Simulate orders against live market data; no keys, no real money.")
    ] = False,
    endpoints: Annotated[
        Path | None, typer.Option(help="JSON file with the addresses of a running practice exchange.")
    ] = None,
    venue: Annotated[str | None, typer.Option(help="Whose market a paper account trades on: binance.")] = None,
    balance: Annotated[str | None, typer.Option(help="Quote currency a new paper account begins with.")] = None,
    new_account: Annotated[
        bool, typer.Option("--new-account", help="Set the present paper account aside and begin a new one.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Forecaster or agent to trade with; none only keeps the books.")
    ] = None,
    symbol: Annotated[str, typer.Option(help="Market.")] = "BTC/USDT",
    timeframe: Annotated[str, typer.Option(help="Bar length.")] = "1h",
    capital: Annotated[str, typer.Option(help="Quote currency the strategy may commit.")] = "1000",
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Wall minutes; until interrupted by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of our own exchange's market.")] = None,
    speed: Annotated[
        str | None, typer.Option(help="Market seconds per wall second of our own exchange, or max.")
    ] = None,
    replay: Annotated[Path | None, typer.Option(help="Stored bars our own exchange replays.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Trade real money at the venue of --key.")] = False,
    key: Annotated[str | None, typer.Option(help="Name of the key for --live; see main.py keys.")] = None,
    confirm: Annotated[
        str | None, typer.Option(help='What --live asks to be typed: "TRADE LIVE WITH" and the name of the key.')
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    fees_in: Annotated[
        str, typer.Option(help="Currency a paper account pays fees in while it holds enough of it, such as BNB.")
    ] = "",
    commands: Annotated[
        bool, typer.Option("--commands", help="Take orders by hand: JSON lines on standard input.")
    ] = False,
    faults: Annotated[str | None, typer.Option(help="Faults of our own exchange, e.g. lost-ack:order,next=1.")] = None,
    no_sentinel: Annotated[
        bool, typer.Option("--no-sentinel", help="Trade without the dead-man switch: orders stay whatever happens.")
    ] = False,
    sentinel_seconds: Annotated[
        float, typer.Option(min=LEAST_SILENCE_S, help="Silence of this program after which the switch cancels orders.")
    ] = SILENCE_S,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trade headless, on the practice exchange, on paper or live, and compare the books at the end."""
    from app.commands.trade_live import confirmed_key, live_choice
    from app.runtime import prepare_data
    from core.logger import LogSetup

    if not paper and [practice, endpoints is not None, live].count(True) != 1:
        ways = "Give one of --practice, --endpoints FILE, --paper and --live."
        raise UserError("Where to trade is not clear.", ways)
    if paper and live:
        raise UserError("Where to trade is not clear.", "Give either --paper or --live.")
    account = live_choice(key, confirm, passphrase_file, live=live)
    if live and (seed, speed, replay, faults) != (None, None, None, None):
        raise UserError("A real market has no seed, speed, replay and faults.", "Leave them out with --live.")
    choice: ExchangeChoice | PaperChoice
    if paper:
        own_exchange = practice or any(given is not None for given in (seed, speed, replay, faults))
        choice = _paper_choice(endpoints, venue, balance, symbol, new_account=new_account, own_exchange=own_exchange)
        choice = replace(choice, fees_in=fees_in.upper())
    elif venue is not None or balance is not None or new_account or fees_in:
        raise UserError("Those options belong to paper trading.", "Leave them out, or give --paper.")
    elif faults is not None and endpoints is not None:
        raise UserError("--faults arms an exchange started for this run.", "Leave it out, or use its control address.")
    else:
        choice = ExchangeChoice(endpoints, seed, speed, replay, faults, timeframe)
    spec = _spec(model, symbol, timeframe, capital)
    paths = prepare_data(data_dir)
    if spec is not None:
        spec = _checked(paths, spec, live=live)
    own = confirmed_key(paths, account) if account is not None else None
    plan = RunPlan(
        spec,
        minutes,
        rearm_line(data_dir),
        commands,
        sentinel=None if no_sentinel else SentinelRules(silence_s=sentinel_seconds),
    )
    logs = LogSetup(paths.logs)
    try:
        outcome = asyncio.run(_trade(paths, choice, plan, logs) if own is None else _trade_live(paths, own, plan))
    finally:
        logs.close()
    _conclude(outcome, paths, as_json=as_json)


def _paper_choice(
    endpoints: Path | None,
    venue: str | None,
    balance: str | None,
    symbol: str,
    *,
    new_account: bool,
    own_exchange: bool,
) -> PaperChoice:
    """Check what was asked of paper trading.

    Raises:
        UserError: it contradicts itself, or cannot be done.
    """
    if own_exchange or (endpoints is not None and venue is not None):
        raise UserError("Whose market to trade on is not clear.", "Give --paper with --endpoints FILE or --venue.")
    if venue not in (None, "binance"):
        raise UserError(f"Paper trading knows no venue {venue!r}.", "Give --venue binance.")
    if balance is None:
        return PaperChoice(endpoints, None, new_account)
    try:
        amount = parse_decimal(balance)
    except ValueError:
        amount = ZERO
    if amount <= 0:
        raise UserError(f"The balance {balance!r} is not an amount of money.", "Give a number such as 10000.")
    return PaperChoice(endpoints, {symbol.partition("/")[2] or "USDT": amount}, new_account)


def _conclude(outcome: Outcome, paths: DataPaths, *, as_json: bool) -> None:
    """Print how it ended.

    Raises:
        CommandFailed: something failed, or the books differ from the exchange.
    """
    result, trouble = outcome.result, outcome.trouble
    equal = result is not None and result["orders_match"] and result["positions_match"]
    if trouble:
        if result is not None:
            # One JSON line, and that is the error's.
            say(_text(result)) if as_json else emit(result, as_json=False, text=_text(result))
            trouble = trouble if equal else [*trouble, "The books differ from the exchange."]
        remedy = f"Repair that and start again; the log in {paths.logs} says more. Positions stay."
        raise CommandFailed(" ".join(trouble), remedy)
    assert result is not None  # books that could not be compared are trouble
    emit(result, as_json=as_json, text=_text(result))
    if not equal:
        raise CommandFailed


def _spec(model: str | None, symbol: str, timeframe: str, capital: str) -> StrategySpec | None:
    if model is None:
        return None
    try:
        amount = parse_decimal(capital)
        return StrategySpec(f"model-{model[:12]}", f"Model {model[:12]}", symbol, timeframe, model, amount)
    except ValueError as exc:
        raise UserError(f"The capital {capital!r} is not an amount of money.", "Give a number such as 1000.") from exc


def _checked(paths: DataPaths, spec: StrategySpec, *, live: bool) -> StrategySpec:
    """Return a strategy of the kind of its model; one that cannot trade here is refused before an exchange is started.

    Raises:
        UserError: there is no such model, it is damaged, it was trained on something else, or it is an agent that
            cannot be fed or wants what a spot market does not allow; or it is to trade real money and has learned from
            a market that was never one.
    """
    from core.strategies.agent_strategy import require_spot
    from ml.agents.inference import load_policy
    from ml.agents.package import StoredAgent
    from ml.model_storage import load_any

    stored = load_any(paths.models, spec.model_id)
    data = stored.spec.data
    if isinstance(stored, StoredAgent):
        agent, named = load_policy(paths.models, spec.model_id), spec.model_id[:12]
        require_spot(agent.lowest, agent.highest)
        spec = replace(spec, strategy_id=f"agent-{named}", title=f"Agent {named}", kind=StrategyKind.AGENT)
    if (data.symbol, data.timeframe) != (spec.symbol, spec.timeframe):
        raise UserError(
            f"The model was trained on {data.symbol} {data.timeframe}, not on {spec.symbol} {spec.timeframe}.",
            "Name its market with --symbol and --timeframe.",
        )
    if live and is_practice(data.origin):
        raise UserError(
            "The model was trained on bars of the practice exchange, which say nothing about a real market.",
            "Train one on real history for real money: main.py data import, then main.py train forecast.",
        )
    return spec


async def _trade(paths: DataPaths, choice: ExchangeChoice | PaperChoice, plan: RunPlan, logs: Any) -> Outcome:
    from app.runtime import open_trading_session

    if isinstance(choice, PaperChoice):
        return await _trade_on_paper(paths, choice, plan, logs)

    async with _exchange(paths, choice) as endpoints:
        logs.redactor.add(endpoints.token, endpoints.api_key, endpoints.api_secret)
        hook = _acknowledge if choice.lockstep else None
        stop = asyncio.Event()
        watch = StrategyWatch(stop.set)
        session = await open_trading_session(
            paths, endpoints, Teller(watch), bar_processed=hook, sentinel=plan.sentinel
        )
        try:
            return await _run(session, plan, watch, stop, session.link if choice.lockstep else None)
        finally:
            await session.close()


async def _trade_live(paths: DataPaths, own: tuple[KeyBook, LoadedKey], plan: RunPlan) -> Outcome:
    from app.commands.trade_live import trade_live

    async def run(session: LiveSession, watch: StrategyWatch, stop: asyncio.Event) -> Outcome:
        return await _run(session, plan, watch, stop)

    return await trade_live(paths, *own, run, plan.sentinel)


async def _trade_on_paper(paths: DataPaths, choice: PaperChoice, plan: RunPlan, logs: Any) -> Outcome:
    from app.paper import PaperMarket, open_paper_session
    from core.practice.endpoints_file import read_endpoints

    market = PaperMarket.of(None if choice.endpoints is None else read_endpoints(choice.endpoints))
    if market.endpoints is not None:
        logs.redactor.add(market.endpoints.token)
    stop = asyncio.Event()
    watch = StrategyWatch(stop.set)
    session = await open_paper_session(
        paths,
        market,
        Teller(watch),
        opening=choice.opening,
        new_account=choice.new_account,
        fees_in=choice.fees_in,
    )
    try:
        return await _run(session, plan, watch, stop)
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
        faults=choice.faults,
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
    session: TradingSession | PaperSession | LiveSession,
    plan: RunPlan,
    watch: StrategyWatch,
    stop: asyncio.Event,
    lockstep: PracticeLink | None = None,
) -> Outcome:
    executor, spec = session.executor, plan.spec
    await executor.start()
    _require_armed(executor.trading_record, plan.rearm)
    watch.expect(executor.wanted_strategies | ({spec.strategy_id} if spec is not None else set()))
    running = asyncio.create_task(executor.run())
    _stop_on_signal(stop)
    reader = CommandReader(executor, answer=partial(emit, as_json=True)) if plan.commands else None
    if reader is not None:
        reader.start()
    say("Trading. Press Ctrl-C to stop; open orders stay at the exchange.")
    try:
        if spec is not None:
            if spec.strategy_id not in {known.strategy_id for known in executor.strategies}:
                await executor.add_strategy(spec)
            await executor.start_strategy(spec.strategy_id)
            if lockstep and await _in_time(_listen(executor, spec.strategy_id), running, stop):
                await _release_first_bar(lockstep, spec.symbol)
        await _in_time(_pass(plan.minutes), running, stop)
        if reader is not None:
            await reader.close()
        return await _finish(executor, watch)
    finally:
        await executor.stop()
        await asyncio.gather(running, return_exceptions=True)


def _require_armed(record: TradingStateRecord, rearm: str) -> None:
    """Refuse to run where nothing may be sent.

    Raises:
        UserError: trading is halted.
    """
    from core.execution.trading_control import describe_halt

    if record.state is TradingState.HALTED:
        raise UserError(describe_halt(record), f"When you know why, allow it again with: {rearm}")


async def _listen(executor: Executor, strategy_id: str) -> None:
    """Wait until a strategy's bars arrive; one that failed is told by its status, and others may want the bars."""
    with suppress(UserError):
        await executor.wait_until_following(strategy_id)


async def _pass(minutes: float | None) -> None:
    """Let time go by: some minutes, or for ever."""
    await (asyncio.Event().wait() if minutes is None else asyncio.sleep(minutes * 60))


async def _finish(executor: Executor, watch: StrategyWatch) -> Outcome:
    """Pause, compare the books, and say what failed."""
    from core.execution.api.gateway import GatewayError

    await executor.quiesce()
    try:
        check, analysis = await executor.audit()
    except GatewayError as exc:
        unknown = f"The books could not be compared with the exchange: {exc.message.rstrip('.')}."
        return Outcome(None, [*watch.failures, unknown])
    return Outcome(_result(executor.trading_state.value, check, analysis), watch.failures)


def _stop_on_signal(stop: asyncio.Event) -> None:
    """Have SIGINT and SIGTERM set an event."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: the loop takes no signals
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))


async def _in_time(work: Coroutine[Any, Any, None], running: asyncio.Task[None], stop: asyncio.Event) -> bool:
    """Wait for something unless the run is over before.

    Returns:
        Whether it was done while the run went on.

    Raises:
        Exception: what made the executor fail.
    """
    doing, waiting = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({doing, running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    done = doing.done()
    doing.cancel()
    waiting.cancel()
    await asyncio.gather(doing, waiting, return_exceptions=True)
    if running.done():
        await running
    if done:
        await doing  # a bug in it must show
    return done and not stop.is_set()


def _result(state: str, check: BookCheck, analysis: Any) -> dict[str, Any]:
    return {
        "orders": check.orders,
        "fills": check.fills,
        "positions": {symbol: plain(quantity) for symbol, quantity in sorted(check.positions.items())},
        "orders_match": check.orders_match,
        "positions_match": check.positions_match,
        "differences": list(check.differences),
        "pnl": _shown(analysis.net_pnl),
        "fees": _shown(analysis.fees),
        "round_trips": len(analysis.round_trips),
        "hit_rate": analysis.hit_rate,
        "max_drawdown": _shown(analysis.max_drawdown),
        "trading_state": state,
    }


def _shown(amount: Decimal) -> str:
    """Write an amount that divisions went into: what follows the eighth decimal is nobody's money."""
    return plain(nearest_step(amount, Decimal("0.00000001")))


def _text(result: dict[str, Any]) -> str:
    equal = "The books equal the exchange." if not result["differences"] else "\n".join(result["differences"])
    return f"{counted(result['orders'], 'order')}, {counted(result['fills'], 'fill')}, profit {result['pnl']}. {equal}"
