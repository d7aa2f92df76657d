"""A small table of figures in words: captions on top, one thing per row. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from app.theme import SPACE_M, SPACE_XS, set_look


@dataclass(frozen=True, slots=True)
class Heading:
    """Title of a column, and what it means under the mouse."""

    text: str
    hint: str = ""


class FigureTable(QWidget):
    """Labels in a grid; the first column names, the others are figures to the right."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._labels: list[QLabel] = []
        self._shape: tuple[int, tuple[int, ...], int | None] | None = None  # of what is laid out
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(SPACE_M)
        self._grid.setVerticalSpacing(SPACE_XS)

    def show_rows(self, headings: Sequence[Heading], rows: Sequence[Sequence[str]], strong: int | None = None) -> None:
        """Write headings and rows; row number `strong` stands out."""
        cells = [(0, column, heading.text, heading.hint) for column, heading in enumerate(headings)]
        cells += [(n, column, text, "") for n, row in enumerate(rows, start=1) for column, text in enumerate(row)]
        shape = (len(headings), tuple(len(row) for row in rows), strong)
        if shape != self._shape:  # live figures come ten times a second, and a layout is dear
            self._lay_out([(row, column) for row, column, _, _ in cells], strong)
            self._shape = shape
        for label, (_, _, text, hint) in zip(self._labels, cells, strict=False):
            if label.text() != text:
                label.setText(text)
            label.setToolTip(hint)
        self.setAccessibleDescription("; ".join(", ".join(row) for row in rows))

    def texts(self) -> list[str]:
        """Return every cell, row by row, headings first."""
        return [label.text() for label in self._labels if not label.isHidden()]

    def _lay_out(self, places: Sequence[tuple[int, int]], strong: int | None) -> None:
        """Put a label into each place, row and column; those that are left over are hidden."""
        while len(self._labels) < len(places):
            self._labels.append(QLabel(self))
        for label in self._labels:  # before any is placed anew: a cell must not hold two
            self._grid.removeWidget(label)
        for label, (row, column) in zip(self._labels, places, strict=False):
            set_look(label, "role", "figures" if strong is not None and row == strong + 1 else "small")
            side = Qt.AlignmentFlag.AlignRight if column else Qt.AlignmentFlag.AlignLeft
            label.setAlignment(side | Qt.AlignmentFlag.AlignVCenter)
            self._grid.addWidget(label, row, column)
            label.show()
        for label in self._labels[len(places) :]:
            label.hide()
        self._grid.setColumnStretch(0, 1)
