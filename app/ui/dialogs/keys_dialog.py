"""The API keys: what they are called, where they are kept, what they may do. Never the keys. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.flows.keys_flow import key_ending, permission_details, permission_text, store_title
from app.i18n import tr
from app.models.keys_model import KeysModel
from app.theme import GRID, ROW_HEIGHT, SPACE_L, SPACE_M, SPACE_S, set_look
from app.ui.dialogs.add_key_dialog import AddKeyDialog, masked_field
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from core.secrets.keys import KeyRecord, StoreKind


class KeysDialog(QDialog):
    """Lists the keys and starts what can be done with them; the answers come by the model.

    Args:
        model: shared with whoever answers.
    """

    def __init__(self, model: KeysModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.setObjectName("keys_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("API keys"))
        self.setMinimumSize(180 * GRID, 100 * GRID)
        self.table = QTableWidget(0, 5, self)
        self.table.setObjectName("keys_table")
        self.details = QLabel(self)
        self.details.setObjectName("key_details")
        self.details.setWordWrap(True)
        self.passphrase = masked_field(self, "keys_passphrase")
        self.passphrase.setPlaceholderText(tr("Passphrase of the encrypted file"))
        self.state = QLabel(self)
        self.state.setObjectName("keys_state")
        self.state.setWordWrap(True)
        self.add = self._button("keys_add", tr("Add…"))
        self.test = self._button("keys_test", tr("Test"))
        self.remove = self._button("keys_remove", tr("Remove…"))
        self.close_button = self._button("keys_close", tr("Close"))
        self._set_up_table()
        self._lay_out()
        self.add.clicked.connect(self._on_add)
        self.test.clicked.connect(self._on_test)
        self.remove.clicked.connect(self._on_remove)
        self.close_button.clicked.connect(self.close)
        self.table.itemSelectionChanged.connect(self._on_selection)
        self.passphrase.textChanged.connect(self._on_selection)
        model.changed.connect(self._on_changed)
        self._on_changed()
        model.refresh()

    def _button(self, name: str, text: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setAutoDefault(False)
        return button

    def _set_up_table(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels([tr("Name"), tr("Venue"), tr("Key"), tr("Kept in"), tr("Permissions")])
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setShowGrid(False)
        table.setTabKeyNavigation(False)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)

    def _lay_out(self) -> None:
        hint = QLabel(
            tr("Keys for trading with real money. They stay in the store you choose and are never shown again."), self
        )
        hint.setWordWrap(True)
        set_look(hint, "role", "muted")
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        for button in (self.add, self.test, self.remove):
            buttons.addWidget(button)
        buttons.addStretch(1)
        buttons.addWidget(self.close_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        layout.addWidget(hint)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.details)
        layout.addWidget(self.passphrase)
        layout.addWidget(self.state)
        layout.addLayout(buttons)

    def selected(self) -> KeyRecord | None:
        """Return the selected key."""
        row = self.table.currentRow()
        item = self.table.item(row, 0) if self.table.selectedItems() else None
        return None if item is None else self._model.flow.record(item.text())

    @Slot()
    def _on_changed(self) -> None:
        flow = self._model.flow
        chosen = self.selected()
        records = flow.records or ()
        self.table.setRowCount(len(records))
        for row, record in enumerate(records):
            cells = (record.name, record.venue, key_ending(record), store_title(record.store), permission_text(record))
            for column, text in enumerate(cells):
                self.table.setItem(row, column, QTableWidgetItem(text))
            if (chosen is not None and record.name == chosen.name) or len(records) == 1:
                self.table.selectRow(row)
        self.state.setText(flow.busy or flow.told)
        set_look(self.state, "role", "warning" if flow.is_trouble else "muted")
        self._on_selection()

    @Slot()
    def _on_selection(self) -> None:
        record, flow = self.selected(), self._model.flow
        if record is not None:
            self.details.setText(permission_details(record))
        elif flow.records is None:
            self.details.clear()  # nobody knows yet
        elif flow.records:
            self.details.setText(tr("Select a key to see what it may do."))
        else:
            self.details.setText(tr("There is no key yet. The practice exchange needs none."))
        locked = record is not None and flow.needs_passphrase(record.store)
        self.passphrase.setVisible(locked)
        usable = record is not None and not flow.busy and not (locked and not self.passphrase.text())
        self.test.setEnabled(usable)
        self.remove.setEnabled(usable and record is not None and record.store is not StoreKind.ENVIRONMENT)
        self.add.setEnabled(not flow.busy and flow.records is not None)

    @Slot()
    def _on_add(self) -> None:
        dialog = AddKeyDialog(self._model.flow, self._model.venues, self)
        dialog.entered.connect(self._model.add)
        dialog.show()

    @Slot()
    def _on_test(self) -> None:
        record = self.selected()
        if record is not None:
            self._model.check(record.name, self._take_passphrase())

    @Slot()
    def _on_remove(self) -> None:
        record = self.selected()
        if record is None:
            return
        dialog = ConfirmDialog(
            self,
            name="remove_key_dialog",
            title=tr("Remove the key {name}?", name=record.name),
            text=tr("It is forgotten on this computer. On the venue's page it stays valid: delete it there as well."),
        )
        dialog.offer("remove", tr("Remove"), keep=tr("Keep it"), subject=record.name)
        dialog.agreed.connect(self._on_remove_agreed)
        dialog.show()

    @Slot(object)
    def _on_remove_agreed(self, name: str) -> None:
        self._model.remove(name, self._take_passphrase())

    def _take_passphrase(self) -> str:
        text = self.passphrase.text()
        self.passphrase.clear()
        return text

    def done(self, result: int) -> None:
        self.passphrase.clear()
        super().done(result)
