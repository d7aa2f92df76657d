"""Notices in the language of the screen, whichever language they were written in. Qt-free, pure, any thread.

`core` and `ml` write notices in English. Those of `app` are written with `tr`, and some join both; they stay in the
list, and in the store, when the language changes. So the texts of the window are read as sentences too: in English as
keys of `resources/translations/ko*.json`, in Korean as its values.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable
from functools import lru_cache

from app.flows.sentence_text import Catalogue, catalogue, local_text
from app.i18n import Language, current_language, load_table


def notice_text(text: str) -> str:
    """Return title or text of a notice in the present language; what nobody knows stays as it is."""
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    language = current_language()
    if language is Language.ENGLISH:
        return _window_texts(language).read(line).text if _has_korean(line) else line
    written, told = _window_texts(language).read(line), catalogue(language).read(line)
    return written.text if written.known > told.known else local_text(line)


@lru_cache(maxsize=4)
def _window_texts(language: Language) -> Catalogue:
    """Return the texts of the window as sentences, from the other language into this one."""
    korean = load_table(Language.KOREAN).items()
    if language is Language.KOREAN:
        return Catalogue(dict(_numbered(key, text) for key, text in korean if _says(key, str.isascii, 4)), {})
    pairs = (_numbered(text, key) for key, text in korean if _says(text, _is_korean, 2))
    return Catalogue(dict(pairs), {}, _has_korean)


def _says(source: str, of_language: Callable[[str], bool], letters: int) -> bool:
    """Whether a text has letters enough to be recognised by: "{n} h" would be found in half of all titles."""
    words = source if "{" not in source else "".join(words for words, *_ in string.Formatter().parse(source))
    return sum(char.isalpha() and of_language(char) for char in words) >= letters


def _has_korean(text: str) -> bool:
    return any(map(_is_korean, text))


def _is_korean(char: str) -> bool:
    return "가" <= char <= "힣"


def _numbered(source: str, translation: str) -> tuple[str, str]:
    """Return both with the names of their places replaced by numbers, in the order of the source."""
    if "{" not in source:  # most of them: taking all apart would hold up the window
        return source, translation
    numbers: dict[str, int] = {}
    for _, place, _, _ in string.Formatter().parse(source):
        if place is not None:
            numbers.setdefault(place, len(numbers))
    return _renamed(source, numbers), _renamed(translation, numbers)


def _renamed(text: str, numbers: dict[str, int]) -> str:
    return "".join(
        itertools.chain.from_iterable(
            (_escaped(words), "" if place is None else f"{{{numbers[place]}}}")
            for words, place, _, _ in string.Formatter().parse(text)
        )
    )


def _escaped(words: str) -> str:
    return words.replace("{", "{{").replace("}", "}}")
