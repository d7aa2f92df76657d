"""What strategies are called, for tables that know their ids only. GUI thread."""

from __future__ import annotations


class OwnerNames:
    """Titles by strategy id; an id without a title is its own name."""

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}

    def learn(self, owner: str, title: str) -> bool:
        """Remember a title; returns whether it is another one than before."""
        if self._titles.get(owner) == title:
            return False
        self._titles[owner] = title
        return True

    def title(self, owner: str) -> str:
        """Return how a strategy is shown."""
        return self._titles.get(owner) or owner
