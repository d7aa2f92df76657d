"""Sizes that follow wrapped text. GUI thread only."""

from __future__ import annotations

from PySide6.QtWidgets import QLayout, QWidget


def fit_height(widget: QWidget, width: int) -> None:
    """Resize a widget to a width (px) and the height its wrapped texts need there.

    `QWidget.adjustSize` measures wrapped labels at the width they would like, not at the one they get.

    Raises:
        ValueError: the widget has no layout.
    """
    layout = widget.layout()
    if layout is None:
        raise ValueError(f"{widget.objectName() or type(widget).__name__} has no layout to measure")
    widget.ensurePolished()
    for label in widget.findChildren(QWidget):
        label.ensurePolished()  # a label measures with the font it has; the style sheet may give it another
    for part in (*widget.findChildren(QLayout), layout):
        part.invalidate()  # while the widget is hidden, those inside keep the height of the text before
    widget.resize(width, layout.totalHeightForWidth(width))
