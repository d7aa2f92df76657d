"""Which bars are in view. Qt-free; GUI thread.

The window is a range of x (bar index, fractional while dragging). In follow mode it moves by one bar for every new
bar; any pan by the user ends that.
"""

from __future__ import annotations

MIN_BARS = 8
MARGIN = 0.06  # free share at the right of the newest bar
_AHEAD_SHARE = 0.4  # of the view that what lies ahead may take
_KEEP = 4  # bars that stay in view however far one pans


class BarWindow:
    """The visible range `[first, last]` in bar indices and how it moves.

    Attributes:
        follow: whether the window moves with new bars.
        ahead: bars beyond the newest that stay free, as far as they take no more than a part of the view.
    """

    def __init__(self) -> None:
        self.first = 0.0
        self.last = 1.0
        self.follow = True
        self.ahead = 0
        self._total = 0

    @property
    def span(self) -> float:
        """Number of bars in view."""
        return self.last - self.first

    @property
    def total(self) -> int:
        """Number of bars there are."""
        return self._total

    def reset(self, total: int, bars: float) -> None:
        """Show the newest `bars` of `total` bars and follow."""
        self._total = total
        self.first, self.last = 0.0, self._limited_span(max(MIN_BARS, bars))
        self.go_to_latest()

    def set_total(self, total: int) -> None:
        """Take note of new bars; in follow mode the view moves along."""
        added = total - self._total
        self._total = total
        if self.follow and added:
            self.first += added
            self.last += added

    def set_ahead(self, bars: int) -> None:
        """Leave room for so many bars beyond the newest; in follow mode the view moves."""
        if bars != self.ahead:
            self.ahead = bars
            if self.follow:
                self.go_to_latest()

    def pan(self, bars: float) -> None:
        """Move the view by a number of bars, positive towards newer ones; ends follow mode."""
        self.follow = False
        self._place(self.first + bars, self.span)

    def zoom(self, anchor: float, factor: float) -> None:
        """Change the span by `factor` (below 1 zooms in), keeping x = `anchor` where it is."""
        span = self._limited_span(self.span * factor)
        share = (anchor - self.first) / self.span
        self._place(anchor - share * span, span)
        if not self.first <= self._total - 1 <= self.last:
            self.follow = False

    def go_to_latest(self) -> None:
        """Put the newest bar at the right, leave a margin, follow."""
        self.follow = True
        span = self.span
        self.last = self._total - 0.5 + max(span * MARGIN, min(self.ahead + 0.5, span * _AHEAD_SHARE))
        self.first = self.last - span

    def go_to_start(self) -> None:
        """Put the oldest bar at the left; ends follow mode."""
        self.follow = False
        span = self.span
        self.first = -0.5 - span * MARGIN
        self.last = self.first + span

    def fit(self) -> None:
        """Show all bars and follow."""
        self.first, self.last = 0.0, self._limited_span(self._total * (1 + 2 * MARGIN))
        self.go_to_latest()

    def indices(self) -> tuple[int, int]:
        """Return the bars in view as a half-open range clipped to the data."""
        return max(0, int(self.first)), min(self._total, int(self.last) + 2)

    def _limited_span(self, span: float) -> float:
        return min(max(span, MIN_BARS), max(4.0 * MIN_BARS, self._total * (1 + 4 * MARGIN)))

    def _place(self, first: float, span: float) -> None:
        first = min(max(first, _KEEP - span), self._total - _KEEP)
        self.first, self.last = first, first + span
