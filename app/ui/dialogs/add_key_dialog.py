"""Entering an API key: masked, kept where its person chooses, never shown again. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.flows.keys_flow import STORES, KeyForm, KeysFlow, store_title
from app.i18n import tr
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look
from app.ui.widgets.fit import fit_height
from core.secrets.keys import StoreKind


def masked_field(parent: QWidget, name: str) -> QLineEdit:
    """Return a field whose text nobody reads over a shoulder, and no input method learns."""
    field = QLineEdit(parent)
    field.setObjectName(name)
    field.setEchoMode(QLineEdit.EchoMode.Password)
    field.setInputMethodHints(Qt.InputMethodHint.ImhSensitiveData | Qt.InputMethodHint.ImhNoPredictiveText)
    return field


class AddKeyDialog(QDialog):
    """A form for a `KeyDraft`; the button works once nothing is missing.

    Args:
        flow: says what is missing.
        venues: venues to choose from.

    Signals:
        entered: the `KeyDraft`.
    """

    entered = Signal(object)

    def __init__(self, flow: KeysFlow, venues: tuple[str, ...], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._flow = flow
        self.setObjectName("add_key_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Add API key"))
        self.setMinimumWidth(120 * GRID)
        self.name = QLineEdit(self)
        self.name.setObjectName("key_name")
        self.name.setPlaceholderText("main")
        self.venue = QComboBox(self)
        self.venue.setObjectName("key_venue")
        self.venue.addItems(list(venues))
        self.api_key = masked_field(self, "api_key")
        self.api_secret = masked_field(self, "api_secret")
        self.store = QComboBox(self)
        self.store.setObjectName("key_store")
        for kind in STORES:
            self.store.addItem(store_title(kind), kind)
        self.passphrase = masked_field(self, "key_passphrase")
        self.repeated = masked_field(self, "key_passphrase_again")
        self.word = QLineEdit(self)
        self.word.setObjectName("key_word")
        self.problem = QLabel(self)
        self.problem.setWordWrap(True)
        set_look(self.problem, "role", "warning")
        self.add = QPushButton(tr("Add key"), self)
        self.add.setObjectName("key_add")
        self.add.setDefault(True)
        set_look(self.add, "variant", "primary")
        self.cancel = QPushButton(tr("Cancel"), self)
        self._form = QFormLayout()
        self._lay_out()
        for field in (self.name, self.api_key, self.api_secret, self.passphrase, self.repeated, self.word):
            field.textChanged.connect(self._on_changed)
        self.venue.currentIndexChanged.connect(self._on_changed)
        self.store.currentIndexChanged.connect(self._on_changed)
        self.add.clicked.connect(self._on_add)
        self.cancel.clicked.connect(self.reject)
        self._on_changed()

    def _lay_out(self) -> None:
        form = self._form
        form.setHorizontalSpacing(SPACE_M)
        form.setVerticalSpacing(SPACE_S)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        hint = QLabel(tr("Make a key that may only read and trade. One that can withdraw is refused."), self)
        hint.setWordWrap(True)
        set_look(hint, "role", "muted")
        form.addRow(tr("Name"), self.name)
        form.addRow(tr("Venue"), self.venue)
        form.addRow(tr("API key"), self.api_key)
        form.addRow(tr("API secret"), self.api_secret)
        form.addRow(tr("Kept in"), self.store)
        form.addRow(tr("Passphrase"), self.passphrase)
        form.addRow(tr("Once more"), self.repeated)
        form.addRow(tr("Confirmation"), self.word)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addWidget(self.problem, 1)
        buttons.addWidget(self.cancel)
        buttons.addWidget(self.add)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        layout.addWidget(hint)
        layout.addLayout(form)
        layout.addStretch(1)
        layout.addLayout(buttons)

    def form(self) -> KeyForm:
        """Return what stands in the fields."""
        return KeyForm(
            self.name.text().strip(),
            self.venue.currentText(),
            self.api_key.text().strip(),
            self.api_secret.text().strip(),
            StoreKind(self.store.currentData()),  # Qt hands back a plain text
            self.passphrase.text(),
            self.repeated.text(),
            self.word.text(),
        )

    @Slot()
    def _on_changed(self) -> None:
        form = self.form()
        self._form.setRowVisible(self.passphrase, self._flow.needs_passphrase(form.store))
        self._form.setRowVisible(self.repeated, self._flow.chooses_passphrase(form.store))
        self._form.setRowVisible(self.word, self._flow.needs_word(form.venue))
        untouched = not (form.name or form.api_key or form.api_secret)
        complaint = self._flow.complaint(form)
        self.problem.setText("" if untouched else complaint)
        self.add.setEnabled(not complaint)
        fit_height(self, max(self.width(), self.minimumWidth()))

    @Slot()
    def _on_add(self) -> None:
        draft = self._flow.draft(self.form())
        if draft is not None:
            self.entered.emit(draft)
            self.accept()

    def done(self, result: int) -> None:
        for field in (self.api_key, self.api_secret, self.passphrase, self.repeated):
            field.clear()  # also what an undo would bring back
        super().done(result)
