"""User settings: typed definitions over one INI file. GUI thread.

The file holds preferences and never secrets; those live in the keyring. A value that cannot be read falls back to its
default and is logged; a file that cannot be parsed is put aside, never overwritten.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from PySide6.QtCore import QObject, QSettings, Signal

from app.tokens import ThemeChoice, UpDown
from core.domain.orders import TradingMode

log = logging.getLogger(__name__)

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

SCHEMA_VERSION = 1
_VERSION_KEY = "meta/schema"
_FORBIDDEN = ("secret", "password", "passphrase", "api_key", "apikey", "token")


class LanguageChoice(StrEnum):
    """Language of the interface; SYSTEM follows the desktop at start."""

    SYSTEM = "system"
    ENGLISH = "en"
    KOREAN = "ko"


class CloseAction(StrEnum):
    """What closing the window does."""

    ASK = "ask"
    TRAY = "tray"
    QUIT = "quit"


@dataclass(frozen=True, slots=True)
class SettingDef(Generic[T]):
    """One setting.

    Attributes:
        key: "group/name" in the file; a constant, never translated.
        default: value where the file has none.
        decode: text → value; raises ValueError on text it does not accept.
        encode: value → text.
    """

    key: str
    default: T
    decode: Callable[[str], T]
    encode: Callable[[T], str] = str

    def __post_init__(self) -> None:
        if any(word in self.key.lower() for word in _FORBIDDEN):
            raise ValueError(f"secrets do not belong into the settings: {self.key}")


def _decode_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"neither true nor false: {text!r}")
    return text == "true"


def _decode_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError("not base64") from exc


def _decode_decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as exc:
        raise ValueError(f"not a number: {text!r}") from exc
    if not value.is_finite():
        raise ValueError(f"not a finite number: {text!r}")
    return value


def flag(key: str, default: bool) -> SettingDef[bool]:
    """Define a yes/no setting."""
    return SettingDef(key, default, _decode_bool, lambda value: "true" if value else "false")


def text(key: str, default: str) -> SettingDef[str]:
    """Define a text setting."""
    return SettingDef(key, default, str)


def choice(key: str, default: E) -> SettingDef[E]:
    """Define a setting with the values of an enumeration."""
    return SettingDef(key, default, type(default), lambda value: value.value)


def blob(key: str) -> SettingDef[bytes]:
    """Define a binary setting such as a saved window state; empty by default."""
    return SettingDef(key, b"", _decode_bytes, lambda value: base64.b64encode(value).decode())


def number(key: str, default: Decimal) -> SettingDef[Decimal]:
    """Define a decimal setting."""
    return SettingDef(key, default, _decode_decimal, lambda value: format(value, "f"))


def header_state(table: str) -> SettingDef[bytes]:
    """Define the saved columns of a table, by its object name."""
    return blob(f"tables/{table}")


def layout_state(preset: str) -> SettingDef[bytes]:
    """Define the last arrangement of the panels in a preset, by its name."""
    return blob(f"window/state_{preset}")


LANGUAGE = choice("look/language", LanguageChoice.SYSTEM)
THEME = choice("look/theme", ThemeChoice.SYSTEM)
UP_DOWN = choice("look/up_down", UpDown.WESTERN)
REDUCED_MOTION = flag("look/reduced_motion", False)
CLOSE_ACTION = choice("window/close_action", CloseAction.ASK)
WINDOW_GEOMETRY = blob("window/geometry")
LAYOUT_PRESET = text("window/layout_preset", "trading")
LAST_SYMBOL = text("market/symbol", "BTC/USDT")
LAST_TIMEFRAME = text("market/timeframe", "1m")
TRADING_MODE = choice("trading/mode", TradingMode.PRACTICE)  # what the next start opens; shown is what is open
PRACTICE_SPEED = number("practice/speed", Decimal(1))
CONFIRM_ORDERS = flag("trading/confirm_orders", True)
NOTIFY_FILLS = flag("notifications/fills", True)
NOTIFY_ERRORS = flag("notifications/errors", True)
NOTIFY_TRAINING = flag("notifications/training", True)
FIRST_RUN_DONE = flag("start/first_run_done", False)


class Settings(QObject):
    """Reads and writes settings.

    Signals:
        changed: key of a setting that was given another value.
    """

    changed = Signal(str)

    def __init__(self, path: Path, parent: QObject | None = None) -> None:
        """Open the file.

        Args:
            path: the INI file; made on the first write.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._path = path
        self._store = self._open()
        found = self._store.value(_VERSION_KEY)
        if found is not None and found != str(SCHEMA_VERSION):
            self._put_aside(f"schema-{found}")
            self._store = self._open()
        self._store.setValue(_VERSION_KEY, str(SCHEMA_VERSION))

    def get(self, setting: SettingDef[T]) -> T:
        """Return the value of a setting, or its default."""
        raw: Any = self._store.value(setting.key)
        if raw is None:
            return setting.default
        # Qt splits unquoted text at commas; our own writing never produces that.
        try:
            if not isinstance(raw, str):
                raise ValueError("not a single text")
            return setting.decode(raw)
        except ValueError as exc:
            log.warning("setting %s cannot be read (%s); the default is used", setting.key, exc)
            return setting.default

    def set(self, setting: SettingDef[T], value: T) -> None:
        """Change a setting; it reaches the file soon, or by `sync` at once."""
        if self.get(setting) == value and self._store.contains(setting.key):
            return
        self._store.setValue(setting.key, setting.encode(value))
        self.changed.emit(setting.key)

    def reset(self, setting: SettingDef[Any]) -> None:
        """Return a setting to its default."""
        self._store.remove(setting.key)
        self.changed.emit(setting.key)

    def sync(self) -> bool:
        """Write everything now; False where the file cannot be written."""
        self._store.sync()
        return self._store.status() is QSettings.Status.NoError

    def _open(self) -> QSettings:
        store = QSettings(str(self._path), QSettings.Format.IniFormat)
        store.allKeys()  # reads the file
        if store.status() is QSettings.Status.FormatError:
            self._put_aside("damaged")
            store = QSettings(str(self._path), QSettings.Format.IniFormat)
        return store

    def _put_aside(self, reason: str) -> None:
        kept = self._path.with_name(f"{self._path.name}.{reason}")
        log.warning("the settings file was put aside as %s", kept.name)
        os.replace(self._path, kept)
