"""About the program. GUI thread only."""

from __future__ import annotations

import platform

from PySide6.QtCore import Qt, Slot, qVersion
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.i18n import tr
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, set_look


class AboutDialog(QDialog):
    """Name, version and what a report needs to know about this machine."""

    def __init__(self, version: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("about_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("About Maru"))
        self.setMinimumWidth(90 * GRID)
        title = QLabel(f"Maru {version}", self)
        set_look(title, "role", "title")
        text = QLabel(tr("Learns to trade crypto and trades, under the eyes of a person."), self)
        text.setWordWrap(True)
        self.system = QLabel(
            f"Python {platform.python_version()}\nQt {qVersion()}\n{platform.system()} {platform.machine()}", self
        )
        self.system.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        set_look(self.system, "role", "muted")
        fonts = QLabel(tr("Icons: Lucide (ISC). Font: Pretendard, subset (OFL)."), self)
        fonts.setWordWrap(True)
        set_look(fonts, "role", "small")
        copy = QPushButton(tr("Copy system information"), self)
        copy.setObjectName("about_copy")
        copy.setAutoDefault(False)
        close = QPushButton(tr("Close"), self)
        close.setDefault(True)
        close.setFocus()
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addWidget(copy)
        buttons.addStretch(1)
        buttons.addWidget(close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        for widget in (title, text, self.system, fonts):
            layout.addWidget(widget)
        layout.addLayout(buttons)
        self._version = version
        copy.clicked.connect(self._on_copy)
        close.clicked.connect(self.close)

    @Slot()
    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(f"Maru {self._version}\n{self.system.text()}")
