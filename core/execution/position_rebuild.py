"""Building positions anew from their facts. Runs on the executor's thread.

Where it happens: a journal of an earlier version has no lots yet; and a fee or payment that nobody could convert gets
its price (`core.execution.position_desk`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from core.domain.instruments import Instrument
from core.domain.positions import Position
from core.execution.journal import Journal
from core.execution.position_tracker import replay

_log = logging.getLogger(__name__)


def load_positions(journal: Journal, instruments: Mapping[str, Instrument]) -> list[Position]:
    """Return all positions; those that an earlier version wrote get their lots from their fills first.

    In a market that the venue does not list any more there is nothing to trade: such a position stays without lots.
    """
    positions = {(p.symbol, p.owner): p for p in journal.positions()}
    for key in journal.positions_without_lots():
        written, instrument = positions[key], instruments.get(key[0])
        if instrument is None:
            _log.warning("the lots of %s in %s are not built: the market is gone", key[1], key[0])
            continue
        flat = Position(written.venue, written.symbol, written.owner)
        built, _ = replay(flat, journal.history(*key), instrument)
        if built.quantity != written.quantity:
            _log.error("%s in %s: %s was written, its fills make %s", *key[::-1], written.quantity, built.quantity)
        journal.save_position(built)
        positions[key] = built
    return list(positions.values())
