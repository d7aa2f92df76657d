"""Typed settings over an INI file."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from app import settings as s
from app.settings import Settings
from app.tokens import ThemeChoice, UpDown


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.ini"


VALUES: list[tuple[s.SettingDef[Any], Any]] = [
    (s.LANGUAGE, s.LanguageChoice.KOREAN),
    (s.THEME, ThemeChoice.LIGHT),
    (s.UP_DOWN, UpDown.KOREAN),
    (s.CLOSE_ACTION, s.CloseAction.TRAY),
    (s.CONFIRM_ORDERS, False),
    (s.layout_state("trading"), bytes(range(256))),
    (s.LAST_SYMBOL, "한글, ETH/USDT = 100 %"),
    (s.PRACTICE_SPEED, Decimal("0.1")),
    (s.header_state("orders"), b"\x00,\xff"),
]


def test_values_survive_a_restart(qapp: object, path: Path) -> None:
    first = Settings(path)
    for setting, value in VALUES:
        assert first.get(setting) == setting.default
        first.set(setting, value)
    assert first.sync()
    second = Settings(path)
    assert [second.get(setting) for setting, _ in VALUES] == [value for _, value in VALUES]


def test_change_is_announced_once(qtbot: QtBot, path: Path) -> None:
    settings = Settings(path)
    with qtbot.waitSignal(settings.changed, timeout=1000) as caught:
        settings.set(s.CONFIRM_ORDERS, False)
    assert caught.args == ["trading/confirm_orders"]
    with qtbot.assertNotEmitted(settings.changed):
        settings.set(s.CONFIRM_ORDERS, False)
    settings.reset(s.CONFIRM_ORDERS)
    assert settings.get(s.CONFIRM_ORDERS) is True


@pytest.mark.parametrize(
    ("group", "line", "setting"),
    [
        ("look", "theme=purple", s.THEME),
        ("trading", "confirm_orders=1", s.CONFIRM_ORDERS),
        ("trading", "confirm_orders=a, b", s.CONFIRM_ORDERS),
        ("window", "geometry=not base64!", s.WINDOW_GEOMETRY),
        ("practice", "speed=fast", s.PRACTICE_SPEED),
        ("practice", "speed=NaN", s.PRACTICE_SPEED),
    ],
)
def test_unreadable_value_falls_back_to_its_default(
    qapp: object, path: Path, caplog: pytest.LogCaptureFixture, group: str, line: str, setting: s.SettingDef[Any]
) -> None:
    path.write_text(f"[meta]\nschema={s.SCHEMA_VERSION}\n[{group}]\n{line}\n", "utf-8")
    assert Settings(path).get(setting) == setting.default
    assert setting.key in caplog.text


def test_file_of_another_schema_is_put_aside_not_overwritten(qapp: object, path: Path) -> None:
    path.write_text("[meta]\nschema=99\n[look]\ntheme=light\n", "utf-8")
    settings = Settings(path)
    assert settings.get(s.THEME) is s.THEME.default
    assert "theme=light" in path.with_name("settings.ini.schema-99").read_text("utf-8")


def test_damaged_file_is_put_aside(qapp: object, path: Path) -> None:
    path.write_bytes(b"\x00\xff[[[ not an ini\x00 file")
    settings = Settings(path)
    assert settings.get(s.THEME) is s.THEME.default
    settings.set(s.THEME, ThemeChoice.DARK)
    assert settings.sync()
    assert path.with_name("settings.ini.damaged").read_bytes().startswith(b"\x00\xff")


def test_unwritable_file_is_told(qapp: object, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    settings = Settings(tmp_path / "file" / "settings.ini")
    settings.set(s.THEME, ThemeChoice.DARK)
    assert not settings.sync()


@pytest.mark.parametrize("key", ["exchange/api_key", "telegram/token", "db/password", "x/my_secret"])
def test_secrets_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="secrets"):
        s.text(key, "")
