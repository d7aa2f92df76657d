"""Deciding on an order without an answer: what is known, and what a person can do. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QCheckBox, QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.flows.order_care import describe, outcome_of
from app.i18n import format_time, tr
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look
from app.ui.widgets.fit import fit_height
from core.domain.instruments import Instrument
from core.domain.orders import Order

LOOK_MS = 250


class ResolveDialog(QDialog):
    """Follows one order until its fate is known.

    Args:
        present: returns the order as it stands, None where it is not known any more.
        instrument: the rules of its market, None while they are not known.
        now_ns: wall time, ns UTC.

    Signals:
        ask_requested: client order id; ask the exchange now.
        gone_requested: client order id; the person saw that the exchange does not have it.
    """

    ask_requested = Signal(str)
    gone_requested = Signal(str)

    def __init__(
        self,
        order: Order,
        present: Callable[[], Order | None],
        instrument: Instrument | None,
        now_ns: Callable[[], int],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._order = order
        self._present = present
        self._now_ns = now_ns
        self.setObjectName(f"resolve_{order.client_order_id}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Order without an answer"))
        self.setMinimumWidth(120 * GRID)
        self.what = self._line("resolve_order", describe(order.intent, instrument).text(), "heading")
        self.looked = QCheckBox(tr("I looked at the exchange's own page and this order is not there"), self)
        self.looked.setObjectName("resolve_looked")
        self.status = self._line("resolve_status", "", "muted")
        self.gone = self._button("resolve_gone", tr("The exchange does not have it"), "danger")
        self.leave = self._button("resolve_close", tr("Close"))
        self.ask = self._button("resolve_ask", tr("Ask the exchange again"), "primary")
        self.gone.setEnabled(False)
        self.ask.setDefault(True)
        self._lay_out(self._facts())
        self.looked.toggled.connect(self._on_looked)
        self.ask.clicked.connect(self._on_ask)
        self.gone.clicked.connect(self._on_gone)
        self.leave.clicked.connect(self.reject)
        self._clock = QTimer(self)
        self._clock.setInterval(LOOK_MS)
        self._clock.timeout.connect(self.refresh)
        self._clock.start()
        self.ask.setFocus()

    @Slot()
    def refresh(self) -> None:
        """Look at the order; once its fate is known only closing is left."""
        order = self._present()
        outcome = None if order is None else outcome_of(order)
        if outcome is None:
            return
        self._clock.stop()
        self.status.setText(outcome.text())
        set_look(self.status, "role", "success")
        facts = self.findChildren(QLabel, "resolve_fact")  # true no longer
        for widget in (*facts, self.looked, self.gone, self.ask):
            widget.hide()
        self.leave.setDefault(True)
        self.leave.setFocus()
        self._fit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()
        self._fit()

    def _facts(self) -> tuple[str, ...]:
        sent_ns = self._order.submitted_ns or self._order.intent.created_ns
        return (
            tr("Sent at {time}. The exchange has not said what became of it.", time=format_time(sent_ns)),
            tr("It may be working, be filled, or never have arrived. Nothing is sent again by itself."),
            tr(
                "Until it is decided, no order may grow the exposure in {symbol}; orders that reduce it pass.",
                symbol=self._order.intent.symbol,
            ),
            tr("The exchange is asked again by itself as well; this dialog shows what it says."),
        )

    def _lay_out(self, facts: tuple[str, ...]) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addWidget(self.gone)
        buttons.addStretch(1)
        buttons.addWidget(self.leave)
        buttons.addWidget(self.ask)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        layout.addWidget(self.what)
        for fact in facts:
            layout.addWidget(self._line("resolve_fact", f"•  {fact}"))
        layout.addWidget(self.looked)
        layout.addWidget(self.status)
        layout.addStretch(1)
        layout.addLayout(buttons)

    def _line(self, name: str, text: str, role: str = "") -> QLabel:
        label = QLabel(text, self)
        label.setObjectName(name)
        label.setWordWrap(True)
        if role:
            set_look(label, "role", role)
        return label

    def _button(self, name: str, text: str, variant: str = "") -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setAutoDefault(False)
        if variant:
            set_look(button, "variant", variant)
        return button

    def _say(self, text: str) -> None:
        self.status.setText(text)
        self._fit()

    def _fit(self) -> None:
        if (layout := self.layout()) is not None:
            layout.activate()  # what was hidden just now still sets the smallest height
        fit_height(self, max(self.width(), self.minimumWidth()))

    @Slot(bool)
    def _on_looked(self, looked: bool) -> None:
        self.gone.setEnabled(looked)

    @Slot()
    def _on_ask(self) -> None:
        self._say(tr("Asked at {time}. Its answer is shown here.", time=format_time(self._now_ns())))
        self.ask_requested.emit(self._order.client_order_id)

    @Slot()
    def _on_gone(self) -> None:
        self.looked.setChecked(False)  # each word needs a look of its own
        self._say(tr("The exchange is asked once more; what it knows counts."))
        self.gone_requested.emit(self._order.client_order_id)
