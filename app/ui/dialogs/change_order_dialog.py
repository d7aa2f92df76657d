"""Changing a working order: price, stop price and quantity. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QKeyEvent, QShowEvent
from PySide6.QtWidgets import QDialog, QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.flows.order_care import ChangeInput, ChangeJudgement, describe, judge_change
from app.flows.order_flow import TicketContext
from app.i18n import tr
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look
from app.ui.widgets.decimal_edit import DecimalField
from app.ui.widgets.fit import fit_height
from app.ui.widgets.mode_badge import mode_word
from core.domain.orders import Order, OrderType, TradingMode

LOOK_MS = 500


class ChangeOrderDialog(QDialog):
    """A form for an `OrderChange`; Ctrl+Enter or the button asks for it.

    Args:
        present: returns the order as it stands, None where it is not known any more.
        context: returns what an order ticket for its market would see.
        mode: returns which money is moved, None before the executor said so.

    Signals:
        change_requested: client order id and the `OrderChange`.
    """

    change_requested = Signal(str, object)

    def __init__(
        self,
        order: Order,
        present: Callable[[], Order | None],
        context: Callable[[], TicketContext],
        mode: Callable[[], TradingMode | None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._order = order
        self._present = present
        self._context = context
        self._mode = mode
        self.setObjectName(f"change_{order.client_order_id}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Change order"))
        self.setMinimumWidth(110 * GRID)
        self.price, self.stop = self._field("change_price", tr("Price")), self._field("change_stop", tr("Stop price"))
        self.quantity = self._field("change_quantity", tr("Quantity in total"), round_down=True)
        self.preview = self._line("change_preview")
        self.warning = self._line("change_warning", "warning")
        self.leave = QPushButton(tr("Cancel"), self)
        self.leave.setObjectName("change_cancel")
        self.change = QPushButton(self)
        self.change.setObjectName("change_deed")
        set_look(self.change, "variant", "primary")
        for button in (self.change, self.leave):
            button.setAutoDefault(False)  # Enter in a field sends nothing
        self._lay_out()
        self._fill()
        for field in (self.price, self.stop, self.quantity):
            field.edit.value_changed.connect(self.refresh)
        self.change.clicked.connect(self._on_change)
        self.leave.clicked.connect(self.reject)
        self._clock = QTimer(self)
        self._clock.setInterval(LOOK_MS)
        self._clock.timeout.connect(self.refresh)
        self._clock.start()
        self.refresh()
        self.price.edit.setFocus()
        self.price.edit.selectAll()

    @property
    def has_stop(self) -> bool:
        """Whether the order has a stop price."""
        return self._order.intent.order_type is OrderType.STOP_LOSS_LIMIT

    @Slot()
    def refresh(self) -> None:
        """Judge what stands in the fields against the order and the market as they are now."""
        problem, judged = self._judge()
        blocker = problem or (judged.blocker.text() if judged.blocker else "")
        self.preview.setText(blocker or (judged.preview.text() if judged.preview else ""))
        set_look(self.preview, "role", "muted" if blocker else "")
        self.warning.setText("\n".join(f"⚠ {warning.text()}" for warning in judged.warnings))
        self.warning.setVisible(bool(judged.warnings))
        mode = self._mode()
        text = tr("Change order") if mode is None else tr("Change order ({mode})", mode=mode_word(mode))
        self.change.setText(text)
        self.change.setAccessibleName(text)
        self.change.setEnabled(not blocker and judged.change is not None)
        self.change.setToolTip(blocker or tr("Send (Ctrl+Enter)"))
        self._fit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        control = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier == Qt.KeyboardModifier.ControlModifier
        if control and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.change.click()
            return
        super().keyPressEvent(event)

    def _judge(self) -> tuple[str, ChangeJudgement]:
        """Return why a field cannot be read, "" where all can, and the judgement."""
        problems = [field.edit.problem() for field in (self.price, self.stop, self.quantity)]
        problem = next((p.text() for p in problems if p is not None), "")
        entry = ChangeInput(
            self.quantity.edit.rounded(),
            self.price.edit.rounded(),
            self.stop.edit.rounded() if self.has_stop else None,
        )
        return problem, judge_change(self._present() or self._order, entry, self._context())

    def _fill(self) -> None:
        intent, instrument = self._order.intent, self._context().instrument
        base, _, quote = intent.symbol.partition("/")
        if instrument is not None:
            self.quantity.edit.set_step(instrument.lot_size)
            for field in (self.price, self.stop):
                field.edit.set_step(instrument.tick_size)
        self.quantity.set_unit(base)
        self.quantity.edit.set_value(intent.quantity)
        for field, value in ((self.price, intent.limit_price), (self.stop, intent.stop_price)):
            field.set_unit(quote)
            field.edit.set_value(value)

    def _lay_out(self) -> None:
        heading = self._line("change_order", "heading")
        heading.setText(describe(self._order.intent, self._context().instrument).text())
        hint = self._line("change_hint", "small")
        hint.setText(
            tr(
                "The order is cancelled first; the new one is sent only once that is proven. "
                "Its place in the queue is lost."
            )
        )
        form = QFormLayout()
        form.setHorizontalSpacing(SPACE_M)
        form.setVerticalSpacing(SPACE_S)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        form.addRow(tr("Price"), self.price)
        if self.has_stop:
            form.addRow(tr("Stop price"), self.stop)
        self.stop.setVisible(self.has_stop)
        form.addRow(tr("Quantity in total"), self.quantity)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addStretch(1)
        buttons.addWidget(self.leave)
        buttons.addWidget(self.change)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        for widget in (heading, hint):
            layout.addWidget(widget)
        layout.addLayout(form)
        layout.addWidget(self.warning)
        layout.addWidget(self.preview)
        layout.addStretch(1)
        layout.addLayout(buttons)

    def _field(self, name: str, title: str, *, round_down: bool = False) -> DecimalField:
        field = DecimalField(parent=self, round_down=round_down)
        field.edit.setObjectName(name)
        field.edit.setAccessibleName(title)
        return field

    def _line(self, name: str, role: str = "") -> QLabel:
        label = QLabel(self)
        label.setObjectName(name)
        label.setWordWrap(True)
        if role:
            set_look(label, "role", role)
        return label

    def _fit(self) -> None:
        fit_height(self, max(self.width(), self.minimumWidth()))

    @Slot()
    def _on_change(self) -> None:
        problem, judged = self._judge()
        if not problem and judged.change is not None:
            self.change_requested.emit(self._order.client_order_id, judged.change)
            self.accept()
