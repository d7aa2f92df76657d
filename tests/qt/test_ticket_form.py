from __future__ import annotations

from decimal import Decimal

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QKeyEvent, QWheelEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from app.flows.order_flow import TicketInput
from app.flows.sample_session import sample_instruments
from app.ui.docks.ticket_form import TicketForm
from core.domain.orders import MANUAL_OWNER, OrderType, Side

BTC, ETH, _SOL = sample_instruments()


class Page(QWidget):
    """A page with nothing but the form, whose only own key is X."""

    def __init__(self) -> None:
        super().__init__()
        self.form = TicketForm(self, self.take_key)
        self.setLayout(self.form.layout)
        self.form.retranslate()
        self.form.adopt(BTC)
        self.entries: list[TicketInput] = []
        self.form.edited.connect(lambda: self.entries.append(self.form.entry()))

    def take_key(self, event: QKeyEvent) -> bool:
        return event.key() == Qt.Key.Key_X


@pytest.fixture
def page(qtbot: QtBot) -> Page:
    page = Page()
    qtbot.addWidget(page)
    page.show()
    return page


def test_the_page_gets_every_key_before_the_field(qtbot: QtBot, page: Page) -> None:
    qtbot.keyClicks(page.form.quantity.edit, "1x2")
    assert page.form.quantity.edit.text() == "12"


def test_what_the_type_does_not_use_is_not_part_of_the_entry(page: Page) -> None:
    form = page.form
    form.write_price(Decimal("61200"))
    assert page.entries[-1].limit_price == Decimal("61200")
    form.write_close(Side.SELL, Decimal("0.3"), "trend")
    assert page.entries[-1] == TicketInput(Side.SELL, OrderType.MARKET, Decimal("0.3"), reduce_only=True, owner="trend")
    form.write_price(Decimal("61000"))
    assert page.entries[-1].order_type is OrderType.LIMIT
    assert page.entries[-1].limit_price == Decimal("61000")


def test_another_market_is_the_persons_own(page: Page) -> None:
    page.form.write_close(Side.SELL, Decimal("0.3"), "trend")
    page.form.adopt(ETH)
    assert page.entries[-1].owner == MANUAL_OWNER
    assert page.entries[-1].quantity is None


def test_a_field_out_of_use_has_no_problem(page: Page) -> None:
    page.form.price.edit.setText("0,1")
    assert "ambiguous" in page.form.problem()
    page.form.order_type.setCurrentIndex(list(OrderType).index(OrderType.MARKET))
    assert page.form.problem() == ""


def test_a_share_is_handed_on(qtbot: QtBot, page: Page) -> None:
    with qtbot.waitSignal(page.form.share_chosen) as chosen:
        qtbot.mouseClick(page.form.shares[1], Qt.MouseButton.LeftButton)
    assert chosen.args == [Decimal("0.25")]
    assert page.entries == []


def test_the_wheel_passes_over_a_choice_without_changing_it(page: Page) -> None:
    combo = page.form.order_type
    page.form.quantity.edit.setFocus()
    centre = combo.rect().center()
    notch = QWheelEvent(
        QPointF(centre),
        QPointF(combo.mapToGlobal(centre)),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(combo, notch)
    assert page.form.kind is OrderType.LIMIT
    assert page.entries == []
