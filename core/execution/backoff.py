"""Pauses between attempts that failed: one rule for every loop of the links. Counts only for itself, any thread.

Full jitter: each pause is drawn evenly between nothing and a ceiling that doubles up to a cap, so that a hundred
streams cut at the same moment do not all return at the same moment.
"""

from __future__ import annotations

import random

_MOST_DOUBLINGS = 32  # further ones change nothing and would overflow


class Backoff:
    """Counts failures in a row and says how long to wait after each.

    Attributes:
        failures: in a row, since the last success.
    """

    def __init__(self, source: random.Random, *, first_s: float = 0.5, most_s: float = 30.0) -> None:
        """Start without a failure.

        Args:
            source: of the jitter, seeded by whoever owns the loop.
            first_s: ceiling after the first failure.
            most_s: ceiling of the ceiling.
        """
        if not 0 < first_s <= most_s:
            raise ValueError(f"invalid pauses: first {first_s} s, at most {most_s} s")
        self._source = source
        self._first_s = first_s
        self._most_s = most_s
        self.failures = 0

    def reset(self) -> None:
        """Note a success: the next failure is a first one."""
        self.failures = 0

    def next_s(self, retry_after_s: float = 0.0) -> float:
        """Count one more failure and return the pause after it.

        Args:
            retry_after_s: what the venue asked for; never undercut. The jitter comes on top, so that those who were
                sent away together do not return together.
        """
        ceiling_s = min(self._most_s, self._first_s * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        self.failures += 1
        return max(0.0, retry_after_s) + self._source.uniform(0.0, ceiling_s)
