"""What was looked at, what came out, and what that means, one below the other. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from app.flows.agent_words import Finding, Tone
from app.theme import SPACE_M, SPACE_S, set_look
from app.ui.model_card.page import sentence

_MARKS = {Tone.GOOD: "✓", Tone.NEUTRAL: "·", Tone.BAD: "△"}
_MARK, _TITLE, _VALUE, _TEXT = range(4)


class FindingList(QWidget):
    """One row per finding: a mark, its name, its figure, and a sentence for a layman.

    Colour is never the only cue; what is wrong has a mark of its own.
    """

    def __init__(self, name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._rows: list[tuple[QLabel, ...]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(SPACE_M)
        self._grid.setVerticalSpacing(SPACE_S)
        self._grid.setColumnStretch(_TITLE, 3)
        self._grid.setColumnStretch(_VALUE, 3)
        self._grid.setColumnStretch(_TEXT, 6)

    def show_findings(self, findings: Sequence[Finding], *, praised: bool = False) -> None:
        """Write findings.

        Args:
            findings: from top to bottom.
            praised: whether what is good may look like a success; where the whole is none, no part of it does.
        """
        while len(self._rows) < len(findings):
            self._append()
        for number, labels in enumerate(self._rows):
            shown = number < len(findings)
            for label in labels:
                label.setVisible(shown)
            if shown:
                self._write(labels, findings[number], praised)
        said = [f"{_MARKS[each.tone]} {each.title}: {each.value}. {each.text}" for each in findings]
        self.setAccessibleDescription("\n".join(said))

    def _append(self) -> None:
        labels = (*(sentence(self, "figures") for _ in (_MARK, _TITLE, _VALUE)), sentence(self, "small"))
        for column, label in enumerate(labels):
            label.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(label, len(self._rows), column)
        labels[_MARK].setWordWrap(False)
        self._rows.append(labels)

    @staticmethod
    def _write(labels: tuple[QLabel, ...], finding: Finding, praised: bool) -> None:
        usual = "figures-good" if finding.tone is Tone.GOOD and praised else "figures"
        look = "figures-bad" if finding.tone is Tone.BAD else usual
        for column, text in enumerate((_MARKS[finding.tone], finding.title, finding.value, finding.text)):
            labels[column].setText(text)
            if column != _TEXT:
                set_look(labels[column], "role", look if column != _TITLE else "figures")
