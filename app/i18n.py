"""Visible text: translation and the formatting of numbers and times. Qt-free, any thread.

English source strings are the keys; Korean lies in `resources/translations/ko*.json` (flat tables, merged). Live
switching with a Qt signal is `app.language.LanguageManager`; this module has no Qt so that flows, notifications and
headless code speak the same words.

The language is the one piece of process-wide state here, as it is in every translation library: passing a translator
into each of a thousand calls would bury the text.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.clock import to_datetime

MISSING = "—"  # shown where a number is unknown
MINUS = "\u2212"  # as wide as "+", unlike the hyphen

TRANSLATIONS = Path(__file__).resolve().parent.parent / "resources" / "translations"


class Language(StrEnum):
    """Languages of the interface."""

    ENGLISH = "en"
    KOREAN = "ko"


class _State:
    """The current language and its table, replaced as one so that readers on other threads see a matching pair."""

    def __init__(self) -> None:
        self.current: tuple[Language, dict[str, str]] = (Language.ENGLISH, {})


_state = _State()


@lru_cache(maxsize=4)
def load_table(language: Language) -> dict[str, str]:
    """Return the merged table of a language: English source → text. That files do not contradict is for the tests."""
    table: dict[str, str] = {}
    if language is Language.ENGLISH:
        return table
    for path in sorted(TRANSLATIONS.glob(f"{language.value}*.json")):
        table.update(json.loads(path.read_text("utf-8")))
    return table


def set_language(language: Language) -> None:
    """Make `language` current; visible widgets follow only through `app.language.LanguageManager`."""
    _state.current = (language, load_table(language))


def current_language() -> Language:
    """Return the current language."""
    return _state.current[0]


def tr(text: str, /, **values: Any) -> str:
    """Return `text` in the current language with `{name}` placeholders filled from `values`.

    Args:
        text: the English source, always a plain literal: the completeness check finds it by reading the code. Never an
            f-string.
        values: placeholder values; already formatted numbers where they are shown to a person.
    """
    translated = _state.current[1].get(text, text)
    return translated.format(**values) if values else translated


def tr_count(singular: str, plural: str, count: int, /, **values: Any) -> str:
    """Return the form for `count`, which fills `{n}`. Korean has one form: the translation of `plural`.

    Args:
        singular / plural: English literals containing `{n}` where the number is shown.
    """
    language = _state.current[0]
    source = singular if count == 1 and language is Language.ENGLISH else plural
    return tr(source, n=format_number(count), **values)


def mark(text: str) -> str:
    """Return `text` unchanged; marks a literal in a table for translation by a later `tr(variable)`."""
    return text


def step_decimals(step: Decimal | None) -> int | None:
    """Return how many decimals a tick or lot size has ("0.010" → 2), None without a step."""
    if step is None or step <= 0:
        return None
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else None


def format_number(value: Decimal | float | int | None, decimals: int | None = None, *, sign: bool = False) -> str:
    """Format a number the same way in every language: "." decimal, "," thousands, true minus, never an exponent.

    Args:
        value: None and non-finite values give "—".
        decimals: fixed decimals, rounded half to even; None shows a Decimal as it is and a float with up to 8
            significant digits.
        sign: show "+" on positive numbers.
    """
    if value is None:
        return MISSING
    number = value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite():
        return MISSING
    if decimals is not None:
        number = round_decimals(number, decimals)
    elif isinstance(value, float) and number:
        number = round_decimals(number, max(0, min(12, 7 - number.adjusted()))).normalize()
    text = f"{abs(number):,f}"
    if number < 0:
        return MINUS + text
    return "+" + text if sign and number > 0 else text


def format_exact(value: Decimal) -> str:
    """Format a Decimal in full without the zeros at its end, which venues write and nobody reads."""
    text = format_number(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def round_decimals(number: Decimal, decimals: int) -> Decimal:
    """Round half to even to a number of decimals, whatever the size of the number."""
    # The default context holds 28 digits; quantize refuses results that need more.
    if number.adjusted() + decimals > 24:
        return number
    return number.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN)


def format_price(value: Decimal | float | None, tick: Decimal | None = None, *, sign: bool = False) -> str:
    """Format a price with the decimals of the market's tick size."""
    return format_number(value, step_decimals(tick), sign=sign)


def format_quantity(value: Decimal | float | None, lot: Decimal | None = None, *, sign: bool = False) -> str:
    """Format a quantity with the decimals of the market's lot size."""
    return format_number(value, step_decimals(lot), sign=sign)


def format_percent(fraction: Decimal | float | None, decimals: int = 2, *, sign: bool = False) -> str:
    """Format a fraction (0.01) as a percentage ("1.00 %", with a no-break space)."""
    if fraction is None:
        return MISSING
    text = format_number(fraction * 100, decimals, sign=sign)
    return text if text == MISSING else f"{text}\u00a0%"


def format_compact(value: Decimal | float | None) -> str:
    """Format a large number in at most four digits with k, M, B, T: volumes, counts."""
    if value is None:
        return MISSING
    size = abs(float(value))
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            scaled = float(value) / limit
            return format_number(scaled, 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0) + suffix
    return format_number(value, 2 if size < 100 else 1)


def format_moment(time_ns: int, style: str = "%Y-%m-%d %H:%M:%S", zone: tzinfo | None = None) -> str:
    """Format a UTC time in the user's zone.

    Args:
        time_ns: ns since the epoch, UTC.
        style: strftime pattern; dates are ISO in every language.
        zone: zone to show; None is the machine's own.
    """
    return to_datetime(time_ns).astimezone(zone).strftime(style)


def format_time(time_ns: int, zone: tzinfo | None = None) -> str:
    """Format the time of day, with the date in front where it is not today."""
    moment = to_datetime(time_ns).astimezone(zone)
    today = datetime.now(UTC).astimezone(zone).date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%m-%d %H:%M:%S")


def format_minute(time_ns: int, zone: tzinfo | None = None, *, seconds: bool = False) -> str:
    """Format when something was begun ("21:04"), with the whole date in front where that is not today; unbroken."""
    moment = to_datetime(time_ns).astimezone(zone)
    today = datetime.now(UTC).astimezone(zone).date()
    clock = "%H:%M:%S" if seconds else "%H:%M"
    return moment.strftime(clock if moment.date() == today else f"%Y-%m-%d\u00a0{clock}")


def format_duration(seconds: float) -> str:
    """Format a length of time by its two largest units ("2 h 05 min", "12 s", "350 ms")."""
    if seconds < 0:
        return MINUS + format_duration(-seconds)
    if seconds < 1:
        return tr("{n} ms", n=round(seconds * 1000))
    whole = round(seconds)
    if whole < 60:
        return tr("{n} s", n=whole)
    if whole < 3_600:
        return tr("{m} min {s} s", m=whole // 60, s=f"{whole % 60:02d}")
    if whole < 86_400:
        return tr("{h} h {m} min", h=whole // 3_600, m=f"{whole % 3_600 // 60:02d}")
    return tr("{d} d {h} h", d=whole // 86_400, h=whole % 86_400 // 3_600)
