"""Finds text that does not fit its place. GUI thread only.

Texts that shorten themselves on purpose (table cells, `ElidedLabel`, painted charts and ladders) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QStyle,
    QStyleOptionComboBox,
    QTabBar,
    QWidget,
)

from app.ui.widgets.elided_label import ElidedLabel

_TOLERANCE = 1  # px, for hints that are rounded


def clipped_texts(root: QWidget) -> list[str]:
    """Return a line for every visible text under `root` (a shown widget) that is cut off."""
    found: list[str] = []
    for widget in (root, *root.findChildren(QWidget)):
        if _is_shown(widget, root) and not isinstance(widget, ElidedLabel):
            found += [f"{type(widget).__name__} {widget.objectName()!r}: {text}" for text in _problems(widget, root)]
    return found


def _is_shown(widget: QWidget, root: QWidget) -> bool:
    """Whether a widget is in sight; Qt keeps the docks behind a tab visible, but far outside the window."""
    if not widget.isVisible() or widget.window() is not root.window():
        return False
    place = QRect(widget.mapTo(root, QPoint(0, 0)), widget.size())
    return place.intersects(root.rect())


def _problems(widget: QWidget, root: QWidget) -> Iterator[str]:
    match widget:
        case QLabel():
            yield from _label(widget, root)
        case QTabBar():
            yield from _tabs(widget)
        case QHeaderView():
            yield from _header(widget)
        case QComboBox():
            yield from _combo(widget)
        case QLineEdit():
            if not isinstance(widget.parent(), QAbstractSpinBox | QComboBox):
                yield from _edit(widget)
        case QAbstractButton():
            yield from _button(widget, root)
        case _:
            pass


def _label(label: QLabel, root: QWidget) -> Iterator[str]:
    if not label.text():
        return
    if label.wordWrap():
        if label.heightForWidth(label.width()) > label.height() + _TOLERANCE:
            yield f"{label.text()!r} needs {label.heightForWidth(label.width())} px of height, has {label.height()}"
    elif label.sizeHint().width() > label.width() + _TOLERANCE:
        yield f"{label.text()!r} needs {label.sizeHint().width()} px, has {label.width()}"
    yield from _cut_by_parent(label, root, label.text())


def _button(button: QAbstractButton, root: QWidget) -> Iterator[str]:
    if not button.text():
        return
    needed = button.fontMetrics().size(Qt.TextFlag.TextShowMnemonic, button.text()).width()
    if not button.icon().isNull():
        needed += button.iconSize().width()
    if needed > button.width() - 2 * _TOLERANCE:
        yield f"{button.text()!r} needs {needed} px, has {button.width()}"
    yield from _cut_by_parent(button, root, button.text())


def _cut_by_parent(widget: QWidget, root: QWidget, text: str) -> Iterator[str]:
    """Find a widget that reaches sideways out of a parent; downwards a scroll area may hold more than it shows."""
    parent = widget.parentWidget()
    while parent is not None and widget is not root:
        left = widget.mapTo(parent, QPoint(0, 0)).x()
        if left < -_TOLERANCE or left + widget.width() > parent.width() + _TOLERANCE:
            yield f"{text!r} reaches out of {type(parent).__name__} {parent.objectName()!r}"
            return
        if parent is root:
            return
        parent = parent.parentWidget()


def _tabs(bar: QTabBar) -> Iterator[str]:
    for index in range(bar.count()):
        if not bar.isTabVisible(index):
            continue
        needed = bar.fontMetrics().size(Qt.TextFlag.TextShowMnemonic, bar.tabText(index)).width()
        place = bar.tabRect(index)
        if needed > place.width() or place.right() > bar.width():
            yield f"tab {bar.tabText(index)!r} needs {needed} px, has {place.width()}"


def _header(header: QHeaderView) -> Iterator[str]:
    model = header.model()
    if header.orientation() is not Qt.Orientation.Horizontal or model is None:
        return
    for section in range(header.count()):
        text = str(model.headerData(section, header.orientation()) or "")
        size = header.sectionSize(section)
        if not header.isSectionHidden(section) and header.fontMetrics().horizontalAdvance(text) > size:
            yield f"header {text!r} has {size} px"


def _combo(combo: QComboBox) -> Iterator[str]:
    option = QStyleOptionComboBox()
    combo.initStyleOption(option)
    place = combo.style().subControlRect(
        QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, combo
    )
    needed = combo.fontMetrics().horizontalAdvance(combo.currentText())
    if needed > place.width() + _TOLERANCE:
        yield f"{combo.currentText()!r} needs {needed} px, has {place.width()}"


def _edit(edit: QLineEdit) -> Iterator[str]:
    text = edit.text() or edit.placeholderText()
    needed = edit.fontMetrics().horizontalAdvance(text)
    if needed > edit.contentsRect().width():
        yield f"{text!r} needs {needed} px, has {edit.contentsRect().width()}"
