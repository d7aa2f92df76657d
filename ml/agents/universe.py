"""Which markets an agent learns on beside its own, and what trading and holding on each of them is subject to.

Values, any thread; torch- and numpy-free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from core.accounting.rules import MarketRules
from core.errors import UserError
from ml.checks import require
from ml.jsonvalues import JsonValue
from ml.spec import DataRange

MOST_MARKETS = 64


@dataclass(frozen=True, slots=True)
class InstrumentRules(JsonValue):
    """How a market rounds prices and quantities, and its smallest order.

    Today's rules of a market need not be those of the past, and nothing stored says which were: they hold only where
    somebody writes them down.

    Attributes:
        symbol: the market.
        tick_size / min_notional: in quote currency; 0 for none.
        lot_size / min_quantity: in base currency; 0 for none.
    """

    symbol: str
    tick_size: float = 0.0
    lot_size: float = 0.0
    min_quantity: float = 0.0
    min_notional: float = 0.0

    @property
    def market(self) -> MarketRules:
        """The same for the accounting kernel; what leverage and shorts are allowed is the environment's."""
        return MarketRules(
            tick_size=self.tick_size,
            lot_size=self.lot_size,
            min_quantity=self.min_quantity,
            min_notional=self.min_notional,
        )


@dataclass(frozen=True, slots=True)
class FundingSource(JsonValue):
    """Where the funding rates of a perpetual come from.

    Attributes:
        symbol: the market.
        path: a CSV, Feather or Parquet file, a row for each payment: `date`, when it is due, and the column below.
        column: the rate, a share of the position's value; paid by who is long where it is above 0.
    """

    symbol: str
    path: str
    column: str = "open"


@dataclass(frozen=True, slots=True)
class UniverseSpec(JsonValue):
    """The markets of a run beside its own, and what is known of all of them.

    Attributes:
        symbols: further markets of the same venue and bar length in the candle store, which the agent learns on and is
            judged on too.
        rules: of any of the markets; those not named neither round nor know a smallest order.
        funding: of any of the markets; those not named pay none.
    """

    symbols: tuple[str, ...] = ()
    rules: tuple[InstrumentRules, ...] = ()
    funding: tuple[FundingSource, ...] = ()

    def validate(self, data: DataRange) -> None:
        """Raise `UserError` for markets that cannot be learned on together with that of `data`."""
        markets = self.markets(data)
        if len(markets) > MOST_MARKETS:
            raise UserError(f"{len(markets)} markets in one run are too many.", f"Name at most {MOST_MARKETS}.")
        replace(data, markets=self.symbols).validate()  # each a name, none twice, none from a file
        both = sorted(set(data.markets) & set(self.symbols))
        if both:
            raise UserError(
                f"Features look at {both[0]}, which the agent is to learn on too: "
                "there it would be its own other market.",
                "Take it out of markets in [data] or out of symbols in [universe].",
            )
        for what, named in (("rules", [each.symbol for each in self.rules]), ("funding", self._funded)):
            _require_known(what, named, markets)
        for each in self.rules:
            each.market.validate()
        for source in self.funding:
            require(bool(source.path and source.column), "Funding needs a file and its column.", "Name both.")

    def markets(self, data: DataRange) -> tuple[str, ...]:
        """Return all markets, that of `data` first."""
        return (data.symbol, *self.symbols)

    def rules_of(self, symbol: str) -> MarketRules:
        """Return what is known of a market's rules."""
        return next((each.market for each in self.rules if each.symbol == symbol), MarketRules())

    def funding_of(self, symbol: str) -> FundingSource | None:
        """Return where a market's funding comes from; None where it has none."""
        return next((each for each in self.funding if each.symbol == symbol), None)

    def without_folders(self) -> Self:
        """Return the same with the names of files only, see `DataRange.without_folders`."""
        return replace(self, funding=tuple(replace(each, path=Path(each.path).name) for each in self.funding))

    @property
    def _funded(self) -> list[str]:
        return [each.symbol for each in self.funding]


def _require_known(what: str, named: Iterable[str], markets: tuple[str, ...]) -> None:
    """Raise `UserError` where markets are named twice, or that are not of the run."""
    given = list(named)
    for symbol in given:
        if symbol not in markets:
            raise UserError(
                f"The {what} in [universe] are of {symbol[:40]!r}, which is not a market of this run.",
                f"Its markets are {', '.join(markets)}.",
            )
    if len(set(given)) < len(given):
        raise UserError(f"The {what} in [universe] name a market twice: {', '.join(given)}.", "Name each once.")
