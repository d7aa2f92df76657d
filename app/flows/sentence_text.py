"""Sentences of the trading core and the learning part in the language of the screen. Qt-free, pure, any thread.

`core` and `ml` write English sentences with figures in them and know no other language. The catalogue
`resources/translations/sentences_<language>.json` holds each of them as a template whose places are numbered in the
order of the source ("{0} is locked by another program."). A sentence is recognised by its template, its values are
recognised in turn (an error quotes another one), and the template of the language is filled with them. Several
sentences in one text are taken apart first. What nobody knows, such as the words of an exchange or of the operating
system, stays as it is.

A test reads the sources of `core` and `ml` and fails for a sentence without an entry.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from app.flows.amount import Sentence
from app.i18n import TRANSLATIONS, Language, current_language

# Where a text may be taken apart; strongest first. Behind a colon or a bracket often stands what somebody else said.
_JOINTS = (". ", "; ", ", ", ": ", " · ")
# A line with more characters or joints is a dump, not a sentence; taking it apart would hold up the window.
_LONGEST, _MOST_JOINTS, _MOST_SENTENCES = 400, 16, 12
_BETWEEN_SENTENCES = re.compile(r"(?<=\.) (?=[A-Z])")
_IN_BRACKETS = re.compile(r"(.+) (\(.+\))")


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to understand a text: what it says in the language, and how many characters of it were recognised."""

    text: str
    known: int = 0


class _Template:
    """A sentence of the catalogue with its translation."""

    def __init__(self, source: str, translation: str) -> None:
        self.translation = translation
        self._pieces = tuple(string.Formatter().parse(source))
        self.known = sum(len(words) for words, *_ in self._pieces)
        # Looked for first: compiling every pattern of the catalogue would hold up the window.
        self.hint = max((words for words, *_ in self._pieces), key=len)

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        """Where a value has spaces, the first place may take as little as it can or as much."""
        several = sum(place is not None for _, place, *_ in self._pieces) > 1
        return tuple(re.compile(self._written(place)) for place in (("(.*?)", "(.*)") if several else ("(.*)",)))

    def _written(self, pattern: str) -> str:
        return "".join(re.escape(words) + ("" if place is None else pattern) for words, place, *_ in self._pieces)

    def values(self, text: str) -> Iterator[tuple[str, ...]]:
        """Yield what may stand in the places; nothing where the text is another sentence."""
        if self.hint in text:
            for pattern in self._patterns:
                found = pattern.fullmatch(text)
                if found is not None:
                    yield found.groups()


class Catalogue:
    """The sentences of one language.

    Args:
        sentences: English template → translation; places are `{0}`, `{1}` … in the order of the English.
        words: what may stand in a place or alone and is no sentence: the state of an order, the reason an operating
            system gives.
        readable: whether a text can be of the language that is read, English by default; a number or a translation
            is not.
    """

    def __init__(
        self,
        sentences: dict[str, str],
        words: dict[str, str],
        readable: Callable[[str], bool] | None = None,
    ) -> None:
        self._readable = readable or _has_english
        self._fixed = {source: text for source, text in sentences.items() if "{" not in source}
        self._words = words
        self._templates = [_Template(source, text) for source, text in sentences.items() if "{" in source]
        self._read = lru_cache(maxsize=2_048)(self._best)  # tables write the same reasons again and again

    def translate(self, text: str) -> str:
        """Return the text with every sentence that is known translated, line by line."""
        return "\n".join(self._translated(line) for line in text.split("\n"))

    def read(self, text: str) -> Reading:
        """Return the best reading of one line; one that is no sentence but a dump is left as it is."""
        return Reading(text) if _is_dump(text) else self._read_value(text)

    def _translated(self, line: str) -> str:
        """Return a line, or each of its sentences where it is too long to be read in one: a verdict has up to seven."""
        if not _is_dump(line):
            return self._read_value(line).text
        sentences = _BETWEEN_SENTENCES.split(line)
        if len(sentences) > _MOST_SENTENCES or any(_is_dump(sentence) for sentence in sentences):
            return line
        return " ".join(self._read_value(sentence).text for sentence in sentences)

    def _best(self, text: str) -> Reading:
        """Return the reading that recognises most; of two that recognise the same, the one with shorter sentences."""
        if not self._readable(text):
            return Reading(text)
        if text in self._fixed:
            return Reading(self._fixed[text], len(text))
        best = Reading(text)
        for reading in (*self._taken_apart(text), *self._as_whole(text)):
            if reading.known > best.known:
                best = reading
        return best

    def _as_whole(self, text: str) -> Iterator[Reading]:
        for template in self._templates:
            for values in template.values(text):
                readings = [self._read_value(value) for value in values]
                filled = template.translation.format(*(reading.text for reading in readings))
                yield Reading(filled, template.known + sum(reading.known for reading in readings))

    def _read_value(self, value: str) -> Reading:
        """Return the reading of what stands alone or in a place; a value may bring a space of its own (" bars")."""
        core = value.strip(" ")
        if core in self._words:
            return Reading(value.replace(core, self._words[core]), len(core))
        if core == value:
            return self._read(value)
        reading = self._read(core)
        return Reading(value.replace(core, reading.text, 1) if core else value, reading.known)

    def _taken_apart(self, text: str) -> Iterator[Reading]:
        if text.endswith("."):
            inner = self._read(text[:-1])
            yield Reading(inner.text + ".", inner.known)
        elif text.startswith("(") and text.endswith(")"):
            inner = self._read(text[1:-1])
            yield Reading(f"({inner.text})", inner.known)
        for joint in _JOINTS:
            start = text.find(joint)
            while start >= 0:
                cut = start + (1 if joint == ". " else 0)  # the full stop belongs to its sentence
                yield from self._joined(text[:cut], text[start + len(joint) :], joint)
                start = text.find(joint, start + 1)
        brackets = _IN_BRACKETS.fullmatch(text)
        if brackets is not None:
            yield from self._joined(brackets[1], brackets[2], " ")

    def _joined(self, head: str, tail: str, joint: str) -> Iterator[Reading]:
        first, second = self._read(head), self._read(tail)
        if joint in ("; ", ", ") and not (first.known and second.known):
            return  # half a sentence translated reads worse than none
        yield Reading(first.text + joint.lstrip(".") + second.text, first.known + second.known)


def _has_english(text: str) -> bool:
    return any(char.isascii() and char.isalpha() for char in text)


def _is_dump(line: str) -> bool:
    return len(line) > _LONGEST or sum(line.count(joint) for joint in _JOINTS) > _MOST_JOINTS


@dataclass(frozen=True, slots=True)
class CoreSentence(Sentence):
    """A sentence that came from `core` or `ml`, for places that show a `Sentence`; `template` is its English."""

    def text(self) -> str:
        """Return it in the present language."""
        return local_text(self.template)


def local_text(text: str) -> str:
    """Return a text of `core` or `ml` in the language of the screen.

    Text that is in that language already, and what nobody knows, comes back as it is.
    """
    language = current_language()
    return text if language is Language.ENGLISH or not text else catalogue(language).translate(text)


@lru_cache(maxsize=4)
def catalogue(language: Language) -> Catalogue:
    """Return the catalogue of a language."""
    content = json.loads((TRANSLATIONS / f"sentences_{language.value}.json").read_text("utf-8"))
    return Catalogue(content["sentences"], content["words"] | content["system"])
