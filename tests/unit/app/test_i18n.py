"""Words and numbers: translation, completeness of Korean, formatting."""

from __future__ import annotations

import ast
import json
import re
import string
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import i18n
from app.i18n import Language, format_exact, tr

APP = Path(i18n.__file__).resolve().parent
TEXT_FUNCTIONS = {"tr": 0, "mark": 0, "tr_count": 1}  # which argument Korean needs; it has no singular


def text_calls(source: str, name: str = "") -> tuple[set[str], list[str]]:
    """Return the literals passed to the text functions in `source`, and complaints about calls without a literal."""
    literals: set[str] = set()
    complaints: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        position = TEXT_FUNCTIONS.get(called, len(node.args))
        for argument in node.args[position : position + 1]:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                literals.add(argument.value)
            elif isinstance(argument, ast.JoinedStr):
                complaints.append(f"{name}:{node.lineno}: {called}(f-string) can never be translated")
    return literals, complaints


def placeholders(text: str) -> set[str]:
    """Return the `{name}` fields of a text."""
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}


def test_korean_is_complete_and_keeps_placeholders() -> None:
    table = i18n.load_table(Language.KOREAN)
    missing: list[str] = []
    complaints: list[str] = []
    for path in sorted(APP.rglob("*.py")):
        literals, found = text_calls(path.read_text("utf-8"), str(path.relative_to(APP)))
        complaints += found
        missing += [f"{path.relative_to(APP)}: {text!r}" for text in sorted(literals) if text not in table]
    assert complaints == []
    assert missing == [], "add them to resources/translations/ko*.json:\n" + "\n".join(missing)
    wrong = {text for text, korean in table.items() if placeholders(korean) != placeholders(text)}
    assert wrong == set(), "a placeholder is missing or invented"


def test_korean_particles_never_follow_a_placeholder() -> None:
    """을 or 를 depends on the last sound of what is filled in: such sentences are to be written differently."""
    varying = "을|를|이|가|은|는|와|과|으로|로|이나|나"
    particle = re.compile(rf'\}}["”’)]*(?:{varying})(?![가-힣])|\((?:으|이|은|는|가|를|와)\)')
    bad = {text: korean for text, korean in i18n.load_table(Language.KOREAN).items() if particle.search(korean)}
    assert bad == {}


def test_every_translated_text_is_still_used() -> None:
    used: set[str] = set()
    for path in APP.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        used |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    unused = [text for text in i18n.load_table(Language.KOREAN) if text not in used]
    assert unused == [], "remove them from resources/translations/ko*.json"


def test_stopping_has_one_name() -> None:
    """STOP and 긴급 정지; the term behind them explains the button once, in its tool tip."""
    sentences = json.loads((i18n.TRANSLATIONS / "sentences_ko.json").read_text("utf-8"))
    texts = {**i18n.load_table(Language.KOREAN), **sentences["sentences"], **sentences["words"]}
    assert len([text for text in texts if "kill switch" in text.lower()]) == 1
    assert len([korean for korean in texts.values() if "킬 스위치" in korean]) == 1
    of_stop = {texts[text] for text in ("STOP", "Stop trading", "stopped with STOP")}
    assert of_stop == {"긴급 정지"}


def test_no_file_translates_a_text_twice() -> None:
    def refuse_repetition(pairs: list[tuple[str, str]]) -> dict[str, str]:
        table = dict(pairs)
        assert len(table) == len(pairs), [text for text, _ in pairs if sum(text == other for other, _ in pairs) > 1]
        return table

    tables = [
        json.loads(path.read_text("utf-8"), object_pairs_hook=refuse_repetition)
        for path in i18n.TRANSLATIONS.glob("ko*.json")
    ]
    assert tables
    assert all(korean.strip() for table in tables for korean in table.values())


def test_check_finds_literals_and_refuses_f_strings() -> None:
    literals, complaints = text_calls('tr("a"); i18n.tr("b", n=1); tr_count("c", "d", 2); mark("e"); tr(x); other("z")')
    assert literals == {"a", "b", "d", "e"}
    assert complaints == []
    assert len(text_calls('tr(f"{x}")')[1]) == 1


def test_switching_language_changes_text() -> None:
    assert tr("{n} s", n=3) == "3 s"
    i18n.set_language(Language.KOREAN)
    assert tr("{n} s", n=3) == "3초"
    assert tr("no such text") == "no such text"


def test_files_are_merged_and_do_not_contradict_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    for path in sorted(i18n.TRANSLATIONS.glob("ko*.json")):
        table = json.loads(path.read_text("utf-8"))
        assert {text for text in table if seen.get(text, table[text]) != table[text]} == set(), path.name
        seen.update(table)
    monkeypatch.setattr(i18n, "TRANSLATIONS", tmp_path)
    (tmp_path / "ko.json").write_text('{"Quit": "종료"}', "utf-8")
    (tmp_path / "ko.more.json").write_text('{"Stay": "머무르기"}', "utf-8")
    assert i18n.load_table.__wrapped__(Language.KOREAN) == {"Quit": "종료", "Stay": "머무르기"}


def test_plural_forms_differ_in_english_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert i18n.tr_count("{n} lot", "{n} lots", 1) == "1 lot"
    assert i18n.tr_count("{n} lot", "{n} lots", 1200) == "1,200 lots"
    monkeypatch.setattr(i18n, "_state", i18n._State())
    i18n._state.current = (Language.KOREAN, {"{n} lots": "{n}랏"})
    assert i18n.tr_count("{n} lot", "{n} lots", 1) == "1랏"


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "expected"),
    [
        (Decimal("1234567.891"), 2, False, "1,234,567.89"),
        (Decimal("1E-8"), None, False, "0.00000001"),
        (Decimal("1E+6"), None, False, "1,000,000"),
        (Decimal("-0.004"), 2, True, "0.00"),
        (Decimal("-5"), 1, True, "\u22125.0"),
        (Decimal("5"), 1, True, "+5.0"),
        (0, 2, True, "0.00"),
        (1e-8, None, False, "0.00000001"),
        (61200.123456789, None, False, "61,200.123"),
        (100000.0, None, False, "100,000"),
        (float("nan"), 2, False, "—"),
        (Decimal("Infinity"), None, False, "—"),
        (None, 2, False, "—"),
    ],
)
def test_numbers(value: object, decimals: int | None, sign: bool, expected: str) -> None:
    assert i18n.format_number(value, decimals, sign=sign) == expected  # type: ignore[arg-type]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**15), max_value=10**15))
def test_formatted_decimal_is_exact(value: Decimal) -> None:
    text = i18n.format_number(value)
    assert Decimal(text.replace(",", "").replace(i18n.MINUS, "-")) == value
    assert "E" not in text


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_float_formats_without_exponent(value: float) -> None:
    assert "e" not in i18n.format_number(value).lower()


def test_prices_follow_the_tick() -> None:
    assert i18n.format_price(Decimal("61200"), Decimal("0.01")) == "61,200.00"
    assert i18n.format_price(0.1, Decimal("0.00001000")) == "0.10000"
    assert i18n.format_quantity(Decimal("3"), Decimal("10")) == "3"
    assert i18n.format_price(None, Decimal("0.1")) == "—"


def test_percent_and_compact() -> None:
    assert i18n.format_percent(0.01234, sign=True) == "+1.23\u00a0%"
    assert i18n.format_percent(None) == "—"
    assert i18n.format_percent(float("nan")) == "—"
    assert i18n.format_compact(None) == "—"
    assert [i18n.format_compact(v) for v in (0.5, 999, 1234, 45_600, 1.234e9, -2e6)] == [
        "0.50",
        "999.0",
        "1.23k",
        "45.6k",
        "1.23B",
        "\u22122.00M",
    ]


def test_moments_are_shown_in_the_zone_given() -> None:
    seoul = timezone(timedelta(hours=9))
    assert i18n.format_moment(0, zone=UTC) == "1970-01-01 00:00:00"
    assert i18n.format_moment(0, zone=seoul) == "1970-01-01 09:00:00"
    assert i18n.format_time(0, UTC) == "01-01 00:00:00"


def test_durations() -> None:
    shown = [i18n.format_duration(s) for s in (0.35, 12, 59.6, 185, 7_500, 90_000, -12)]
    assert shown == ["350 ms", "12 s", "1 min 00 s", "3 min 05 s", "2 h 05 min", "1 d 1 h", "\u221212 s"]


@pytest.mark.parametrize(
    ("written", "shown"), [("0.02000000", "0.02"), ("79407.34000000", "79,407.34"), ("100", "100"), ("0E-8", "0")]
)
def test_exact_amounts_carry_no_zeros_at_the_end(written: str, shown: str) -> None:
    assert format_exact(Decimal(written)) == shown
