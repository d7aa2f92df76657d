"""Pictures of the order ticket in every situation. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial

from PySide6.QtGui import QPixmap

from app.screenshots.market import NOW_NS
from app.screenshots.session import BTC
from app.screenshots.studio import Studio
from app.ui.layouts import DockName
from core.clock import NS_PER_S
from core.domain.orders import Intent, IntentSource, Order, OrderDraft, OrderState, OrderType
from core.domain.positions import Ownership
from core.events import OrderUpdated, OwnershipChanged

_TICKET_QUANTITY, _TICKET_SHARE = Decimal("0.01500"), Decimal("0.9975")


def ticket_scenes() -> dict[str, Callable[[Studio], QPixmap]]:
    """Return picture name → how to take it."""
    return {
        "ticket_edit": _ticket_edit,
        "ticket_warning": _ticket_warning,
        "ticket_unreadable": _ticket_unreadable,
        "ticket_stop": _ticket_stop,
        "ticket_review": _ticket_review,
        "ticket_sending": _ticket_sending,
        "ticket_denied": partial(_ticket_answer, state=OrderState.DENIED, text="today's loss 251.40 reached 250"),
        "ticket_done": partial(_ticket_answer, state=OrderState.FILLED, text=""),
        "ticket_unknown": partial(_ticket_answer, state=OrderState.UNKNOWN, text=""),
        "ticket_manual": _ticket_manual,
    }


@contextmanager
def _filled_ticket(studio: Studio) -> Iterator[None]:
    """Enter an ordinary limit order; afterwards the ticket is empty again."""
    ticket = studio.window.ticket
    studio.window.toasts.clear()
    instrument = ticket.flow.context.instrument
    assert instrument is not None
    ticket.form.quantity.edit.set_value(_TICKET_QUANTITY)
    ticket.form.price.edit.set_value(instrument.floor_price(studio.materials.session.price(BTC) * _TICKET_SHARE))
    yield
    ticket.back.click()
    for field in (ticket.form.quantity, ticket.form.price, ticket.form.stop):
        field.edit.clear()
    studio.window.toasts.clear()


def _ticket(studio: Studio) -> QPixmap:
    return studio.dock_picture(DockName.TICKET)


def _ticket_edit(studio: Studio) -> QPixmap:
    with _filled_ticket(studio):
        return _ticket(studio)


def _ticket_warning(studio: Studio) -> QPixmap:
    with _filled_ticket(studio):
        studio.window.ticket.form.price.edit.set_value(Decimal("80000.00"))
        studio.window.ticket.form.quantity.edit.set_value(Decimal("0.04000"))
        return _ticket(studio)


def _ticket_unreadable(studio: Studio) -> QPixmap:
    with _filled_ticket(studio):
        studio.window.ticket.form.quantity.edit.setText("0,001")
        return _ticket(studio)


def _ticket_stop(studio: Studio) -> QPixmap:
    with _filled_ticket(studio):
        ticket = studio.window.ticket
        kinds = list(OrderType)
        ticket.form.order_type.setCurrentIndex(kinds.index(OrderType.STOP_LOSS_LIMIT))
        # A breakout: it buys once the market has risen, at no more than a little above the stop.
        session = studio.materials.session
        ticket.form.stop.edit.set_value(session.part_of_price(BTC, 1.01))
        ticket.form.price.edit.set_value(session.part_of_price(BTC, 1.012))
        taken = _ticket(studio)
        ticket.form.order_type.setCurrentIndex(kinds.index(OrderType.LIMIT))
        return taken


def _ticket_review(studio: Studio) -> QPixmap:
    with _filled_ticket(studio):
        studio.window.ticket.deed.click()
        return _ticket(studio)


def _ticket_sending(studio: Studio) -> QPixmap:
    with _filled_ticket(studio):
        draft = _send(studio)
        taken = _ticket(studio)
        studio.hear(OrderUpdated(_answer(studio, draft, OrderState.CANCELED, "")))
        return taken


def _ticket_answer(studio: Studio, *, state: OrderState, text: str) -> QPixmap:
    with _filled_ticket(studio):
        draft = _send(studio)
        studio.hear(OrderUpdated(_answer(studio, draft, state, text)))
        studio.window.toasts.clear()
        return _ticket(studio)


def _send(studio: Studio) -> OrderDraft:
    """Press the button twice: review, send."""
    studio.window.ticket.deed.click()
    studio.clock.advance(NS_PER_S)  # a double click sends nothing
    studio.window.ticket.deed.click()
    draft = studio.commands.draft
    assert draft is not None
    return draft


def _answer(studio: Studio, draft: OrderDraft, state: OrderState, text: str) -> Order:
    """Return the order the executor would report for a draft."""
    number = studio.next_number()
    intent = Intent(
        intent_id=f"ticket-{number}",
        source=IntentSource.MANUAL,
        owner="manual",
        symbol=draft.symbol,
        side=draft.side,
        quantity=draft.quantity,
        order_type=draft.order_type,
        limit_price=draft.limit_price,
        stop_price=draft.stop_price,
        time_in_force=draft.time_in_force,
        created_ns=NOW_NS,
    )
    filled = draft.quantity if state is OrderState.FILLED else Decimal(0)
    return Order(
        f"maru-t{number:05d}",
        intent,
        state,
        filled_quantity=filled,
        message=text,
        submitted_ns=NOW_NS,
        average_price=draft.limit_price if filled else None,
        updated_ns=NOW_NS,
    )


def _ticket_manual(studio: Studio) -> QPixmap:
    """The market was taken over from its strategy."""
    studio.window.on_executor_event(OwnershipChanged(BTC, Ownership.MANUAL, "person"))
    taken = _ticket(studio)
    studio.window.on_executor_event(OwnershipChanged(BTC, Ownership.SHARED, "person"))
    return taken
