"""What the tests of the window share: recorded commands, a theme and a window with a made-up session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication

from app.flows.sample_session import sample_events, sample_instruments, sample_tickers
from app.language import LanguageManager
from app.settings import Settings
from app.theme import ThemeChoice, ThemeManager, UpDown, load_fonts
from app.ui.main_window import MainWindow
from app.ui.window_services import WindowServices
from core.clock import NS_PER_S, ManualClock
from core.domain.orders import TradingMode

NOW_NS = 1_780_000_000 * NS_PER_S


class Recorder:
    """Stands in for any command protocol and remembers the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any, **named: Any) -> None:
            self.calls.append((name, *arguments, *named.values()))

        return call

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


def make_theme(qapp: QApplication) -> ThemeManager:
    load_fonts()
    theme = ThemeManager(qapp)
    theme.set_theme(ThemeChoice.DARK, UpDown.WESTERN)
    return theme


class WindowKit:
    """A window over recorded commands and a clock that stands still."""

    def __init__(self, qapp: QApplication, folder: Path, **services: Any) -> None:
        self.trading, self.market, self.training = Recorder(), Recorder(), Recorder()
        self.clock = ManualClock(NOW_NS)
        self.theme = make_theme(qapp)
        self.language = LanguageManager()
        self.settings = Settings(folder / "settings.ini")
        self.window = MainWindow(
            WindowServices(
                self.trading,  # type: ignore[arg-type]
                self.market,  # type: ignore[arg-type]
                self.training,  # type: ignore[arg-type]
                self.theme,
                self.language,
                self.settings,
                now_ns=self.clock.now_ns,
                **services,
            )
        )

    def play(self, mode: TradingMode = TradingMode.PRACTICE) -> None:
        """Feed the made-up session."""
        self.window.set_instruments(sample_instruments())
        for ticker in sample_tickers(NOW_NS):
            self.window.on_ticker(ticker)
        for event in sample_events(NOW_NS, mode):
            self.window.on_executor_event(event)
        self.window.refresh_now()

    def wait(self, seconds: float) -> None:
        self.clock.advance(int(seconds * NS_PER_S))

    def close(self) -> None:
        self.window.allow_close()
        self.window.deleteLater()
