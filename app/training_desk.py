"""Training as the window sees it: wizard, downloads before a run, runs, results, models on offer. GUI thread only.

It joins four parts that know nothing of each other: the wizard, the training worker, the store worker and the training
panel.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from app import training_reads
from app.flows.origin_text import data_title
from app.flows.run_text import agent_finished_text, finished_text
from app.flows.training_kind import TrainingKind, kind_of
from app.flows.training_stakes import TrainingStakes
from app.i18n import tr
from app.language import LanguageManager
from app.past_runs import can_go_on, forget_run, past_runs
from app.store_queries import StoreQueries
from app.theme import ThemeManager
from app.training_downloads import PracticeDownloads, practice_datasets
from app.workers.base import WorkerThread
from app.workers.store import QueryAnswer, StoreWorker
from app.workers.training import TrainingWorker
from core.clock import SystemClock
from core.config import DataPaths
from core.domain.data_origin import DataOrigin, caution
from core.errors import UserError
from core.events import Notice, Severity
from core.jobs import JobCancelled, JobFailed, JobFinished, JobLog, JobPaused, JobProgress, JobResumed
from ml.agents.progress import AgentProgress, AgentResult
from ml.agents.results import EDGE
from ml.agents.run_spec import AgentSpec
from ml.api import ForecastSpec, SeriesSource, TrainingProgress, TrainingResult
from ml.search_results import SearchProgress, SearchResult
from ml.search_spec import SearchSpec

if TYPE_CHECKING:
    from app.flows.datasets import Dataset, DeviceOption, SeriesExtent, StoredForecaster
    from app.flows.feature_catalogue import FeatureCatalogue
    from app.flows.training_flow import TrainingDraft
    from app.model_desk import ModelDesk
    from app.ui.docks.training_dock import TrainingDock
    from app.ui.wizards.training_wizard import TrainingWizard
    from app.workers.history import OpenLink

_log = logging.getLogger(__name__)

LAST_CONFIGURATION = "last_training.toml"  # in the data folder


class TrainingDesk(QObject):
    """Runs training from the wish to the model.

    Implements `app.flows.datasets.TrainingSources` for the wizard and `app.services.TrainingCommands` for the panel.

    Signals:
        noticed(object): a `Notice` for the person.
        models_changed(object): tuple of `ModelChoice`, newest first.
        look_wanted(str): this model id shall forecast on the chart.
        strategy_wanted(str): a strategy shall be made of this model id.
        training_wanted: a person left the wizard with a run to be watched.
        logged(int, str, str): a line for the log: level, source, text.
    """

    noticed = Signal(object)
    models_changed = Signal(object)
    look_wanted = Signal(str)
    strategy_wanted = Signal(str)
    training_wanted = Signal()
    logged = Signal(int, str, str)

    def __init__(
        self,
        paths: DataPaths,
        training: TrainingWorker,
        store: StoreWorker,
        open_link: OpenLink,
        theme: ThemeManager,
        language: LanguageManager,
        now_ns: Callable[[], int],
        parent: QObject | None = None,
    ) -> None:
        """Wire the workers together.

        Args:
            paths: the data folder.
            training / store: running workers.
            open_link: opens a market link for downloads, on the loop that calls it.
            theme / language: for the wizard.
            now_ns: market time, ns UTC: practice history ends there.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._paths, self._training, self._store = paths, training, store
        self._queries = StoreQueries(store, self)
        self._theme, self._language, self._now_ns = theme, language, now_ns
        self._dock: TrainingDock | None = None
        self._wizard: TrainingWizard | None = None
        self._draft: TrainingDraft | None = None
        self._models: ModelDesk | None = None
        self._after = ""  # the run that what the wizard brings shall follow
        self._symbols: tuple[str, ...] = ()
        self._origin: DataOrigin | None = None
        self._stored: tuple[Dataset, ...] = ()
        self._gpus: tuple[str, ...] = ()
        self._specs: dict[str, dict[str, Any]] = {}  # of runs that may go on
        self._known_models: frozenset[str] = frozenset()
        self._downloads = PracticeDownloads(paths.candles, store, open_link, now_ns, self)
        self._downloads.downloaded.connect(self._on_downloaded)
        self._downloads.failed.connect(self._on_download_failed)
        training.queue_changed.connect(self._on_queue_changed)
        training.queue_failed.connect(self._on_queue_failed)
        training.run_paused.connect(self._on_paused)
        training.run_resumed.connect(self._on_resumed)
        training.run_progressed.connect(self._on_progress)
        training.run_logged.connect(self._on_log)
        training.run_finished.connect(self._on_finished)
        training.run_failed.connect(self._on_failed)
        training.run_cancelled.connect(self._on_cancelled)

    # --- set-up -----------------------------------------------------------------------------------------------

    def attach_dock(self, dock: TrainingDock) -> None:
        """Feed this panel."""
        self._dock = dock
        self._downloads.attach_dock(dock)
        dock.wizard_requested.connect(self.open_wizard)
        dock.strategy_requested.connect(self._on_strategy_requested)
        dock.model_requested.connect(self.open_model)
        dock.search_requested.connect(self.open_search)
        self._on_queue_changed()

    def set_markets(self, symbols: Sequence[str], origin: DataOrigin | None) -> None:
        """Learn which markets the practice exchange has, and whose bars theirs are."""
        self._symbols, self._origin = tuple(symbols), origin
        self._offer()

    @Slot()
    def refresh(self) -> None:
        """Read again, in the background, which models there are and what is stored."""
        self._ask_models("")  # first: it takes a moment, while the description of all stored prices may take seconds
        self._queries.ask(training_reads.describe_stored, self._take_stored)
        if self._models is not None:
            self._models.refresh()

    def restore_runs(self) -> None:
        """Put the runs of earlier sessions on the panel's list."""
        runs_dir = self._paths.runs
        self._queries.ask(lambda backend: past_runs(backend.store, runs_dir), self._take_past_runs)

    def detect_devices(self) -> None:
        """Look for GPUs in the background; asks the driver, which can take seconds."""
        self._queries.ask(lambda _: training_reads.gpus(), self._take_gpus)

    @property
    def busy(self) -> int:
        """Runs and downloads under way or waiting."""
        return len(self._training.active_runs()) + len(self._downloads)

    def close_warnings(self) -> list[str]:
        """Return what happens to training if the program ends now, in translated sentences; none where nothing does."""
        queue = self._training.queue
        ending = Counter((kind_of(run.spec), self._has_checkpoint(run.run_id)) for run in queue.at_work)
        return TrainingStakes(
            kept=ending[TrainingKind.FORECAST, True],
            unkept=ending[TrainingKind.FORECAST, False],
            searches=ending[TrainingKind.SEARCH, True],
            unkept_searches=ending[TrainingKind.SEARCH, False],
            agents=ending[TrainingKind.AGENT, True],
            unkept_agents=ending[TrainingKind.AGENT, False],
            downloads=len(self._downloads),
            waiting=len(queue.waiting),
            evaluations=0 if self._models is None else self._models.judging,
        ).sentences()

    def workers(self) -> list[WorkerThread]:
        """Return the downloads, imports and evaluations under way, for the shutdown."""
        of_models = [] if self._models is None else self._models.workers()
        return [*self._downloads.workers, *of_models]

    def close_windows(self) -> None:
        """Close the wizard and the window of models."""
        if self._wizard is not None:
            self._wizard.reject()
        if self._models is not None:
            self._models.close()

    # --- stored models ----------------------------------------------------------------------------------------

    @property
    def models(self) -> ModelDesk:
        """Stored models as the window sees them; made when they are first asked for."""
        if self._models is None:
            from app.model_desk import ModelDesk

            self._models = ModelDesk(self._paths, self._store, self._theme, self._language, SystemClock(), self)
            self._models.noticed.connect(self.noticed)
            self._models.changed.connect(self.refresh)
            self._models.look_requested.connect(self.look_wanted)
            self._models.strategy_requested.connect(self._on_strategy_requested)
            self._models.training_requested.connect(self.open_wizard)
        return self._models

    @Slot()
    def open_models(self) -> None:
        """Show the window of stored models."""
        self.open_model("")

    @Slot(str)
    def open_model(self, model_id: str) -> None:
        """Show the card of a stored model."""
        self.models.show(model_id, self._dock.window() if isinstance(self._dock, QWidget) else None)

    # --- TrainingSources --------------------------------------------------------------------------------------

    def datasets(self) -> Sequence[Dataset]:
        """Return the stored and the practice histories."""
        return (*self._stored, *practice_datasets(self._symbols, self._origin, self._now_ns()))

    def devices(self) -> Sequence[DeviceOption]:
        """Return what this machine can compute on, the automatic choice first."""
        from app.flows.datasets import device_options

        return device_options(self._gpus)

    def inspect_file(self, path: Path, done: Callable[[Dataset | UserError], None]) -> None:
        """Look into a file in the background and call `done` on the GUI thread."""

        def take(answer: QueryAnswer) -> None:
            done(answer.error if answer.error is not None else answer.value)

        self._queries.ask(lambda _: training_reads.inspect(path), take)

    def inspect_series(self, source: SeriesSource, done: Callable[[SeriesExtent | UserError], None]) -> None:
        """Read a side series in the background and call `done` on the GUI thread with its times or what is wrong."""
        self._queries.ask(
            lambda _: training_reads.read_series(source), lambda answer: done(answer.error or answer.value)
        )

    def load_features(self, done: Callable[[FeatureCatalogue | UserError], None]) -> None:
        """Read the kinds of feature columns in the background and call `done` on the GUI thread."""
        self._queries.ask(lambda _: training_reads.load_catalogue(), lambda answer: done(answer.error or answer.value))

    def load_forecasters(self, done: Callable[[Sequence[StoredForecaster] | UserError], None]) -> None:
        """Read, in the background, which stored forecasters there are and call `done` on the GUI thread."""
        models = self._paths.models
        self._queries.ask(
            lambda _: training_reads.stored_forecasters(models), lambda answer: done(answer.error or answer.value)
        )

    # --- TrainingCommands -------------------------------------------------------------------------------------

    def start_training(self, spec: dict[str, Any], after: str = "") -> str:
        """Queue a run and return its id; an invalid specification becomes a notice and an empty id."""
        try:
            return self._training.start_training(spec, after)
        except UserError as exc:
            self._tell(Severity.ERROR, tr("The training was not started"), str(exc))
            return ""

    def plan_after(self, run_id: str) -> None:
        """Open the wizard for a run that starts when this one has ended."""
        self._after = run_id
        self._show_wizard()

    def pause_training(self, run_id: str) -> None:
        """Let a run stand still where it is; one that waits is not started."""
        self._training.pause_training(run_id)

    def continue_training(self, run_id: str) -> None:
        """Take a pause back."""
        self._training.continue_training(run_id)

    def resume_training(self, run_id: str) -> None:
        """Let a run that ended early go on from its checkpoint."""
        try:
            self._training.resume_training(run_id, self._specs[run_id])
        except UserError as exc:
            self._tell(Severity.ERROR, tr("The training was not started"), str(exc))

    def cancel_training(self, run_id: str) -> None:
        """Stop a run, or the download before it."""
        if not self._downloads.cancel(run_id):
            self._training.cancel_training(run_id)

    def move_training(self, run_id: str, by: int) -> None:
        """Move a waiting run so many places down the queue, or up below 0."""
        self._training.move_training(run_id, by)

    def set_training_slots(self, slots: int) -> None:
        """Let so many runs be at work at a time."""
        self._training.set_slots(slots)

    def forget_training(self, run_id: str) -> None:
        """Delete an ended run with its checkpoint; the model it made stays."""
        run_dir = self._paths.runs / run_id
        if self._training.queue.find(run_id) is None:
            take = functools.partial(self._take_forgotten, run_id)
            self._queries.ask(lambda backend: forget_run(backend.store, run_dir), take)

    def _take_forgotten(self, run_id: str, answer: QueryAnswer) -> None:
        if answer.error is not None:
            self._tell(Severity.ERROR, tr("The training run could not be deleted"), str(answer.error))
        elif self._dock is not None:
            self._dock.remove_run(run_id)

    # --- wizard -----------------------------------------------------------------------------------------------

    @Slot()
    def open_wizard(self) -> None:
        """Show the training wizard; an open one comes to the front."""
        if self._wizard is None:
            self._after = ""
        self._show_wizard()

    def _show_wizard(self) -> None:
        from app.ui.wizards.training_wizard import TrainingWizard

        if self._wizard is not None:
            self._wizard.raise_()
            self._wizard.activateWindow()
            return
        parent = self._dock.window() if isinstance(self._dock, QWidget) else None
        spec = None if self._draft is not None else self._last_configuration()
        self._wizard = TrainingWizard(self, self._theme, self._language, parent, self._draft, spec)
        self._wizard.training_requested.connect(self._on_training_requested)
        self._wizard.finished.connect(self._on_wizard_finished)
        self._wizard.show()  # not modal: the kill switch must stay within reach

    @property
    def wizard(self) -> TrainingWizard | None:
        """The open wizard, if there is one."""
        return self._wizard

    @Slot(int)
    def _on_wizard_finished(self, _result: int) -> None:
        if self._wizard is not None:
            self._draft = self._wizard.flow.draft  # opened again, it starts with the same entries
            self._wizard.deleteLater()
            self._wizard = None

    def _last_configuration(self) -> ForecastSpec | AgentSpec | None:
        """Return what the wizard asked for in an earlier session; one that cannot be read any more is left out."""
        path = self._paths.root / LAST_CONFIGURATION
        try:
            return training_reads.read_configuration(path) if path.exists() else None
        except UserError as exc:
            self.logged.emit(logging.WARNING, "training", str(exc))
            return None

    def _remember(self, spec: ForecastSpec | AgentSpec) -> None:
        """Keep the configuration for the wizard of a later session; "every bar" stays that while the history grows."""
        whole = self._wizard is not None and self._wizard.flow.draft.whole_range
        kept = replace(spec, data=replace(spec.data, start_ns=None, end_ns=None)) if whole else spec
        path = self._paths.root / LAST_CONFIGURATION

        def take(answer: QueryAnswer) -> None:
            if answer.error is not None:
                self.logged.emit(logging.WARNING, "training", str(answer.error))

        self._queries.ask(lambda _: training_reads.write_configuration(path, kept), take)

    @Slot(object)
    def _on_training_requested(self, spec: ForecastSpec | AgentSpec) -> None:
        from app.flows.datasets import SourceKind

        self.training_wanted.emit()
        self._remember(spec)
        if self._wizard is not None and self._wizard.flow.draft.source is SourceKind.PRACTICE:
            self.train_on_practice_history(spec)
        else:
            self.start_training(spec.to_json(), self._after)

    @Slot(str)
    def open_search(self, run_id: str) -> None:
        """Let a person set up a search that starts from the settings of a run."""
        from app.ui.dialogs.search_dialog import SearchDialog

        spec = self._specs.get(run_id)
        if spec is None or kind_of(spec) is TrainingKind.AGENT:
            return
        searched = kind_of(spec) is TrainingKind.SEARCH
        base = SearchSpec.from_json(spec).base if searched else ForecastSpec.from_json(spec)
        dialog = SearchDialog(base, self._dock.window() if isinstance(self._dock, QWidget) else None)
        dialog.search_requested.connect(self._on_search_requested)
        dialog.show()

    @Slot(object)
    def _on_search_requested(self, spec: SearchSpec) -> None:
        self.start_training(spec.to_json())

    # --- practice histories -----------------------------------------------------------------------------------

    def train_on_practice_history(self, spec: ForecastSpec | AgentSpec) -> None:
        """Download the range of `spec` from the practice exchange, then train on it."""
        self._downloads.start(spec, self._after)

    @Slot(object, str)
    def _on_downloaded(self, spec: ForecastSpec | AgentSpec, after: str) -> None:
        self.start_training(spec.to_json(), after)
        self.refresh()

    @Slot(str)
    def _on_download_failed(self, text: str) -> None:
        self._tell(Severity.ERROR, tr("The price history could not be downloaded"), text)

    # --- runs -------------------------------------------------------------------------------------------------

    @Slot()
    def _on_queue_changed(self) -> None:
        """Show the queue as it is now, which may be newer than what was told."""
        queue = self._training.queue
        for run in queue.runs:
            self._specs[run.run_id] = run.spec
        if self._dock is not None:
            self._dock.on_queue(queue)

    @Slot(object)
    def _on_queue_failed(self, error: UserError) -> None:
        self._tell(Severity.ERROR, tr("The queue of training runs is not kept"), str(error))

    @Slot(object)
    def _on_paused(self, event: JobPaused) -> None:
        self.logged.emit(logging.INFO, "training", tr("Paused: {run}", run=event.job_id))

    @Slot(object)
    def _on_resumed(self, event: JobResumed) -> None:
        self.logged.emit(logging.INFO, "training", tr("Goes on: {run}", run=event.job_id))

    @Slot(object)
    def _on_progress(self, event: JobProgress) -> None:
        if self._dock is None:
            return
        kind = kind_of(self._specs.get(event.job_id, {}))
        if kind is TrainingKind.SEARCH:
            self._dock.on_search_progress(SearchProgress.from_json(event.payload))
        elif kind is TrainingKind.AGENT:
            self._dock.on_agent_progress(AgentProgress.from_json(event.payload))
        else:
            self._dock.on_progress(TrainingProgress.from_json(event.payload))

    @Slot(object)
    def _on_log(self, event: JobLog) -> None:
        self.logged.emit(
            logging.getLevelNamesMapping().get(event.level.upper(), logging.INFO), "training", event.message
        )

    @Slot(object)
    def _on_finished(self, event: JobFinished) -> None:
        kind = kind_of(self._specs.get(event.job_id, {}))
        if kind is TrainingKind.SEARCH:
            self._on_search_finished(SearchResult.from_json(event.result))
        elif kind is TrainingKind.AGENT:
            self._on_agent_finished(AgentResult.from_json(event.result))
        else:
            self._on_forecaster_finished(TrainingResult.from_json(event.result))

    def _on_forecaster_finished(self, result: TrainingResult) -> None:
        if self._dock is not None:
            self._dock.on_result(result)
        data = ForecastSpec.from_json(self._specs[result.run_id]).data
        title = tr("Training finished: {market}", market=data_title(data))
        severity = Severity.SUCCESS if result.metrics.edge else Severity.INFO
        self._tell(severity, title, finished_text(result.metrics, caution(data.origin)))
        self.refresh()

    def _on_agent_finished(self, result: AgentResult) -> None:
        """Say what may be claimed; only an edge that counts is a success, and none does on invented bars."""
        if self._dock is not None:
            self._dock.on_agent_result(result)
        data = AgentSpec.from_json(self._specs[result.run_id]).data
        title = tr("Agent trained: {market}", market=f"{data_title(data)} · {result.algorithm.upper()}")
        warned = caution(data.origin)
        severity = Severity.SUCCESS if result.metrics.standing == EDGE and not warned else Severity.INFO
        self._tell(severity, title, agent_finished_text(result.metrics, warned))
        self.refresh()

    def _on_search_finished(self, result: SearchResult) -> None:
        if self._dock is not None:
            self._dock.on_search_result(result)
        title = tr("Search finished: {market}", market=data_title(result.spec.data))
        self._tell(Severity.SUCCESS, title, tr("The best of {n} trials can be trained now.", n=len(result.trials)))

    @Slot(object)
    def _on_failed(self, event: JobFailed) -> None:
        kept = self._has_checkpoint(event.job_id)
        if self._dock is not None:
            self._dock.on_failed(event.job_id, event.message, event.remedy, resumable=kept)
        _log.error("%s failed: %s\n%s", event.job_id, event.message, event.details)
        self._tell(Severity.ERROR, tr("Training failed"), f"{event.message} {event.remedy}".strip())

    @Slot(object)
    def _on_cancelled(self, event: JobCancelled) -> None:
        if self._dock is not None:
            self._dock.on_cancelled(event.job_id, resumable=self._has_checkpoint(event.job_id))

    def _has_checkpoint(self, run_id: str) -> bool:
        return can_go_on(self._paths.runs / run_id)

    @Slot(str)
    def _on_strategy_requested(self, model_id: str) -> None:
        """Pass the wish on once the model is among those on offer: a package just written may not be listed yet."""
        if model_id in self._known_models:
            self.strategy_wanted.emit(model_id)
        else:
            self._ask_models(model_id)

    # --- answers of the store ---------------------------------------------------------------------------------

    def _take_stored(self, answer: QueryAnswer) -> None:
        if answer.error is not None:
            self._tell(Severity.ERROR, tr("Stored prices cannot be read"), str(answer.error))
            return
        self._stored = answer.value
        self._offer()

    def _ask_models(self, wanted: str) -> None:
        """Read which models there are; a strategy of the model `wanted`, where one is named, is offered then."""
        models = self._paths.models
        self._queries.ask(
            lambda _: training_reads.model_offer(models, wanted), functools.partial(self._take_models, wanted)
        )

    def _take_models(self, wanted: str, answer: QueryAnswer) -> None:
        if answer.error is not None:
            self._tell(Severity.ERROR, tr("The models cannot be read"), str(answer.error))
            return
        offer: training_reads.ModelOffer = answer.value
        self._known_models = frozenset(choice.model_id for choice in offer.choices)
        self.models_changed.emit(offer.choices)
        if offer.refusal is not None:
            self._tell(Severity.ERROR, *offer.refusal)
        elif wanted:
            self.strategy_wanted.emit(wanted)

    def _take_past_runs(self, answer: QueryAnswer) -> None:
        if answer.error is not None:
            self._tell(Severity.ERROR, tr("Earlier training runs cannot be read"), str(answer.error))
            return
        self._specs = {run.run_id: run.spec for run in answer.value if run.spec is not None} | self._specs
        if self._dock is not None:
            self._dock.restore(answer.value)

    def _take_gpus(self, answer: QueryAnswer) -> None:
        if answer.error is None:
            self._gpus = tuple(answer.value)

    def _offer(self) -> None:
        if self._wizard is not None:
            self._wizard.set_datasets(self.datasets())

    def _tell(self, severity: Severity, title: str, text: str) -> None:
        self.noticed.emit(Notice(severity, title, text))
