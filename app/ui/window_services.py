"""What the main window is given. Values and protocols only; GUI thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.language import LanguageManager
from app.models.keys_model import KeysModel
from app.services import MarketCommands, TradingCommands, TrainingCommands
from app.settings import Settings
from app.theme import ThemeManager


def _nothing_at_stake() -> list[str]:
    return []


def _no_tray() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class WindowServices:
    """Everything the window may ask of the rest of the program.

    Attributes:
        trading, market, training: commands; they return at once.
        theme, language, settings: look and memory.
        close_warnings: one translated sentence for each thing at stake that the window does not know itself.
        tray_available: whether hiding the window leaves a way back, asked at the moment of closing.
        keys: the API keys; None where there is nobody to keep them.
        version: shown in About.
        now_ns: wall time, ns UTC.
    """

    trading: TradingCommands
    market: MarketCommands
    training: TrainingCommands
    theme: ThemeManager
    language: LanguageManager
    settings: Settings
    close_warnings: Callable[[], list[str]] = _nothing_at_stake
    tray_available: Callable[[], bool] = _no_tray
    keys: KeysModel | None = None
    version: str = ""
    now_ns: Callable[[], int] = time.time_ns
