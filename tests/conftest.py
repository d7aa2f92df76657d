"""What every test shares: an offscreen screen, no real home folder, real data where present."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from app.language import LanguageManager
    from app.theme import ThemeManager

# Before anything imports Qt.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["QT_API"] = "pyside6"

pytest_plugins = ["tests.trained_model"]

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _isolated_data_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's own folders and locks, whatever they forget to pass."""
    monkeypatch.setenv("MARU_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(tmp_path_factory.mktemp("locks")))


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real market data; tests using it are marked `realdata` and skipped where it is absent."""
    folder = Path(os.environ.get("MARU_REALDATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real market data: set MARU_REALDATA or place it in ../shared/data")
    return folder


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    """Start and end every test in English."""
    from app.i18n import Language, set_language

    set_language(Language.ENGLISH)
    yield
    set_language(Language.ENGLISH)


@pytest.fixture
def theme(qapp: QApplication) -> Iterator[ThemeManager]:
    """The dark theme; the test after this one finds an application without a style."""
    from app.theme import ThemeChoice, ThemeManager, UpDown

    manager = ThemeManager(qapp)
    manager.set_theme(ThemeChoice.DARK, UpDown.WESTERN)
    yield manager
    qapp.setStyleSheet("")


@pytest.fixture
def language(qapp: QApplication) -> LanguageManager:
    from app.language import LanguageManager

    return LanguageManager()
