"""Logging: what is written, where, and what never is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import UserError
from core.logger import HIDDEN, LogSetup, Redactor, TailHandler


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[LogSetup]:
    setup = LogSetup(tmp_path / "logs", stderr_level=None)
    yield setup
    setup.close()


@pytest.mark.parametrize(
    "text",
    [
        "GET /order?symbol=BTC&signature=abc123def&x=1",
        "{'apiKey': 'abc123def', 'side': 'buy'}",
        'headers {"X-MBX-APIKEY": "abc123def"}',
        "Authorization: Bearer abc123def",
        "api_secret = abc123def",
    ],
)
def test_named_secrets_are_hidden(text: str) -> None:
    cleaned = Redactor().clean(text)
    assert "abc123def" not in cleaned
    assert HIDDEN in cleaned


def test_registered_secrets_are_hidden_everywhere(logs: LogSetup) -> None:
    logs.redactor.add("s3cr3t-v4lue", "no")
    tail = TailHandler()
    logs.attach(tail)
    try:
        raise ValueError("bad key s3cr3t-v4lue")
    except ValueError:
        logging.getLogger("x").exception("call with %s failed, no doubt", "s3cr3t-v4lue")
    written = logs.path.read_text(encoding="utf-8")
    assert "s3cr3t" not in written
    assert "s3cr3t" not in tail.lines[0]
    assert "ValueError: bad key [hidden]" in written
    assert "no doubt" in written


def test_the_tail_keeps_the_newest_lines_and_tells_a_listener(logs: LogSetup) -> None:
    heard: list[str] = []
    logs.attach(TailHandler(lambda record: heard.append(record.getMessage()), lines=2))
    for word in ("one", "two", "three"):
        logging.getLogger("x").info(word)
    assert heard == ["one", "two", "three"]


def test_closing_restores_what_was_there(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    setup = LogSetup(tmp_path)
    assert len(root.handlers) == len(before[0]) + 2
    setup.close()
    setup.close()
    assert (list(root.handlers), root.level) == before


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(UserError, match="log file"):
        LogSetup(tmp_path / "logs")
