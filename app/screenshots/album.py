"""Takes the pictures and writes them as PNG files. GUI thread only; needs no network and writes only to its folder."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QApplication

from app.i18n import Language
from app.language import LanguageManager
from app.screenshots.scenes import picture_names, stages
from app.screenshots.studio import Materials, Studio
from app.theme import ThemeChoice, ThemeManager, UpDown, load_fonts
from core.config import APP_NAME
from core.errors import UserError


@dataclass(frozen=True, slots=True)
class Picture:
    """One file written.

    Attributes:
        width / height: px.
        clipped: texts that are cut off in it, one line each.
    """

    name: str
    path: Path
    width: int
    height: int
    clipped: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the picture as the command prints it."""
        return {"name": self.name, "path": str(self.path), "width": self.width, "height": self.height}


@dataclass(frozen=True, slots=True)
class Look:
    """How the program looks in the pictures.

    Attributes:
        size: of the main window, px.
    """

    language: Language
    theme: ThemeChoice
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture taken.

    Attributes:
        clipped: texts that are cut off in it, one line each.
    """

    name: str
    pixmap: QPixmap
    clipped: tuple[str, ...]


def choose(only: Sequence[str]) -> frozenset[str]:
    """Return the names of the pictures asked for; all where `only` is empty.

    Args:
        only: full names or their beginnings up to an underscore ("training_wizard" means all its pages).

    Raises:
        UserError: one of them names no picture.
    """
    names = picture_names()
    chosen: set[str] = set()
    for word in only:
        exact = [name for name in names if name == word]
        found = exact or [name for name in names if name.startswith(f"{word}_")]
        if not found:
            raise UserError(f"There is no picture named {word}.", f"Choose among: {', '.join(names)}.")
        chosen.update(found)
    return frozenset(chosen or names)


def take_pictures(
    folder: Path, look: Look, only: Sequence[str] = (), tell: Callable[[str], None] = lambda _: None
) -> list[Picture]:
    """Take the pictures and write them.

    Args:
        folder: made where it does not exist; files of the same names are replaced.
        look: language, theme and size.
        only: see `choose`.
        tell: hears the name of each picture before it is written.

    Raises:
        UserError: an unknown name, or the folder cannot be written.
    """
    wanted = choose(only)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UserError(f"The folder {folder} cannot be made: {exc.strerror}.", "Choose another one.") from exc
    written: list[Picture] = []
    with _quiet_platform():
        for shot in shoot(look, wanted):
            tell(shot.name)
            path = folder / f"{shot.name}.png"
            if not shot.pixmap.save(str(path), "PNG"):
                raise UserError(f"The picture {path} cannot be written.", "Check the free space and the rights.")
            written.append(Picture(shot.name, path, shot.pixmap.width(), shot.pixmap.height(), shot.clipped))
    return written


def shoot(look: Look, wanted: frozenset[str], materials: Materials | None = None) -> Iterator[Shot]:
    """Take each wanted picture.

    Args:
        look / wanted: see `Look` and `choose`.
        materials: to share between several looks; made where it is None.
    """
    application = _application()
    load_fonts()
    application.setCursorFlashTime(0)  # a caret that blinks would make every run different
    language, theme = LanguageManager(), ThemeManager(application)
    before = language.language
    language.set_language(look.language)
    theme.set_theme(look.theme, UpDown.WESTERN)
    materials = materials or Materials()
    try:
        for stage in stages():
            scenes = {name: take for name, take in stage.scenes.items() if name in wanted}
            if not scenes:
                continue
            with tempfile.TemporaryDirectory(prefix="maru-pictures-") as settings:
                studio = Studio(materials, theme, language, Path(settings), look.size)
                try:
                    stage.prepare(studio)
                    for name, take in scenes.items():
                        studio.clipped = []
                        pixmap = take(studio)
                        yield Shot(name, pixmap, tuple(studio.clipped))
                finally:
                    studio.close()
    finally:
        language.set_language(before)


@contextmanager
def _quiet_platform() -> Iterator[None]:
    """Keep to itself what a platform without windows says about each window: that it cannot place it."""

    def pass_on(_kind: QtMsgType, _context: QMessageLogContext, text: str) -> None:
        if not text.startswith("This plugin does not support"):
            sys.stderr.write(text + "\n")

    before = qInstallMessageHandler(pass_on)
    try:
        yield
    finally:
        qInstallMessageHandler(before)


def _application() -> QApplication:
    found = QApplication.instance()
    return found if isinstance(found, QApplication) else QApplication([APP_NAME])
