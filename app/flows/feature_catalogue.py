"""What a feature column can be, for people who search: names, words, parameters with their ranges. Qt-free, any thread.

`load_catalogue` brings in TA-Lib and is called in the background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.i18n import mark, tr
from core.indicators.parameters import ParameterInfo
from ml.api import FeatureColumn, Parameter

NATIVE_TITLES: dict[str, str] = {
    "log_return": mark("Log return"),
    "return": mark("Return in units of recent volatility"),
    "volatility": mark("Realised volatility"),
    "volatility_ratio": mark("Short volatility against long volatility"),
    "funding": mark("Funding rate (a series)"),
    "spread": mark("Bid-ask spread (a series)"),
    "book_imbalance": mark("Imbalance of the order book (a series)"),
    "flow_imbalance": mark("Imbalance of the trade flow (a series)"),
    "open_interest": mark("Open interest (a series)"),
    "taker_buy_volume": mark("Taker buy volume (a series)"),
    "onchain": mark("On-chain metric (a series), written as onchain:name"),
}
SERIES_NAMES = ("funding", "spread", "book_imbalance", "flow_imbalance", "open_interest", "taker_buy_volume")


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One kind of column.

    Attributes:
        name: as it is written.
        title: in English words; the program's own kinds have translated ones in `NATIVE_TITLES`.
        parameters: in the order they are shown.
        outputs: what it gives; a single one needs no name.
        own_bars_only: it has neither another market nor another bar length.
    """

    name: str
    title: str
    parameters: tuple[ParameterInfo, ...]
    outputs: tuple[str, ...]
    own_bars_only: bool

    @property
    def words(self) -> str:
        """Its title in the present language."""
        return tr(NATIVE_TITLES[self.name]) if self.name in NATIVE_TITLES else self.title


@dataclass(frozen=True, slots=True)
class FeatureCatalogue:
    """Every kind of column, the program's own first, then by name."""

    entries: tuple[CatalogueEntry, ...]

    def search(self, text: str) -> tuple[CatalogueEntry, ...]:
        """Return the entries in whose name or title every word of `text` occurs; those whose name begins so first."""
        words = text.casefold().split()
        found = [
            entry
            for entry in self.entries
            if all(word in f"{entry.name} {entry.words} {entry.title}".casefold() for word in words)
        ]
        if words:
            found.sort(key=lambda entry: not entry.name.casefold().startswith(words[0]))
        return tuple(found)

    def find(self, name: str) -> CatalogueEntry | None:
        """Return the kind of a name."""
        return next((entry for entry in self.entries if entry.name == name), None)


def column_text(
    entry: CatalogueEntry, values: Mapping[str, float], output: str = "", symbol: str = "", timeframe: str = ""
) -> str:
    """Return the text form of a column; parameters at their default are left out."""
    given = tuple(
        Parameter(each.name, float(values[each.name]))
        for each in entry.parameters
        if each.name in values and values[each.name] != each.default
    )
    return str(FeatureColumn(entry.name, given, output, symbol, timeframe))


def load_catalogue() -> FeatureCatalogue:
    """Read every kind of column that can be a feature."""
    from core.indicators.catalogue import catalogue
    from ml.column_kinds import BarKind, kind_of, native_kinds

    own = []
    for name in native_kinds():
        kind = kind_of("onchain:any" if name == "onchain" else name)
        alone = not isinstance(kind, BarKind) or kind.calendar
        own.append(CatalogueEntry(name, NATIVE_TITLES.get(name, name), kind.parameters, kind.outputs, alone))
    own.sort(key=lambda entry: (entry.own_bars_only, entry.name))
    indicators = [
        CatalogueEntry(
            info.name,
            info.title,
            info.parameters,
            info.outputs,
            info.inputs == ("time_ns",),
        )
        for info in catalogue()
        if not info.chart_only
    ]
    return FeatureCatalogue((*own, *indicators))
