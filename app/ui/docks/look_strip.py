"""The strip above the chart that says which model is looked at, and takes it away. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QApplication, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.flows.look_words import look_cautions, look_facts, look_state, look_title
from app.i18n import tr
from app.models.model_look import ModelLook
from app.theme import ICON_SIZE_M, SPACE_S, SPACE_XS, ThemeManager, set_look
from app.ui.widgets.elided_label import ElidedLabel
from app.ui.widgets.heat_legend import HeatLegend


class LookStrip(QWidget):
    """Hidden while no model is looked at.

    Signals:
        market_wanted: the chart shall show the model's market again.
        card_wanted(str): what is known of this model id.
        ended: the model shall go from the chart.
    """

    market_wanted = Signal()
    card_wanted = Signal(str)
    ended = Signal()

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("look_strip")
        self._theme = theme
        self._look: ModelLook | None = None
        self._traded = False
        # It says what has room; it must not keep the window from becoming narrow.
        self.setMinimumWidth(1)
        self._picture = QLabel(self)
        self.title = ElidedLabel(parent=self)
        set_look(self.title, "role", "strong")
        self.state = ElidedLabel(parent=self)
        self.caution = ElidedLabel(parent=self)
        set_look(self.caution, "role", "warning")
        self.scale = HeatLegend(theme.palette, self)
        self.scale.hide()
        self.market = self._button("look_market")
        self.card = self._button("look_card")
        self.end = self._button("look_end")
        self.market.clicked.connect(self.market_wanted)
        self.card.clicked.connect(self._on_card)
        self.end.clicked.connect(self.ended)
        texts = QVBoxLayout()
        texts.setSpacing(0)
        for label in (self.title, self.state, self.caution):
            texts.addWidget(label)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE_S, 0, SPACE_S, SPACE_XS)
        row.setSpacing(SPACE_S)
        row.addWidget(self._picture)
        row.addLayout(texts, 1)
        row.addWidget(self.scale)
        for button in (self.market, self.card, self.end):
            row.addWidget(button)
        self.retranslate()
        self.refresh_look()

    def show_look(self, look: ModelLook | None, traded: bool) -> None:
        """Show a model, None for none.

        Args:
            look: the model.
            traded: whether a running strategy trades with it.
        """
        self._look, self._traded = look, traded
        self._write()

    def show_scale(self, most: float | None) -> None:
        """Show which colour on the chart is which weight, up to this size of it; None for no colours."""
        self.scale.setVisible(most is not None)
        if most is not None:
            self.scale.set_most(most)

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.scale.retranslate()
        self.market.setText(tr("Its market"))
        self.market.setToolTip(tr("Show the market and bar length this model knows"))
        self.card.setText(tr("Model"))
        self.card.setToolTip(tr("Show what is known of this model"))
        self.end.setText(tr("Take off"))
        self.end.setToolTip(tr("Take this model off the chart"))
        self._write()

    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        self._picture.setPixmap(self._theme.icon("eye").pixmap(ICON_SIZE_M, ICON_SIZE_M))
        self.end.setIcon(self._theme.icon("x"))
        self.scale.set_palette(self._theme.palette)

    def _button(self, name: str) -> QPushButton:
        button = QPushButton(self)
        button.setObjectName(name)
        set_look(button, "variant", "quiet")
        return button

    def _write(self) -> None:
        look = self._look
        focused, panel = QApplication.focusWidget(), self.parentWidget()
        if look is None and panel is not None and focused is not None and self.isAncestorOf(focused):
            # Qt would hand the focus to the next button: a second press of the space bar would press that one.
            panel.setFocus(Qt.FocusReason.OtherFocusReason)
        self.setVisible(look is not None)
        if look is None:
            return
        cautions = look_cautions(look)
        self.title.set_full_text(look_title(look, self._traded))
        self.title.set_hint("\n".join(look_facts(look)))
        self.state.set_full_text(look_state(look))
        set_look(self.state, "role", "danger" if look.here and look.problem is not None else "small")
        self.caution.set_full_text(" ".join(cautions))
        self.caution.setVisible(bool(cautions))
        self.market.setVisible(not look.here)

    @Slot()
    def _on_card(self) -> None:
        if self._look is not None:
            self.card_wanted.emit(self._look.model.model_id)
