"""The pictures of the program: all of them exist, show something, and cut no text off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QHBoxLayout, QLabel, QPushButton, QTabBar, QWidget

from app.commands.root import run_cli
from app.i18n import Language, current_language
from app.screenshots.album import Look, Shot, choose, shoot, take_pictures
from app.screenshots.clipping import clipped_texts
from app.screenshots.scenes import picture_names
from app.screenshots.studio import Materials, settle
from app.tokens import ThemeChoice
from app.ui.widgets.elided_label import ElidedLabel
from core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SIZE = (1280, 720)
MAIN = tuple(name for name in picture_names() if name.startswith("main_window"))
WIZARD = tuple(name for name in picture_names() if name.startswith("training_wizard"))


@pytest.fixture(scope="module")
def materials() -> Materials:
    return Materials()


@pytest.fixture(autouse=True)
def _plain_style(qapp: QApplication) -> Iterator[None]:
    yield
    qapp.setStyleSheet("")
    assert current_language() is Language.ENGLISH


def look(language: Language, theme: ThemeChoice) -> Look:
    return Look(language, theme, SIZE)


def colours(image: QImage) -> int:
    """Count colours at sampled points, up to a few."""
    seen: set[int] = set()
    for x in range(0, image.width(), 5):
        for y in range(0, image.height(), 5):
            seen.add(image.pixel(x, y))
            if len(seen) > 3:
                return len(seen)
    return len(seen)


def check(shots: list[Shot]) -> None:
    assert [f"{shot.name}: {line}" for shot in shots for line in shot.clipped] == []
    for shot in shots:
        if shot.name.startswith("main_window"):
            assert (shot.pixmap.width(), shot.pixmap.height()) == SIZE, shot.name
        assert min(shot.pixmap.width(), shot.pixmap.height()) > 20, shot.name
        assert colours(shot.pixmap.toImage()) > 2, f"{shot.name} is empty"


@pytest.mark.parametrize(
    ("language", "theme"), [(Language.ENGLISH, ThemeChoice.DARK), (Language.KOREAN, ThemeChoice.LIGHT)]
)
def test_every_picture_shows_something_and_cuts_no_text_off(
    materials: Materials, language: Language, theme: ThemeChoice
) -> None:
    shots = list(shoot(look(language, theme), choose(()), materials))
    assert [shot.name for shot in shots] == list(picture_names())
    check(shots)


@pytest.mark.parametrize(
    ("language", "theme"), [(Language.ENGLISH, ThemeChoice.LIGHT), (Language.KOREAN, ThemeChoice.DARK)]
)
def test_the_other_looks(materials: Materials, language: Language, theme: ThemeChoice) -> None:
    check(
        list(
            shoot(
                look(language, theme),
                frozenset({"main_window", "main_window_training", "training_wizard_7_review"}),
                materials,
            )
        )
    )


def test_the_same_look_twice_is_the_same_picture_and_other_looks_are_not(materials: Materials) -> None:
    only = frozenset({"main_window"})
    first, again, korean, light = (
        next(shoot(look(language, theme), only, materials)).pixmap.toImage()
        for language, theme in (
            (Language.ENGLISH, ThemeChoice.DARK),
            (Language.ENGLISH, ThemeChoice.DARK),
            (Language.KOREAN, ThemeChoice.DARK),
            (Language.ENGLISH, ThemeChoice.LIGHT),
        )
    )
    assert first == again
    assert first != korean
    assert first != light
    assert korean != light


def test_names_and_their_beginnings() -> None:
    assert choose(["main_window"]) == {"main_window"}
    assert choose(["training_wizard"]) == set(WIZARD)
    assert {"main_window_live", "main_window_paper", "main_window_halted", "main_window_empty"} <= set(MAIN)
    assert "training_wizard_1_data" in WIZARD
    assert choose(()) == set(picture_names())
    with pytest.raises(UserError, match="no picture named wizzard"):
        choose(["wizzard"])
    with pytest.raises(UserError):
        choose(["main_win"])


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        take_pictures(tmp_path / "file" / "pictures", look(Language.ENGLISH, ThemeChoice.DARK), ["tray_icons"])


@pytest.mark.parametrize(
    "options", [["--lang", "fr"], ["--theme", "pink"], ["--size", "big"], ["--size", "10x10"], ["--only", "nothing"]]
)
def test_bad_options_end_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", os.environ.get("TZ", "UTC"))
    assert run_cli(["screenshots", "--out", str(tmp_path), *options, "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert all(answer[key] for key in ("error", "remedy"))
    assert list(tmp_path.iterdir()) == []


def test_the_command_draws_without_a_display(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("QT_QPA_PLATFORM", "DISPLAY")}
    command = [sys.executable, "main.py", "screenshots", "--out", str(tmp_path), "--size", "1000x600", "--lang", "ko"]
    run = subprocess.run(
        [*command, "--json", "--only", "main_window", "tray_icons"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (line,) = run.stdout.splitlines()
    pictures = {picture["name"]: picture for picture in json.loads(line)["pictures"]}
    assert set(pictures) == {"main_window", "tray_icons"}
    window = pictures["main_window"]
    assert (window["width"], window["height"]) == (1000, 600)
    image = QImage(window["path"])
    assert (image.width(), image.height()) == (1000, 600)
    assert "Traceback" not in run.stderr
    assert "plugin does not support" not in run.stderr


def test_the_check_finds_what_is_cut_off(qapp: QApplication) -> None:
    root = QWidget()
    root.resize(300, 100)
    layout = QHBoxLayout(root)
    narrow, button, elided, tabs = (
        QLabel("A label too long"),
        QPushButton("A button"),
        ElidedLabel("shortens"),
        QTabBar(),
    )
    tabs.addTab("Only a tab")
    for widget in (narrow, button, elided, tabs):
        layout.addWidget(widget)
    root.show()
    settle()
    narrow.setFixedWidth(20)
    button.setFixedWidth(24)
    elided.setFixedWidth(10)
    settle()
    found = clipped_texts(root)
    assert len(found) == 2, found
    assert any("A label too long" in line for line in found)
    assert any("A button" in line for line in found)
    narrow.setWordWrap(True)
    narrow.setFixedSize(80, 4)
    button.setFixedWidth(120)
    settle()
    (line,) = clipped_texts(root)
    assert "px of height" in line
    root.close()
    root.deleteLater()


def test_without_qt_one_sentence_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PySide6", None)
    assert run_cli(["screenshots", "--out", str(tmp_path / "pictures"), "--json"]) == 2
    assert "PySide6 is missing" in json.loads(capsys.readouterr().out)["error"]
