"""A table of figures whose rows change while it is looked at."""

from __future__ import annotations

from PySide6.QtWidgets import QLabel

from app.ui.widgets.figure_table import FigureTable, Heading


def test_rows_come_change_and_go(qtbot) -> None:
    table = FigureTable("figures")
    qtbot.addWidget(table)
    headings = (Heading("Seed"), Heading("Return", "net"))
    table.show_rows(headings, [("1", "0.1"), ("2", "0.2")], strong=0)
    assert table.texts() == ["Seed", "Return", "1", "0.1", "2", "0.2"]
    labels = table.findChildren(QLabel)
    table.show_rows(headings, [("1", "0.3"), ("2", "0.2")], strong=0)
    assert table.texts() == ["Seed", "Return", "1", "0.3", "2", "0.2"]
    assert table.findChildren(QLabel) == labels
    assert [label.text() for label in labels if label.property("role") == "figures"] == ["1", "0.3"]
    table.show_rows(headings, [("1", "0.3"), ("2", "0.2")], strong=1)
    assert [label.text() for label in labels if label.property("role") == "figures"] == ["2", "0.2"]
    table.show_rows(headings, [("9", "0.9")])
    assert table.texts() == ["Seed", "Return", "9", "0.9"]
    table.show_rows((Heading("Who"),), [("a",), ("b",)])
    assert table.texts() == ["Who", "a", "b"]
    assert [label.toolTip() for label in labels[:3]] == ["", "", ""]
    assert table.accessibleDescription() == "a; b"
