"""A training wizard over made-up histories, and what a person does with it in tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget, QWizard
from pytestqt.qtbot import QtBot

from app.flows.datasets import (
    Dataset,
    DatasetGap,
    DeviceOption,
    SeriesExtent,
    SourceKind,
    StoredForecaster,
    device_options,
)
from app.flows.feature_catalogue import FeatureCatalogue, load_catalogue
from app.language import LanguageManager
from app.theme import ThemeManager
from app.ui.wizards.fields import Expander
from app.ui.wizards.step_page import StepPage
from app.ui.wizards.training_wizard import TrainingWizard
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, DataOrigin, practice_origin
from core.errors import UserError
from ml.api import SeriesSource

W = TypeVar("W", bound=QWidget)

START = 1_704_067_200_000_000_000
HOUR = Timeframe.H1.ns
PRACTICE = practice_origin("synthetic-1")


def dataset(
    symbol: str = "BTC/USDT",
    kind: SourceKind = SourceKind.STORE,
    bars: int = 9_000,
    path: str = "",
    origin: DataOrigin = BINANCE,
) -> Dataset:
    gap = DatasetGap(START + 50 * HOUR, START + 60 * HOUR, 10)
    last = START + (bars - 1) * HOUR
    return Dataset(kind, origin, symbol, Timeframe.H1, START, last, bars - 10, (gap,), (1.0, 3.0, 2.0), path)


def extent(first_ns: int = START, days: int = 400, per_day: int = 3) -> SeriesExtent:
    """Return the times of a series that is known so often a day."""
    return SeriesExtent(first_ns + np.arange(days * per_day, dtype=np.int64) * (24 * HOUR // per_day))


@cache
def catalogue() -> FeatureCatalogue:
    return load_catalogue()


class FakeSources:
    """Datasets in memory; a file named bad is damaged."""

    def __init__(self, *datasets: Dataset) -> None:
        self._datasets = datasets
        self.inspected: list[Path] = []
        self.read: list[SeriesSource] = []
        self.waiting: list[Callable[[FeatureCatalogue | UserError], None]] = []
        self.asked_forecasters: list[Callable[[Sequence[StoredForecaster] | UserError], None]] = []
        self.forecasters: Sequence[StoredForecaster] | UserError = ()
        self.answer_at_once = True

    def datasets(self) -> Sequence[Dataset]:
        return self._datasets

    def devices(self) -> Sequence[DeviceOption]:
        return device_options([])

    def inspect_file(self, path: Path, done: Callable[[Dataset | UserError], None]) -> None:
        self.inspected.append(path)
        if "bad" in path.name:
            done(UserError(f"{path.name} is damaged.", "Get the file again."))
        else:
            done(dataset("ETH/USDT", SourceKind.FILE, path=str(path)))

    def inspect_series(self, source: SeriesSource, done: Callable[[SeriesExtent | UserError], None]) -> None:
        self.read.append(source)
        if "bad" in source.path:
            done(UserError(f"{source.path} is damaged.", "Get the file again."))
        else:
            begins = {"later.csv": 40_000, "half.csv": 4_000}.get(Path(source.path).name, 0)
            done(extent(START + begins * HOUR))

    def load_forecasters(self, done: Callable[[Sequence[StoredForecaster] | UserError], None]) -> None:
        self.asked_forecasters.append(done)
        if self.answer_at_once:
            done(self.forecasters)

    def load_features(self, done: Callable[[FeatureCatalogue | UserError], None]) -> None:
        self.waiting.append(done)
        if self.answer_at_once:
            done(catalogue())


def shown_wizard(qtbot: QtBot, theme: ThemeManager, language: LanguageManager) -> TrainingWizard:
    """Return a wizard over two stored histories and one of the practice exchange."""
    practice = dataset(kind=SourceKind.PRACTICE, origin=PRACTICE)
    built = TrainingWizard(FakeSources(dataset(), dataset("ETH/USDT"), practice), theme, language)
    qtbot.addWidget(built)
    built.show()
    return built


def child(parent: QWidget, kind: type[W], name: str) -> W:
    """Return the child with this object name."""
    found = parent.findChild(kind, name)
    assert found is not None, name
    return found


def click(qtbot: QtBot, wizard: TrainingWizard, which: QWizard.WizardButton) -> None:
    qtbot.mouseClick(wizard.button(which), Qt.MouseButton.LeftButton)


def problem(wizard: TrainingWizard) -> str:
    page = wizard.currentPage()
    assert isinstance(page, StepPage)
    return page.shown_problem()


def open_advanced(wizard: TrainingWizard) -> Expander:
    expander = wizard.currentPage().findChild(Expander)
    assert isinstance(expander, Expander)
    expander.set_open(True)
    return expander
