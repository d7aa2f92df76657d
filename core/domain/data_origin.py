"""Whose market bars come from: the key of a price history in the candle store and in specifications. Pure, any thread.

Two notions look alike and must not be mixed up. A gateway's `venue` ("binance") names a protocol: who is spoken to, and
how. A `DataOrigin` names the market the prices were made in. For a real exchange both are the same word. The practice
exchange speaks Binance's protocol too, but has a market of its own, another one per seed or set of replayed files; its
bars are kept under a name of their own and never beside real ones.
"""

from __future__ import annotations

import re
from typing import Final, NewType

from core.errors import UserError

DataOrigin = NewType("DataOrigin", str)

BINANCE: Final = DataOrigin("binance")
"""Real bars, and what imported files are taken for where nobody says otherwise."""

DEFAULT_SEED: Final = 1
"""Of the invented market that nobody chose another seed for."""

_PRACTICE: Final = "practice-"
_INVENTED: Final = _PRACTICE + "synthetic-"
_MARKET_ID: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")  # it becomes the name of a folder


def venue_origin(venue: str) -> DataOrigin:
    """Return the origin of a real exchange's own bars.

    Raises:
        UserError: the name belongs to the practice exchange.
    """
    if venue.casefold().startswith(_PRACTICE):  # some file systems do not tell capitals
        raise UserError(
            f"The name {venue} is kept for bars of the practice exchange.",
            f"Use one that does not begin with {_PRACTICE}.",
        )
    return DataOrigin(venue)


def practice_origin(market_id: str) -> DataOrigin:
    """Return the origin of the practice exchange's bars.

    Args:
        market_id: what the exchange calls its market ("synthetic-1", "replay-0123456789ab").

    Raises:
        UserError: the exchange does not say, or says something that cannot name a folder.
    """
    if not _MARKET_ID.fullmatch(market_id):
        raise UserError("The practice exchange does not say which market it has.", "Start it again with this version.")
    return DataOrigin(_PRACTICE + market_id)


def is_practice(origin: DataOrigin) -> bool:
    """Whether the bars come from the practice exchange, invented or replayed."""
    return origin.startswith(_PRACTICE)


def is_invented(origin: DataOrigin) -> bool:
    """Whether no real market ever had these prices."""
    return origin.startswith(_INVENTED)


def invented_seed(origin: DataOrigin) -> str:
    """Return what tells one invented market from another; "" for any other origin."""
    return origin.removeprefix(_INVENTED) if is_invented(origin) else ""


def with_caution(verdict: str, origin: DataOrigin) -> str:
    """Return a verdict and, behind it, what must be said about the bars it was reached on."""
    return f"{verdict} {caution(origin)}".rstrip()


def caution(origin: DataOrigin) -> str:
    """Return what must be said beside any result on these bars; "" where they are a real exchange's own."""
    if is_invented(origin):
        return "Invented practice market: this says nothing about a real one."
    if is_practice(origin):
        return "Replayed on the practice exchange: own orders have moved these prices."
    return ""
