"""Stored models as the window sees them: list, card, comparison, export, import, judging. GUI thread only.

Reading and writing happens on the store's thread; the check of a foreign network and the judging of a model have a
thread of their own each.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from app.flows.sentence_text import local_text
from app.i18n import tr
from app.language import LanguageManager
from app.models.model_card import Judging
from app.replay_desk import ReplayDesk
from app.store_queries import StoreQueries
from app.theme import ThemeManager
from app.ui.dialogs.models_dialog import ModelsDialog
from app.workers.base import WorkerThread
from app.workers.model_evaluation import ModelEvaluationWorker
from app.workers.model_import import ModelImportWorker
from app.workers.store import QueryAnswer, StoreWorker
from core.clock import Clock
from core.config import DataPaths
from core.domain.data_origin import DataOrigin, with_caution
from core.errors import UserError
from core.events import Notice, Severity
from ml.evaluation_plan import EvaluationProgress, ModelResult


class ModelDesk(QObject):
    """Answers the window of models (`app.services.ModelCommands`).

    Signals:
        noticed(object): a `Notice` for the person.
        changed: what is stored, or said of it, may be different now; whoever hears it calls `refresh`.
        look_requested(str): this model id shall forecast on the chart, without trading.
        replay_requested(str): the evaluated pass of this agent shall be replayed on the chart.
        strategy_requested(str): a strategy shall be made of this model id.
        training_requested: a person without a model wants to train one.
    """

    noticed = Signal(object)
    changed = Signal()
    look_requested = Signal(str)
    replay_requested = Signal(str)
    strategy_requested = Signal(str)
    training_requested = Signal()

    def __init__(
        self,
        paths: DataPaths,
        store: StoreWorker,
        theme: ThemeManager,
        language: LanguageManager,
        clock: Clock,
        parent: QObject | None = None,
    ) -> None:
        """Wire it; nothing is read yet.

        Args:
            paths: the data folder.
            store: a running worker.
            theme / language: for the window of models.
            clock: stamps what is imported.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._paths, self._store, self._theme, self._language, self._clock = paths, store, theme, language, clock
        self._queries = StoreQueries(store, self)
        self._dialog: ModelsDialog | None = None
        self._imports: list[ModelImportWorker] = []
        self._evaluations: dict[str, ModelEvaluationWorker] = {}  # by model id: never two of one model
        self._judging: dict[str, Judging] = {}  # what is shown of them, and of those that failed
        self.replays = ReplayDesk(paths, store, theme, language, self)
        self.replay_requested.connect(self._on_replay_requested)

    # --- the window of models ---------------------------------------------------------------------------------

    def show(self, model_id: str = "", parent: QWidget | None = None) -> None:
        """Open the window of models, with one of them chosen; an open one comes to the front."""
        if self._dialog is None:
            self._dialog = ModelsDialog(self, self._theme, self._language, parent)
            self._dialog.look_requested.connect(self.look_requested)
            self._dialog.replay_requested.connect(self.replay_requested)
            self._dialog.strategy_requested.connect(self.strategy_requested)
            self._dialog.training_requested.connect(self.training_requested)
            self._dialog.finished.connect(self._on_finished)
            self._show_judging()
        self._dialog.choose(model_id)
        self._dialog.show()  # not modal: the kill switch must stay within reach
        self._dialog.raise_()
        self._dialog.activateWindow()
        self.list_models()

    @property
    def dialog(self) -> ModelsDialog | None:
        """The open window of models, if there is one."""
        return self._dialog

    def close(self) -> None:
        """Close the window of models, and what is replayed from it."""
        self.replays.close()
        if self._dialog is not None:
            self._dialog.close()

    def workers(self) -> list[WorkerThread]:
        """Return the imports and evaluations under way, for the shutdown."""
        return [*self._imports, *self._evaluations.values()]

    @property
    def judging(self) -> int:
        """Models that are being judged."""
        return len(self._evaluations)

    @Slot()
    def refresh(self) -> None:
        """Read the list again where somebody looks at it: a training may have brought a model."""
        if self._dialog is not None:
            self.list_models()

    def refuse_look(self, error: UserError) -> None:
        """Say why a model cannot be shown on the chart."""
        self._tell(Severity.ERROR, tr("The model cannot be shown on the chart"), str(error))

    @Slot(str)
    def _on_replay_requested(self, model_id: str) -> None:
        self.replays.open(model_id, self._dialog.parentWidget() if self._dialog is not None else None)

    @Slot()
    def _on_finished(self) -> None:
        self._dialog = None

    # --- ModelCommands ----------------------------------------------------------------------------------------

    def list_models(self) -> None:
        """Read which models there are."""
        folder = self._paths.models
        self._queries.ask(lambda _: _rows(folder), self._take_rows)

    def open_model(self, model_id: str) -> None:
        """Read and verify a model."""
        paths = self._paths
        self._queries.ask(lambda _: _card(paths, model_id), self._take_card)

    def compare_models(self, model_ids: Sequence[str]) -> None:
        """Put models side by side."""
        paths, chosen = self._paths, tuple(model_ids)
        self._queries.ask(lambda _: _compared(paths, chosen), self._take_comparison)

    def set_marks(self, model_id: str, tags: Sequence[str], note: str) -> None:
        """Set tags and note of a model."""
        folder, wanted = self._paths.models, tuple(tags)
        title = tr("Tags and note could not be saved")
        self._queries.ask(
            lambda _: _marked(folder, model_id, wanted, note), functools.partial(self._take_change, title)
        )

    def export_model(self, model_id: str, target: Path) -> None:
        """Write a model as one file."""
        folder = self._paths.models
        self._queries.ask(lambda _: _exported(folder, model_id, target), self._take_export)

    def import_model(self, source: Path) -> None:
        """Check a model from elsewhere and store it."""
        worker = ModelImportWorker(self._paths.models, source, self._clock, self)
        worker.imported.connect(self._on_imported)
        worker.failed.connect(self._on_import_failed)
        worker.finished.connect(self._on_import_ended)
        self._imports.append(worker)
        self._show_imports()
        worker.start()

    def remove_model(self, model_id: str) -> None:
        """Delete a model for good, where nothing protects it."""
        paths = self._paths
        title = tr("The model could not be removed")
        if model_id in self._evaluations:
            self._tell(Severity.ERROR, title, tr("It is being judged; cancel that first."))
            return
        self._queries.ask(lambda _: _removed(paths, model_id), functools.partial(self._take_change, title))

    def judge_model(self, model_id: str) -> None:
        """Judge a model on the bars that came after its own and keep the result; one at work changes nothing."""
        if model_id in self._evaluations:
            return
        worker = ModelEvaluationWorker(self._paths, model_id, self._store, self._clock, self)
        worker.progressed.connect(self._on_evaluation_progress)
        worker.evaluated.connect(self._on_evaluated)
        worker.failed.connect(self._on_evaluation_failed)
        worker.finished.connect(self._on_evaluation_ended)
        self._evaluations[model_id] = worker
        self._set_judging(model_id, Judging())
        worker.start()

    def cancel_judging(self, model_id: str) -> None:
        """Stop that."""
        worker = self._evaluations.get(model_id)
        if worker is not None:
            worker.request_stop()
            self._set_judging(model_id, replace(self._judging[model_id], stopping=True))

    # --- answers ----------------------------------------------------------------------------------------------

    def _take_rows(self, answer: QueryAnswer) -> None:
        if self._dialog is None:
            return
        if answer.error is not None:
            self._dialog.on_list_failed(answer.error.message, answer.error.remedy)
        else:
            self._dialog.on_rows(answer.value)

    def _take_card(self, answer: QueryAnswer) -> None:
        if answer.error is not None:
            self._tell(Severity.ERROR, tr("The models cannot be read"), str(answer.error))
        elif self._dialog is not None:
            self._dialog.on_card(answer.value)

    def _take_comparison(self, answer: QueryAnswer) -> None:
        if answer.error is not None:
            self._tell(Severity.ERROR, tr("The models cannot be compared"), str(answer.error))
        elif self._dialog is not None:
            self._dialog.on_comparison(answer.value)

    def _take_export(self, answer: QueryAnswer) -> None:
        if answer.error is not None:
            self._tell(Severity.ERROR, tr("The model could not be exported"), str(answer.error))
        else:
            self._tell(Severity.SUCCESS, tr("The model was exported"), str(answer.value))

    def _take_change(self, title: str, answer: QueryAnswer) -> None:
        if answer.error is not None:
            self._tell(Severity.ERROR, title, str(answer.error))
        elif self._dialog is not None:
            self._dialog.say("")  # what went wrong before is over
        self.changed.emit()

    @Slot(object)
    def _on_imported(self, imported: Any) -> None:
        title = tr("The model is here already") if imported.already_here else tr("The model was imported")
        self._tell(Severity.SUCCESS, title, imported.model_id)
        if self._dialog is not None:
            self._dialog.choose(imported.model_id)
        self.changed.emit()

    @Slot(object)
    def _on_import_failed(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error  # a bug: the crash handler shows it
        self._tell(Severity.ERROR, tr("The model was not imported"), str(error))

    @Slot()
    def _on_import_ended(self) -> None:
        worker = self.sender()
        assert isinstance(worker, ModelImportWorker)
        worker.join(1.0)
        self._imports.remove(worker)
        self._show_imports()

    def _show_imports(self) -> None:
        if self._dialog is not None:
            self._dialog.set_importing(bool(self._imports))

    @Slot(object)
    def _on_evaluation_progress(self, progress: EvaluationProgress) -> None:
        model_id = self._evaluation().model_id
        self._set_judging(model_id, replace(self._judging[model_id], progress=progress))

    @Slot(object)
    def _on_evaluated(self, result: ModelResult) -> None:
        severity = Severity.SUCCESS if result.metrics.edge else Severity.INFO
        verdict = with_caution(result.metrics.verdict, DataOrigin(result.venue))
        self._tell(severity, tr("The model was judged on newer bars"), verdict)
        if self._dialog is not None:
            self._dialog.on_judged(result.model_id)

    @Slot(object)
    def _on_evaluation_failed(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error  # a bug: the crash handler shows it
        self._tell(Severity.ERROR, tr("The model was not judged"), str(error))
        self._set_judging(self._evaluation().model_id, Judging(message=error.message, remedy=error.remedy))

    @Slot()
    def _on_evaluation_ended(self) -> None:
        worker = self._evaluation()
        worker.join(1.0)
        del self._evaluations[worker.model_id]
        if self._judging[worker.model_id].at_work:  # what failed stays to be read
            del self._judging[worker.model_id]
        self._show_judging()

    def _evaluation(self) -> ModelEvaluationWorker:
        """Return the evaluation whose signal is being served."""
        worker = self.sender()
        assert isinstance(worker, ModelEvaluationWorker)
        return worker

    def _set_judging(self, model_id: str, judging: Judging) -> None:
        self._judging[model_id] = judging
        self._show_judging()

    def _show_judging(self) -> None:
        if self._dialog is not None:
            self._dialog.set_judging(dict(self._judging))

    def _tell(self, severity: Severity, title: str, text: str) -> None:
        self.noticed.emit(Notice(severity, title, text))
        if self._dialog is not None:
            self._dialog.say(f"{title}. {local_text(text)}", bad=severity is Severity.ERROR)


# What runs on the store's thread; the modules load there, with the arrays' library.


def _rows(folder: Path) -> Any:
    from app.stored_models import model_rows

    return model_rows(folder)


def _card(paths: DataPaths, model_id: str) -> Any:
    from app.stored_models import model_card

    return model_card(paths, model_id)


def _compared(paths: DataPaths, model_ids: tuple[str, ...]) -> Any:
    from app.stored_models import compared_models

    return compared_models(paths, model_ids)


def _marked(folder: Path, model_id: str, tags: tuple[str, ...], note: str) -> Any:
    from app.stored_models import change_marks

    return change_marks(folder, model_id, tags, note)


def _exported(folder: Path, model_id: str, target: Path) -> Any:
    from ml.model_exchange import export_model

    return export_model(folder, model_id, target)


def _removed(paths: DataPaths, model_id: str) -> None:
    from app.stored_models import remove_model

    remove_model(paths, model_id)
