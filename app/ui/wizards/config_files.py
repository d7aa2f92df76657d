"""Saves and loads the training configuration from the wizard. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from app.flows.sentence_text import local_text
from app.flows.training_runs import Run
from app.i18n import tr
from app.ui.dialogs.file_picker import file_picker
from core.errors import UserError
from ml.agents.run_spec import AgentSpec
from ml.spec_file import read_run_spec, write_spec

_ENDING = "toml"


class ConfigFiles(QObject):
    """Two file dialogs, and what comes of them.

    Signals:
        loaded(object): a valid `ForecastSpec` or `AgentSpec`.
        told(str, str): a sentence in the present language and its role: "success" or "warning".
    """

    loaded = Signal(object)
    told = Signal(str, str)

    def __init__(self, spec: Callable[[], Run], window: QWidget) -> None:
        """Wire it up.

        Args:
            spec: returns what there is to save; raises `UserError` while something is wrong.
            window: owns the dialogs.
        """
        super().__init__(window)
        self._spec, self._window = spec, window

    def ask_save(self) -> None:
        """Ask where to save."""
        try:
            spec = self._spec()
        except UserError as exc:
            self.told.emit(local_text(str(exc)), "warning")
            return
        kind = f"-{spec.algorithm.kind}" if isinstance(spec, AgentSpec) else ""
        name = f"{spec.data.symbol.replace('/', '_')}-{spec.data.timeframe}{kind}.{_ENDING}"
        dialog = self._dialog(tr("Save the configuration"), "save_configuration_dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(_ENDING)
        dialog.selectFile(name)
        dialog.fileSelected.connect(self.save)
        dialog.open()

    def ask_load(self) -> None:
        """Ask what to load."""
        dialog = self._dialog(tr("Load a configuration"), "load_configuration_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self.load)
        dialog.open()

    @Slot(str)
    def save(self, path: str) -> None:
        """Write the configuration that `train forecast --config` or `train agent --config` reads as well."""
        try:
            write_spec(Path(path), self._spec())
        except UserError as exc:
            self.told.emit(local_text(str(exc)), "warning")
            return
        self.told.emit(tr("Saved: {file}", file=Path(path).name), "success")

    @Slot(str)
    def load(self, path: str) -> None:
        """Read a configuration; one that is not valid changes nothing."""
        try:
            spec = read_run_spec(Path(path)).validate()
        except UserError as exc:
            self.told.emit(local_text(str(exc)), "warning")
            return
        self.loaded.emit(spec)
        self.told.emit(tr("Loaded: {file}", file=Path(path).name), "success")

    def _dialog(self, title: str, name: str) -> QFileDialog:
        files = tr("Training configurations ({patterns})", patterns=f"*.{_ENDING}")
        return file_picker(self._window, name, title, files)
