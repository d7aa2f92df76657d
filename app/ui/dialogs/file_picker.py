"""The window in which a person picks a file. It does not block the program. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QWidget

DATA_FILES = "*.csv *.csv.gz *.feather *.parquet"


def file_picker(parent: QWidget, name: str, title: str, files: str) -> QFileDialog:
    """Return a window to open: `name` is its constant object name, `files` says which files it offers."""
    picker = QFileDialog(parent, title)
    picker.setObjectName(name)
    picker.setNameFilter(files)
    picker.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    return picker


def existing_file_picker(parent: QWidget, name: str, title: str, files: str) -> QFileDialog:
    """Return such a window for a file that is there already."""
    picker = file_picker(parent, name, title, files)
    picker.setFileMode(QFileDialog.FileMode.ExistingFile)
    return picker
