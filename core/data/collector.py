"""History from a venue into the store, in pages, continuing where it stopped. Runs on the gateway's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.data.quality import find_gaps
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import DataOrigin
from core.errors import UserError
from core.execution.api.gateway import DefinitiveReject, FatalGatewayError, GatewayError, MarketGateway, RetryableError

PAGE_BARS = 1_000
RETRIES = 5


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a download is.

    Attributes:
        done / total: bars read and bars to read, where every bar exists.
        eta_s: seconds left at the pace so far; None before the first page.
    """

    done: int
    total: int
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A finished (or stopped) download.

    Attributes:
        received: bars the venue sent.
        changed: bars that are new or different in the store.
        pages: requests made.
        complete: False where it was stopped before the end.
    """

    received: int
    changed: int
    pages: int
    complete: bool


async def fetch_history(
    gateway: MarketGateway,
    store: CandleStore,
    origin: DataOrigin,
    symbol: str,
    timeframe: Timeframe,
    start_ns: int,
    end_ns: int,
    progress: Callable[[FetchProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    *,
    source: str = "rest",
) -> FetchResult:
    """Download the bars with `start_ns` <= open time < `end_ns` that the store does not hold as final.

    Every page is stored before the next is asked for, so a stop or a crash loses one page at most.

    Args:
        gateway: connected gateway.
        store: where the bars go.
        origin: whose market the gateway's bars are of.
        symbol / timeframe: which bars.
        start_ns / end_ns: ns UTC.
        progress: told after every page.
        should_stop: asked before every page.
        source: written beside every row.

    Raises:
        UserError: unknown market, venue out of reach after several tries, or the store cannot be written.
    """
    if end_ns <= start_ns:
        raise UserError("The end of the period lies before its start.", "Exchange --start and --end.")
    ranges = missing_ranges(store.read(origin, symbol, timeframe, start_ns, end_ns), start_ns, end_ns)
    total = sum((end - start) // timeframe.ns for start, end in ranges)
    began, received, changed, pages, done = time.monotonic(), 0, 0, 0, 0

    def tell() -> None:
        if progress is not None:
            eta_s = (time.monotonic() - began) / done * (total - done) if done else None
            progress(FetchProgress(done, total, eta_s))

    tell()
    for range_start, range_end in ranges:
        cursor = range_start
        while cursor < range_end:
            if should_stop is not None and should_stop():
                return FetchResult(received, changed, pages, False)
            limit = min(PAGE_BARS, (range_end - cursor) // timeframe.ns)
            page = await _fetch_page(gateway, symbol, timeframe, cursor, limit)
            pages += 1
            bars = [c for c in page if cursor <= c.open_time_ns < range_end]
            if bars:
                frame = CandleFrame.from_candles(bars, symbol, timeframe)
                changed += store.write(origin, frame, source)
                received += len(bars)
            # The venue skips what it does not have: an answer beyond the range means the rest does not exist.
            reached = page[-1].open_time_ns + timeframe.ns if page else range_end
            following = min(max(reached, cursor + timeframe.ns), range_end)
            done += (following - cursor) // timeframe.ns
            cursor = following
            tell()
    return FetchResult(received, changed, pages, True)


def missing_ranges(stored: CandleFrame, start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """Return the half-open ranges of bar open times in [start, end) that `stored` does not hold as final bars."""
    timeframe = stored.timeframe
    first = timeframe.floor(start_ns + timeframe.ns - 1)
    after = timeframe.floor(end_ns + timeframe.ns - 1)
    have = stored.finals().between(first, after)
    if not len(have):
        return [(first, after)] if after > first else []
    ranges = [(first, int(have.time_ns[0]))]
    ranges += [(gap.start_ns, gap.end_ns) for gap in find_gaps(have)]
    ranges.append((int(have.time_ns[-1]) + timeframe.ns, after))
    return [(a, b) for a, b in ranges if b > a]


async def _fetch_page(
    gateway: MarketGateway, symbol: str, timeframe: Timeframe, since_ns: int, limit: int
) -> list[Candle]:
    for attempt in range(RETRIES):
        try:
            return await gateway.fetch_candles(symbol, timeframe, since_ns=since_ns, limit=max(1, limit))
        except RetryableError as exc:
            if attempt + 1 == RETRIES:
                raise user_error(exc, gateway.venue) from exc
            await asyncio.sleep(max(exc.retry_after_s, 0.2) * (attempt + 1))
        except GatewayError as exc:
            raise user_error(exc, gateway.venue) from exc
    raise AssertionError("unreachable")


def user_error(exc: GatewayError, venue: str) -> UserError:
    """Return one sentence for a person from a venue failure."""
    if isinstance(exc, DefinitiveReject):
        return UserError(f"{venue} refused: {exc.message}.", "Check the name of the market and the period.")
    if isinstance(exc, FatalGatewayError):
        return UserError(f"{venue} cannot be used: {exc.message}.", "Check the address, the key and its permissions.")
    return UserError(f"{venue} cannot be reached: {exc.message}.", "Check the connection and try again.")
