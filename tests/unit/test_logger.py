"""Logging: what is written, where, and what never is."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    "text",
    [
        'body {"apiKey": "abc123def", "secret": "abc123def"}',
        r'nested {"request": "{\"apiKey\": \"abc123def\"}"}',
        "GET https://venue/order%3Fsignature%3Dabc123def%26x",
        "headers={'OK-ACCESS-SIGN': 'abc123def', 'OK-ACCESS-PASSPHRASE': 'abc123def', 'KC-API-KEY': 'abc123def'}",
        "b'X-MBX-APIKEY': b'abc123def'",
        "{'Authorization': 'Basic abc123def'}",
        "listenKey=abc123def",
        "MARU_API_SECRET_BINANCE=abc123def",
        "https://me:abc123def@venue/path",
        "privateKey: abc123def",
    ],
)
def test_further_shapes_of_named_secrets_are_hidden(text: str) -> None:
    assert "abc123def" not in Redactor().clean(text)


@pytest.mark.parametrize("text", ["3 tokens were counted", "signature of the model: none", "a secret place", "key=BTC"])
def test_words_stay_words(text: str) -> None:
    assert Redactor().clean(text).split()[0] == text.split()[0]
    assert HIDDEN not in Redactor().clean(text) or ":" in text


def test_registered_secrets_are_hidden_in_every_spelling() -> None:
    redactor = Redactor()
    secret = 'a/b+c"d=\\é9'
    redactor.add(secret, "prefix-of-a-longer", "prefix-of-a-longer-one")
    texts = [
        secret,
        quote(secret, safe=""),
        json.dumps({"x": secret}),
        repr({"x": secret}),
        f"?q={quote(secret, safe='')}&",
    ]
    for text in texts:
        assert "a/b" not in redactor.clean(text)
        assert "a%2Fb" not in redactor.clean(text)
    assert redactor.clean("prefix-of-a-longer-one") == HIDDEN, "nothing of the longer one is left"


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="\0"), min_size=8, max_size=80), st.text())
def test_no_registered_secret_survives(secret: str, around: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    if secret not in HIDDEN * 3 and secret not in around:
        assert secret not in redactor.clean(f"{around} {secret} {around}")


def test_a_message_whose_arguments_do_not_fit_is_redacted_and_raises_nothing(logs: LogSetup) -> None:
    logs.redactor.add("s3cr3t-v4lue")
    logging.getLogger("x").warning("%d orders", "s3cr3t-v4lue")
    logging.getLogger("x").warning("where am I", stack_info=True)
    written = logs.path.read_text(encoding="utf-8")
    assert "%d orders" in written
    assert "where am I" in written
    assert "s3cr3t-v4lue" not in written


def test_a_long_line_takes_no_time() -> None:
    redactor = Redactor()
    started = time.perf_counter()
    redactor.clean("a-" * 50_000 + "secret" * 5_000)
    assert time.perf_counter() - started < 5


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = Redactor().clean(f"{text} signature={text} apiKey: '{text}'")
    assert Redactor().clean(once) == once


def test_secrets_added_on_many_threads_at_once_are_all_hidden() -> None:
    redactor = Redactor()
    secrets = [f"planted-{number:04d}" for number in range(400)]
    threads = [
        threading.Thread(target=lambda part=part: [redactor.add(secret) for secret in secrets[part::8]])
        for part in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "planted" not in redactor.clean(" ".join(secrets))
