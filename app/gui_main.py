"""The window's process from its first line to its exit code. Main thread."""

from __future__ import annotations

import os
import sys

from PySide6.QtWidgets import QApplication

from app.bootstrap import Application, end_qt_objects
from app.crash import CrashHandler
from app.gui_options import GuiOptions, parse_gui_options
from app.lifecycle import SignalWatcher
from app.single_instance import SingleInstance
from core.config import APP_NAME, VERSION, DataPaths, data_paths
from core.errors import UserError
from core.logger import LogSetup, TailHandler


def run_gui(arguments: list[str]) -> int:
    """Open the window and return the exit code when it has closed."""
    options = parse_gui_options(arguments)
    try:
        paths = data_paths(options.data_dir).create()
    except UserError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    qapp = QApplication([APP_NAME])
    qapp.setApplicationName(APP_NAME)
    qapp.setApplicationDisplayName(APP_NAME)
    qapp.setApplicationVersion(VERSION)
    qapp.setDesktopFileName("maru")
    qapp.setStyle("Fusion")
    qapp.setQuitOnLastWindowClosed(False)
    instance = SingleInstance(paths.root)
    if not instance.acquire():
        shown = instance.raise_first()
        sys.stderr.write("Maru is already open with this data folder.\n")
        return 0 if shown else 2
    return _run(qapp, options, paths, instance)


def _run(qapp: QApplication, options: GuiOptions, paths: DataPaths, instance: SingleInstance) -> int:
    logs = LogSetup(paths.logs)
    crash = CrashHandler(paths.logs, clean=logs.redactor.clean)
    last = crash.install()
    application = Application(qapp, options, paths, crash, logs.redactor.add)
    logs.attach(TailHandler(application.log_bridge.take))
    signals = SignalWatcher()
    signals.requested.connect(application.lifecycle.quit_for_signal)
    signals.insisted.connect(application.lifecycle.hurry)
    signals.start()
    instance.raise_requested.connect(application.show_window)
    application.start()
    application.tell_last_run(last)
    code = qapp.exec()
    if application.lifecycle.stuck:  # a thread that does not end would abort the interpreter on its way out
        os._exit(code or 1)
    signals.stop()
    logs.close()
    instance.release()
    end_qt_objects(application)
    crash.close()
    return code
