"""`main.py data`: fetch, import, check, list and export price history. Qt-free; runs on the main thread."""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from core.clock import NS_PER_MS, NS_PER_S, SystemClock, from_datetime, to_datetime
from core.config import DataPaths, data_paths
from core.data.data_storage import CandleStore, StoredSeries
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, DataOrigin, practice_origin, venue_origin
from core.errors import UserError

app = typer.Typer(help="Fetch, import, check and list market data.", rich_markup_mode=None, no_args_is_help=True)

PROGRESS_INTERVAL_S = 0.5
DEFAULT_DAYS = 30

SymbolOption = Annotated[str, typer.Option("--symbol", help="Market, e.g. BTC/USDT.")]
TimeframeOption = Annotated[str, typer.Option("--timeframe", help="Bar length, e.g. 1m, 1h, 1d.")]
VenueOption = Annotated[str, typer.Option("--venue", help="Whose bars they are, as `data list` names it.")]


@app.command()
@command
def fetch(
    symbol: SymbolOption = "BTC/USDT",
    timeframe: TimeframeOption = "1h",
    start: Annotated[str, typer.Option("--start", help="First bar, ISO date or time, UTC.")] = "",
    end: Annotated[str, typer.Option("--end", help="End of the period, not included; now where not given.")] = "",
    rest: Annotated[str, typer.Option("--rest", help="Practice exchange that runs already.")] = "",
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the one started for this call.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download history; continues where an earlier download stopped."""
    length = parse_timeframe(timeframe)
    span = (parse_time(start) if start else None, parse_time(end) if end else None)
    store = CandleStore(data_paths(data_dir).create().candles)
    if rest:
        host = urlsplit(rest).netloc or rest
        result = asyncio.run(_fetch(f"http://{host}", store, symbol, length, span))
    else:
        from core.practice.process import PracticeProcess

        say("Starting a practice exchange for this call …")
        with tempfile.TemporaryDirectory(prefix="maru-practice-") as folder:
            process = PracticeProcess(data_dir=Path(folder), seed=seed)
            try:
                endpoints = process.start()
                result = asyncio.run(_fetch(endpoints.rest, store, symbol, length, span))
            finally:
                process.stop()
    text = (
        f"{result['received']} bars of {symbol} {length} received, {result['changed']} new or changed, "
        f"stored under {result['venue']}."
    )
    emit(result, as_json=as_json, text=text)


@app.command("import")
@command
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, Feather or Parquet file.")],
    symbol: Annotated[str | None, typer.Option("--symbol", help="Market, where the name does not tell it.")] = None,
    timeframe: Annotated[str | None, typer.Option("--timeframe", help="Bar length, likewise.")] = None,
    venue: VenueOption = BINANCE,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a file of bars into the store and say what is wrong with it."""
    from core.data.importer import import_candles
    from core.data.quality import check_quality

    began, origin = time.perf_counter(), venue_origin(venue)
    result = import_candles(file, symbol=symbol, timeframe=parse_timeframe(timeframe) if timeframe else None)
    store = CandleStore(data_paths(data_dir).create().candles)
    changed = store.write(origin, result.frame, "import")
    quality = check_quality(result.frame).to_json()
    summary = {
        **quality,
        "venue": origin,
        "changed": changed,
        "duplicates": result.duplicates,
        "resorted": result.resorted,
        "seconds": round(time.perf_counter() - began, 3),
    }
    text = (
        f"{quality['rows']} bars of {quality['symbol']} {quality['timeframe']} imported ({changed} new or changed); "
        f"{quality['gaps']} gaps, {quality['missing']} bars missing, {quality['zero_volume']} without volume."
    )
    emit(summary, as_json=as_json, text=text)


@app.command()
@command
def check(
    symbol: Annotated[str | None, typer.Option("--symbol", help="Only this market.")] = None,
    timeframe: Annotated[str | None, typer.Option("--timeframe", help="Only this bar length.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for gaps, duplicates, impossible bars and damaged files; exit code 1 where a file is damaged."""
    from core.data.quality import check_quality

    store = CandleStore(_existing(data_dir).candles)
    wanted = parse_timeframe(timeframe) if timeframe else None
    reports: list[dict[str, Any]] = []
    damaged: list[str] = []
    for series in _selected(store, symbol, wanted):
        if series.damaged:
            damaged.extend(str(path) for path in series.damaged)
            continue
        frame = store.read(series.origin, series.symbol, series.timeframe)
        reports.append({"venue": series.origin, **check_quality(frame).to_json()})
    lines = [
        f"{r['venue']:<20} {r['symbol']:<16} {r['timeframe']:>3}  {r['rows']:>9} bars  {r['gaps']:>4} gaps  "
        f"{r['missing']:>6} missing  {r['ohlc_violations']:>4} impossible"
        for r in reports
    ]
    lines += [f"Damaged: {path}" for path in damaged]
    clean = not damaged and all(r["clean"] for r in reports)
    emit({"series": reports, "damaged": damaged, "clean": clean}, as_json=as_json, text="\n".join(lines) or "No data.")
    if damaged:
        raise CommandFailed


@app.command("list")
@command
def list_series(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show what is stored."""
    found = CandleStore(_existing(data_dir).candles).list_series()
    rows = [
        {
            "venue": s.origin,
            "symbol": s.symbol,
            "timeframe": s.timeframe.value,
            "rows": s.rows,
            "first": _iso(s.first_ns),
            "last": _iso(s.last_ns),
            "bytes": s.size_bytes,
            "damaged": len(s.damaged),
        }
        for s in found
    ]
    text = "\n".join(
        f"{r['venue']:<20} {r['symbol']:<16} {r['timeframe']:>3}  {r['rows']:>9} bars  {r['first']} … {r['last']}"
        for r in rows
    )
    emit({"series": rows}, as_json=as_json, text=text or "No data.")


@app.command()
@command
def export(
    out: Annotated[Path, typer.Argument(help="File to write; .csv, .feather or .parquet.")],
    symbol: SymbolOption = "BTC/USDT",
    timeframe: TimeframeOption = "1h",
    venue: VenueOption = BINANCE,
    start: Annotated[str, typer.Option("--start", help="First bar, ISO date or time, UTC.")] = "",
    end: Annotated[str, typer.Option("--end", help="End of the period, not included.")] = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write stored bars to a file."""
    from core.data.exporter import export_candles

    store = CandleStore(_existing(data_dir).candles)
    frame = store.read(
        DataOrigin(venue),
        symbol,
        parse_timeframe(timeframe),
        parse_time(start) if start else None,
        parse_time(end) if end else None,
    )
    export_candles(frame.finals(), out)
    emit({"path": str(out), "rows": len(frame.finals())}, as_json=as_json, text=f"{len(frame.finals())} bars written.")


async def _fetch(
    rest: str, store: CandleStore, symbol: str, timeframe: Timeframe, span: tuple[int | None, int | None]
) -> dict[str, Any]:
    from core.data.collector import FetchProgress, fetch_history, user_error
    from core.domain.orders import TradingMode
    from core.execution.api.binance_api import binance_practice_profile
    from core.execution.api.ccxt_gateway import CcxtGateway
    from core.execution.api.gateway import GatewayError
    from core.practice.control import ask_market

    host = urlsplit(rest).netloc
    profile = binance_practice_profile(rest, f"ws://{host}/stream/ws", f"ws://{host}/ws-api/v3")
    told = 0.0

    def show(progress: FetchProgress) -> None:
        nonlocal told
        now = time.monotonic()
        if progress.eta_s is not None and (now - told >= PROGRESS_INTERVAL_S or progress.done == progress.total):
            told = now
            say(f"{progress.done} of {progress.total} bars, {progress.eta_s:.0f} s left")

    try:
        gateway = CcxtGateway(profile, TradingMode.PRACTICE, None, market_clock=SystemClock(), link="market")
        await gateway.connect()
    except GatewayError as exc:
        raise user_error(exc, "The practice exchange") from exc
    try:
        if symbol not in gateway.instruments:
            known = ", ".join(list(gateway.instruments)[:5])
            raise UserError(f"The practice exchange has no market {symbol}.", f"It has: {known}.")
        origin = practice_origin(await ask_market(rest))
        newest = await gateway.fetch_candles(symbol, timeframe, limit=1)
        now_ns = newest[-1].open_time_ns if newest else SystemClock().now_ns()
        end_ns = span[1] if span[1] is not None else now_ns
        start_ns = span[0] if span[0] is not None else end_ns - DEFAULT_DAYS * 86_400 * NS_PER_S
        # The forming bar is not history yet.
        result = await fetch_history(gateway, store, origin, symbol, timeframe, start_ns, min(end_ns, now_ns), show)
    except GatewayError as exc:
        raise user_error(exc, "The practice exchange") from exc
    finally:
        await gateway.close()
    return {
        "venue": origin,
        "symbol": symbol,
        "timeframe": timeframe.value,
        "received": result.received,
        "changed": result.changed,
        "pages": result.pages,
        "start": _iso(start_ns),
        "end": _iso(min(end_ns, now_ns)),
    }


def parse_timeframe(text: str) -> Timeframe:
    """Return the bar length a person typed.

    Raises:
        UserError: there is none of that name.
    """
    try:
        return Timeframe(text)
    except ValueError as exc:
        names = ", ".join(t.value for t in Timeframe)
        raise UserError(f"There is no bar length {text!r}.", f"Use one of {names}.") from exc


def parse_time(text: str) -> int:
    """Return a point in time a person typed, ns UTC; without a zone it is taken as UTC.

    Raises:
        UserError: it is no ISO date or time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise UserError(f"{text!r} is no date.", "Write it like 2024-01-31 or 2024-01-31T12:00.") from exc
    return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC)) // NS_PER_MS * NS_PER_MS


def _existing(data_dir: Path | None) -> DataPaths:
    paths = data_paths(data_dir)
    if data_dir is not None and not paths.root.is_dir():
        raise UserError(f"There is no data folder {paths.root}.", "Check --data-dir.")
    return paths


def _selected(store: CandleStore, symbol: str | None, timeframe: Timeframe | None) -> list[StoredSeries]:
    found = [
        s
        for s in store.list_series()
        if (symbol is None or s.symbol == symbol) and (timeframe is None or s.timeframe is timeframe)
    ]
    if not found and (symbol or timeframe):
        name = " ".join(filter(None, (symbol, timeframe.value if timeframe else None)))
        raise UserError(f"Nothing is stored of {name}.", "Fetch or import it.")
    return found


def _iso(time_ns: int | None) -> str | None:
    return None if time_ns is None else to_datetime(time_ns).isoformat()
