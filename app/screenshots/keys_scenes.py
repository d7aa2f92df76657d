"""Pictures of the API keys: the list, what is refused, the form. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtGui import QPixmap

from app.flows.keys_flow import KeyDraft
from app.models.keys_model import KeyAnswer, KeysModel
from app.screenshots.market import NOW_NS
from app.screenshots.studio import Studio, settle
from app.ui.dialogs.add_key_dialog import AddKeyDialog
from app.ui.dialogs.keys_dialog import KeysDialog
from core.secrets.keys import KeyRecord, PermissionNote, StoreKind

# The core's own sentences, word for word: they are translated as in a real session.
_ANY_ADDRESS = "The venue takes this key from any address. Restrict it to the address of this machine."
_WITHDRAWS = ("this key can withdraw money", "Make a key that may only read and trade.")
_KEYS = (
    KeyRecord(
        "main",
        "binance",
        "x7Qf",
        "a",
        StoreKind.KEYRING,
        "",
        NOW_NS,
        permissions=PermissionNote(True, (_ANY_ADDRESS,), NOW_NS),
    ),
    KeyRecord(
        "old",
        "binance",
        "p03K",
        "b",
        StoreKind.KEYRING,
        "",
        NOW_NS,
        permissions=PermissionNote(False, _WITHDRAWS, NOW_NS),
    ),
    KeyRecord("server", "binance", "Zz81", "c", StoreKind.ENCRYPTED_FILE, "", NOW_NS),
)


class _Nobody:
    """Keeps no key (`app.models.keys_model.KeyCommands`)."""

    def list_keys(self) -> None:
        """Answer nothing; the scene does."""

    def add_key(self, draft: KeyDraft) -> None:
        """Keep nothing."""

    def remove_key(self, name: str, passphrase: str) -> None:
        """Forget nothing."""

    def check_key(self, name: str, passphrase: str) -> None:
        """Ask nobody."""


def keys_scenes() -> dict[str, Callable[[Studio], QPixmap]]:
    """Return picture name → how to take it."""
    return {"dialog_keys": _list, "dialog_keys_empty": _empty, "dialog_add_key": _form}


def _model(records: tuple[KeyRecord, ...]) -> KeysModel:
    model = KeysModel(_Nobody(), ("binance",), ("binance",))
    model.on_listed(records)
    return model


def _list(studio: Studio) -> QPixmap:
    model = _model(_KEYS)
    dialog = KeysDialog(model, studio.window)
    model.on_answered(KeyAnswer(""))
    dialog.table.selectRow(1)
    return _take(studio, dialog)


def _empty(studio: Studio) -> QPixmap:
    model = _model(())
    dialog = KeysDialog(model, studio.window)
    model.on_answered(KeyAnswer(""))
    return _take(studio, dialog)


def _form(studio: Studio) -> QPixmap:
    dialog = AddKeyDialog(_model(_KEYS[:2]).flow, ("binance",), studio.window)
    dialog.name.setText("server")
    dialog.api_key.setText("0" * 32)
    dialog.api_secret.setText("1" * 32)
    dialog.store.setCurrentIndex(1)
    return _take(studio, dialog)


def _take(studio: Studio, dialog: KeysDialog | AddKeyDialog) -> QPixmap:
    dialog.show()
    taken = studio.shoot(dialog)
    dialog.close()
    settle()
    return taken
