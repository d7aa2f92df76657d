"""Fuzzy matching for the command palette. Qt-free, pure, any thread."""

from __future__ import annotations

_WORD_START, _RUN, _GAP = 8, 5, 1


def score(query: str, text: str) -> int | None:
    """Rate how well `query` matches `text`: its letters in order, best at word starts and in runs.

    Returns:
        A number, higher is better; None where a letter is missing. An empty query gives 0.
    """
    needle, hay = query.casefold().replace(" ", ""), text.casefold()
    total, position, previous = 0, 0, -2
    for char in needle:
        found = hay.find(char, position)
        if found < 0:
            return None
        start = _word_start(hay, char, position)
        if start is not None and found != previous + 1:
            found = start
        total += 1
        if found == previous + 1:
            total += _RUN
        if found == 0 or not hay[found - 1].isalnum():
            total += _WORD_START
        total -= min(_GAP * (found - previous - 1), _GAP * 3) if previous >= 0 else 0
        previous, position = found, found + 1
    return total


def _word_start(hay: str, char: str, position: int) -> int | None:
    """Return the next place at or after `position` where a word begins with `char`."""
    found = hay.find(char, position)
    while found >= 0:
        if found == 0 or not hay[found - 1].isalnum():
            return found
        found = hay.find(char, found + 1)
    return None
