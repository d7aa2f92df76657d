"""The look of boxes with arrows. GUI thread only."""

from __future__ import annotations

from PySide6.QtWidgets import QAbstractSpinBox

from app.theme import GRID, SPACE_S


def indent_text(box: QAbstractSpinBox) -> None:
    """Indent the text like that of other fields; style sheets do not reach the line inside such a box."""
    line = box.lineEdit()
    if line is not None:
        line.setTextMargins(SPACE_S - GRID // 2, 0, 0, 0)
