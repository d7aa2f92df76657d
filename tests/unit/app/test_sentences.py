"""Every sentence of `core` and `ml` that a window can show has a Korean entry, and no entry is left over."""

from __future__ import annotations

import ast
import json
import re
import string

import pytest

from app.flows.sentence_text import catalogue, local_text
from app.i18n import TRANSLATIONS, Language, set_language
from tests.unit.app.sentence_sources import NOT_SENTENCES, ROOT, UNSEEN, UNSEEN_APP, is_sentence, sentences, template_of

FOLDERS = ("core", "ml", "app")


@pytest.fixture
def _speaking_korean() -> None:
    set_language(Language.KOREAN)  # the root conftest goes back to English


def _content() -> dict[str, dict[str, str]]:
    def refuse_repetition(pairs: list[tuple[str, str]]) -> dict[str, str]:
        assert len(dict(pairs)) == len(pairs), "an entry stands twice"
        return dict(pairs)

    text = (TRANSLATIONS / "sentences_ko.json").read_text("utf-8")
    content: dict[str, dict[str, str]] = json.loads(text, object_pairs_hook=refuse_repetition)
    return content


def _places(template: str) -> set[str]:
    return {place for _, place, *_ in string.Formatter().parse(template) if place is not None}


def test_every_sentence_has_a_korean_entry() -> None:
    known = _content()["sentences"]
    missing = {template: place for folder in FOLDERS for place, template in sentences(folder) if template not in known}
    shown = "\n".join(f"  {json.dumps(template)}: ...,  ({place})" for template, place in missing.items())
    assert missing == {}, f"add to resources/translations/sentences_ko.json:\n{shown}"


@pytest.mark.usefixtures("_speaking_korean")
@pytest.mark.parametrize("dump", ["Trading is halted. " * 40, ", ".join(f"field {number}" for number in range(30))])
def test_a_dump_is_shown_as_it_is(dump: str) -> None:
    assert local_text(dump) == dump
    assert local_text(f"{dump}\nTrading is halted.") == f"{dump}\n매매가 중지되었습니다."


def test_no_entry_is_left_over() -> None:
    content = _content()
    used = {template for folder in FOLDERS for _, template in sentences(folder)}
    assert set(content["sentences"]) - used == set(), "remove them"
    literals = {
        node.value
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(content["words"]) - literals == set(), "remove them"


def test_entries_keep_their_places_and_no_particle_depends_on_one() -> None:
    tables = _content()
    entries = {source: korean for table in tables.values() for source, korean in table.items()}
    assert {source for source, korean in entries.items() if _places(source) != _places(korean)} == set()
    varying = "을|를|이|가|은|는|와|과|으로|로|이나|나"
    particle = re.compile(rf'\}}["”’)]*(?:{varying})(?![가-힣])|\((?:으|이|은|는|가|를|와)\)')
    assert {source: korean for source, korean in entries.items() if particle.search(korean)} == {}
    assert all(korean.strip() for korean in entries.values())


def test_places_do_not_touch() -> None:
    """Nobody could say where the value of one ends: the core writes two sentences instead."""
    assert [source for source in _content()["sentences"] if "}{" in source.replace("}}", "").replace("{{", "")] == []


def test_every_entry_is_recognised_with_its_values() -> None:
    """A template that another one hides would never be used."""
    korean = catalogue(Language.KOREAN)
    for source, expected in _content()["sentences"].items():
        values = [f"v{number}" for number in range(len(_places(source)))]
        assert korean.translate(source.format(*values)) == expected.format(*values), source


@pytest.mark.usefixtures("_speaking_korean")
@pytest.mark.parametrize(
    ("english", "korean"),
    [
        ("order value 30000.00 is above the limit 25000", "주문 금액이 한도를 넘습니다 (주문 30000.00, 한도 25000)"),
        (
            "the order may only reduce the position of 5, and 3 is on its way out already",
            "포지션을 줄이는 주문만 가능합니다 (포지션 5, 이미 청산 중 3)",
        ),
        (
            "limit price 100.05 is not a multiple of 0.1",
            "지정 가격이 호가 단위에 맞지 않습니다 (가격 100.05, 단위 0.1)",
        ),
        (
            "3 orders cancelled, none is open, 2 positions sold, not all.",
            "주문 3건 취소, 미체결 없음, 포지션 2건 매도, 일부 미완료.",
        ),
        ("1 order cancelled, 2 may still be open.", "주문 1건 취소, 2건은 아직 미체결일 수 있음."),
        ("Order would immediately match and take. (-2010)", "바로 체결되어 테이커가 되는 주문입니다. (-2010)"),
        ("BTC/USDT: price 1 is not positive", "BTC/USDT: 가격은 0보다 커야 합니다 (입력 1)"),
        (
            "binance cannot be used: no connection to 127.0.0.1:8080. "
            "Check the connection and the keys, then start again.",
            "binance 거래소를 사용할 수 없습니다 (연결되지 않음: 127.0.0.1:8080). "
            "연결과 키를 확인한 뒤 다시 시작하세요.",
        ),
        (
            "The data folder /home/a b/d.x cannot be written: No space left on device. "
            "Free some space or choose another folder with --data-dir.",
            "데이터 폴더에 쓸 수 없습니다: /home/a b/d.x (디스크 공간 부족). "
            "디스크 공간을 확보하거나 --data-dir로 다른 폴더를 지정하세요.",
        ),
        (
            "Another program is already trading with this key (process 12).",
            "다른 프로그램이 이 키로 이미 매매하고 있습니다 (프로세스 12).",
        ),
        (
            "The hidden size 9999 is out of range. Choose 2 to 1,024 units.",
            "범위를 벗어난 값입니다: 은닉 크기 9999. 범위: 2~1,024 유닛.",
        ),
        (
            "Order m-1: an order cannot go from filled to rejected. The venue's account page decides.",
            "주문 m-1: 주문 상태가 바뀔 수 없는 순서입니다 (체결 → 거부). 거래소 계좌 화면의 내용을 기준으로 하세요.",
        ),
        ("buy order of 0.1 BTC/USDT (accepted)", "BTC/USDT 0.1 매수 주문 (미체결)"),
        ("stopped with STOP\n/data/reports/kill-1.json", "긴급 정지\n/data/reports/kill-1.json"),
        (
            "No evidence of an edge over naive forecasts (horizon 1: R² +0.04% on 1,333 unseen bars, p = 0.310).",
            "단순 예측 대비 우위의 증거 없음 "
            "(예측 지평 1: 처음 보는 봉 1,333개에서 R²\u00a0+0.04%, p\u00a0=\u00a00.310).",
        ),
        (
            "Row 7 of a.csv (2024-01-01 00:00 UTC) has no valid open price.",
            "a.csv 파일의 7번째 행(2024-01-01 00:00 UTC): 시가 값이 올바르지 않습니다.",
        ),
    ],
)
def test_sentences_in_korean(english: str, korean: str) -> None:
    assert local_text(english) == korean
    assert local_text(korean) == korean, "translated text stays as it is"


@pytest.mark.usefixtures("_speaking_korean")
@pytest.mark.parametrize("text", ["", "Margin is insufficient, try later.", "ValueError: no", "3", "Bitcoin hourly"])
def test_what_nobody_knows_stays(text: str) -> None:
    assert local_text(text) == text


def test_english_stays_english() -> None:
    assert local_text("stopped with STOP") == "stopped with STOP"


def test_templates_are_read_from_literals_and_f_strings() -> None:
    def read(code: str) -> str | None:
        return template_of(ast.parse(code, mode="eval").body)

    assert read('f"{a.b} is {c!r}, {{x}}"') == "{0} is {1}, {{x}}"
    assert read('", not all"') == "not all"
    assert read('"{path} is damaged."') == "{0} is damaged."
    assert read("other") is None
    assert is_sentence("no connection")
    assert not is_sentence("{0}: {1}")


def test_what_is_left_out_exists() -> None:
    for module in (*UNSEEN, *UNSEEN_APP):
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), module
    assert all(" " in text or "+" in text for text in NOT_SENTENCES)


@pytest.mark.usefixtures("_speaking_korean")
def test_a_verdict_of_many_sentences_is_read_sentence_by_sentence() -> None:
    verdict = (
        "Evidence of an edge over naive forecasts before costs (horizon 1: R² +3.57% on 446 unseen bars, p < 0.001); "
        "a ridge regression does as well. An R² that high on returns looks like a leak: check the features. "
        "The forecast ranges beat those of past volatility (CRPS +2.9%). Trading its sign at every bar would have "
        "earned 506.2% after costs, and holding -3.4%. Invented practice market: this says nothing about a real one."
    )
    assert len(verdict) > 400
    text = local_text(verdict)
    assert not re.search(r"[A-Za-z]{4,}", text.replace("CRPS", "")), text
