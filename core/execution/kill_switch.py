"""The kill switch: halt, cancel everything, confirm by query, optionally flatten, report. Executor's event loop.

It must work when other things do not: a journal that cannot be written, a stream that is down or a strategy that hangs
stop none of its steps, they are named in the report.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.clock import Clock, to_datetime
from core.domain.instruments import Instrument
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side
from core.domain.positions import Position
from core.errors import UserError
from core.execution.api.gateway import ExchangeGateway, GatewayError, OrderReport

CANCEL_ROUNDS = 5
ROUND_PAUSE_S = 0.3


@dataclass(slots=True)
class KillReport:
    """What the kill switch did and found; written to the reports folder.

    Attributes:
        held: positions that stay, and may have been protected by what was cancelled; empty where nobody looked.
        sold: every sale that was tried, also what was refused.
        listed: the venue said at least once which orders are open.
        fenced: nothing new can be sent; False where a program may go on.
        confirmed: the venue itself said that no order is open any more.
        flat: every position asked to be closed is closed but for what is below the venue's minimum; None if not asked.
    """

    started: str
    reason: str
    flatten: bool
    cancelled: list[str] = field(default_factory=list)
    still_open: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    sold: list[dict[str, str]] = field(default_factory=list)
    dust: list[dict[str, str]] = field(default_factory=list)
    held: list[dict[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    fenced: bool = True
    listed: bool = False
    confirmed: bool = False
    flat: bool | None = None
    finished: str = ""

    @property
    def complete(self) -> bool:
        """Whether everything asked for is done and proven."""
        return self.fenced and self.confirmed and not self.unknown and self.flat is not False

    def summary(self) -> str:
        """One sentence for a person."""
        cancelled, unknown = len(self.cancelled), len(self.unknown)
        sold = sum(Decimal(sale["filled"]) > 0 for sale in self.sold)
        parts = ["1 order cancelled" if cancelled == 1 else f"{cancelled} orders cancelled"]
        if self.confirmed:
            parts.append("none is open")
        else:
            count = len(self.still_open)
            parts.append(f"{count} may still be open" if self.listed else "how many are still open is unknown")
        if unknown:
            parts.append("1 order is still unknown" if unknown == 1 else f"{unknown} orders are still unknown")
        if self.flatten:
            parts.append("1 position sold" if sold == 1 else f"{sold} positions sold")
            if not self.flat:
                parts.append("not all")
        if held := len(self.held):
            parts.append("1 position stays, without a stop" if held == 1 else f"{held} positions stay, without stops")
        return ", ".join(parts) + "."


async def cancel_everything(
    gateway: ExchangeGateway,
    extra_symbols: Iterable[str],
    report: KillReport,
    apply: Callable[[OrderReport], object],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    answered: Callable[[], Awaitable[bool]] | None = None,
) -> None:
    """Cancel all orders of the account and ask until the venue says that none is open.

    Args:
        extra_symbols: markets where an order may exist although the venue does not list it (yet).
        report: filled in.
        apply: told every order report.
        answered: waits for the answers to orders on the wire, which no list shows yet; whether all came.
    """
    # What is known is cancelled before anything is asked: a question may take its time.
    await _cancel_symbols(gateway, extra_symbols, report, apply)
    if answered is not None and not await answered():
        note(report, "orders sent just before have no answer yet; they are cancelled as soon as they show")
    for attempt in range(CANCEL_ROUNDS):
        if attempt:
            await sleep(ROUND_PAUSE_S)
        try:
            open_orders = await gateway.fetch_open_orders()
        except GatewayError as exc:
            note(report, f"open orders could not be read: {exc.message}")
            continue
        report.listed = True
        report.still_open = [order.client_order_id or order.venue_order_id for order in open_orders]
        if not open_orders:
            report.confirmed = True
            return
        await _cancel_symbols(gateway, {order.symbol for order in open_orders}, report, apply)


async def _cancel_symbols(
    gateway: ExchangeGateway, symbols: Iterable[str], report: KillReport, apply: Callable[[OrderReport], object]
) -> None:
    # Every market is asked before any answer is written down: books that are slow must not hold up a cancel.
    answers = await asyncio.gather(*(_cancel_symbol(gateway, symbol, report) for symbol in sorted(set(symbols))))
    for answer in itertools.chain.from_iterable(answers):
        name = answer.client_order_id or answer.venue_order_id
        if name not in report.cancelled:
            report.cancelled.append(name)
        try:
            apply(answer)
        except UserError as exc:  # books that cannot be written must not keep orders at the venue
            note(report, exc.message)


async def _cancel_symbol(gateway: ExchangeGateway, symbol: str, report: KillReport) -> list[OrderReport]:
    try:
        return await gateway.cancel_all_orders(symbol)
    except GatewayError as exc:
        note(report, f"cancelling in {symbol} failed: {exc.message}")
        return []


def flatten_intents(
    positions: Iterable[Position],
    free: dict[str, Decimal],
    instruments: dict[str, Instrument],
    marks: dict[str, Decimal],
    kill_id: str,
    now_ns: int,
    report: KillReport,
) -> list[Intent]:
    """Plan the market sales that close what is ours; what is too small to sell is noted as dust.

    Args:
        positions: positions of all owners.
        free: free account balances; never more is sold than there is.
        kill_id: makes the intent ids unique per kill and the same when it is repeated.
    """
    intents: list[Intent] = []
    left = dict(free)
    for position in sorted(positions, key=lambda p: (p.symbol, p.owner)):
        if position.quantity <= 0:
            continue
        instrument = instruments[position.symbol]
        mark = marks.get(position.symbol)
        available = left.get(instrument.base, Decimal(0))
        quantity = instrument.round_quantity(min(position.quantity, available, instrument.max_quantity))
        if is_dust(position, instrument, mark):
            report.dust.append(
                {"symbol": position.symbol, "owner": position.owner, "quantity": f"{position.quantity:f}"}
            )
            continue
        if instrument.rule_violation(quantity, mark) is not None:
            note(report, f"{position.quantity:f} {position.symbol} of {position.owner}: only {available:f} is free")
            continue
        left[instrument.base] = available - quantity
        intents.append(
            Intent(
                intent_id=f"kill:{kill_id}:{position.symbol}:{position.owner}",
                source=IntentSource.KILL_SWITCH,
                owner=position.owner,
                symbol=position.symbol,
                side=Side.SELL,
                quantity=quantity,
                order_type=OrderType.MARKET,
                reduce_only=True,
                reason="STOP: close the position",
                created_ns=now_ns,
            )
        )
    return intents


def sellable(positions: Iterable[Position], instruments: dict[str, Instrument], report: KillReport) -> list[Position]:
    """Return what is held and has a market, in order of sale; the rest is noted and holds up no other."""
    held = sorted((p for p in positions if p.quantity > 0), key=lambda p: (p.symbol, p.owner))
    for position in held:
        if position.symbol not in instruments:
            note(
                report,
                f"{position.quantity:f} {position.symbol} of {position.owner} cannot be sold here: "
                "the venue does not trade this market any more",
            )
    return [position for position in held if position.symbol in instruments]


def is_flat(left: Iterable[Position], instruments: dict[str, Instrument], marks: dict[str, Decimal]) -> bool:
    """Return whether all is sold but what the venue would not take; of a market it does not have nobody knows."""
    return all(
        p.symbol in instruments and is_dust(p, instruments[p.symbol], marks.get(p.symbol))
        for p in left
        if p.quantity > 0
    )


def is_dust(position: Position, instrument: Instrument, mark: Decimal | None) -> bool:
    """Return whether a position is too small for the venue to take a sale of all of it."""
    quantity = instrument.round_quantity(min(position.quantity, instrument.max_quantity))
    return instrument.rule_violation(quantity, mark) is not None


def note_sale(report: KillReport, order: Order) -> None:
    """Write the outcome of one closing sale into the report."""
    intent = order.intent
    report.sold.append(
        {
            "symbol": intent.symbol,
            "owner": intent.owner,
            "asked": f"{intent.quantity:f}",
            "filled": f"{order.filled_quantity:f}",
            "state": order.state.value,
            "client_order_id": order.client_order_id,
        }
    )
    if order.state is OrderState.UNKNOWN:
        report.unknown.append(order.client_order_id)


def begin_report(reason: str, flatten: bool, wall: Clock) -> KillReport:
    """Start a report."""
    return KillReport(to_datetime(wall.now_ns()).isoformat(), reason, flatten)


def write_report(report: KillReport, folder: Path, wall: Clock) -> Path:
    """Write the report as JSON and return its path.

    Raises:
        UserError: the folder cannot be written; the kill itself is done by then.
    """
    finished = to_datetime(wall.now_ns())
    report.finished = finished.isoformat()
    path = folder / f"kill-{finished:%Y%m%d-%H%M%S-%f}.json"
    content: dict[str, Any] = {**asdict(report), "complete": report.complete, "summary": report.summary()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as exc:
        raise UserError(
            f"The report of STOP could not be written to {path}: {exc.strerror or exc}.", report.summary()
        ) from exc
    return path


def note(report: KillReport, message: str) -> None:
    """Write down what went wrong, once."""
    if message not in report.errors:
        report.errors.append(message)
