"""A stored model as the strategy dialog offers it. Pure value, any thread."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain.data_origin import BINANCE, DataOrigin, caution


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """One trained model.

    Attributes:
        model_id: content hash of the package.
        symbol / timeframe: market it was trained on and may trade.
        verdict: one sentence on how good it is, as the evaluation wrote it.
        created_ns: when it was trained, ns UTC.
        edge: whether the evaluation found evidence of an edge.
        origin: whose market its bars were of.
        foreign: whether it was made elsewhere, so that its verdict is its maker's word.
        kind / tags: what tells it from others of the same market.
        traded_on: whose market it would trade; None while that is not known.
        agent: whether it decides by itself how much to hold; else it forecasts.
    """

    model_id: str
    symbol: str
    timeframe: str
    verdict: str
    created_ns: int
    edge: bool = False
    origin: DataOrigin = BINANCE
    foreign: bool = False
    kind: str = ""
    tags: tuple[str, ...] = ()
    traded_on: DataOrigin | None = None
    agent: bool = False

    @property
    def proven(self) -> bool:
        """Whether there is an edge that counts: measured here, and not on invented bars."""
        return self.edge and not self.foreign and not caution(self.origin)
