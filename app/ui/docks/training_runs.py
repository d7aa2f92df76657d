"""Training runs as the panel keeps them. Qt-free; GUI thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.flows.model_words import HEADS
from app.flows.origin_text import data_title
from app.flows.time_left import TimeLeft
from app.flows.training_kind import TrainingKind, kind_of
from app.flows.training_queue import QueuedRun, QueueState
from app.i18n import tr
from app.ui.docks.training_agents import AgentWatch, as_learning
from app.ui.docks.training_networks import Network, histories, network_of
from core.domain.data_origin import caution
from core.errors import UserError
from ml.agents.progress import AgentProgress, AgentResult
from ml.agents.run_spec import AgentSpec
from ml.api import DataRange, ForecastSpec, TrainingProgress, TrainingResult, judging_share, run_begun_ns
from ml.search_results import SearchProgress, SearchResult
from ml.search_spec import SearchSpec

MOST_SAMPLES = 600


class RunState(StrEnum):
    """Life of a run."""

    QUEUED = "queued"
    HELD = "held"  # waits until it is told to go on
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # the program ended before the run did

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self in (RunState.FINISHED, RunState.FAILED, RunState.CANCELLED, RunState.INTERRUPTED)

    @property
    def waits(self) -> bool:
        """Whether the run has not started."""
        return self in (RunState.QUEUED, RunState.HELD)

    @property
    def is_paused(self) -> bool:
        """Whether the run shall go on only when it is told to."""
        return self in (RunState.HELD, RunState.PAUSING, RunState.PAUSED)


_BEFORE = ("loading", "features")
_OF_QUEUE = {
    QueueState.WAITING: RunState.QUEUED,
    QueueState.HELD: RunState.HELD,
    QueueState.PAUSING: RunState.PAUSING,
    QueueState.PAUSED: RunState.PAUSED,
    QueueState.STOPPING: RunState.CANCELLING,
}


@dataclass(frozen=True, slots=True)
class LoadSample:
    """How busy the machine was with a run.

    Attributes:
        at_s: since the run was first heard of, seconds.
        cpu_percent / gpu_percent / memory_bytes / gpu_memory_bytes: see `ml.api.TrainingProgress`.
    """

    at_s: float
    cpu_percent: float | None
    gpu_percent: float | None
    memory_bytes: int | None
    gpu_memory_bytes: int | None


@dataclass(slots=True)
class TrainingRun:
    """One run and all that was heard of it.

    Attributes:
        run_id: identity.
        data: which bars it learns from; None where that is not known.
        state: see `RunState`.
        progress: newest message.
        curves: figures by epoch, of the repetition under way.
        former_seeds: validation loss by epoch of the repetitions that are done.
        load: how busy the machine was, thinned out as it grows.
        result: once finished.
        message / remedy: once failed.
        spec: what was asked for (`ml.api.ForecastSpec` as JSON); None where that is not known.
        resumable: it ended early and has a checkpoint to go on from.
        begun_ns: when it was started, or went on, ns UTC.
        after: the run it waits for; "" where there is none.
        searched / found: newest message and result of a search for settings, which queues as runs do.
        agent: what was heard of an agent; None for other runs.
    """

    run_id: str
    data: DataRange | None = None
    state: RunState = RunState.QUEUED
    progress: TrainingProgress | None = None
    networks: list[Network] = field(default_factory=list)
    load: list[LoadSample] = field(default_factory=list)
    result: TrainingResult | None = None
    message: str = ""
    remedy: str = ""
    spec: dict[str, Any] | None = None
    resumable: bool = False
    begun_ns: int | None = None
    after: str = ""
    searched: SearchProgress | None = None
    found: SearchResult | None = None
    agent: AgentWatch | None = None
    left_s: float | None = None
    _time_left: TimeLeft | None = None
    _load_from_s: float | None = None
    _load_gap_s: float = 1.0

    @property
    def head(self) -> str:
        """What its networks forecast, see `ml.spec.ModelSpec`; "" where that is not known."""
        if self.spec is None or self.kind is not TrainingKind.FORECAST:
            return ""
        return str(self.spec.get("model", {}).get("head", ""))

    @property
    def several(self) -> bool:
        """Whether it trains several networks."""
        return len(self.networks) > 1 or (self.progress is not None and self.progress.seeds > 1)

    @property
    def last_epoch(self) -> int:
        """The highest number of an epoch that any network has finished."""
        return max((network.epochs for network in self.networks), default=0)

    @property
    def title(self) -> str:
        """What a person calls it, in the present language."""
        if self.data is None:
            return self.run_id
        market = data_title(self.data)
        return tr("Search for {market}", market=market) if self.is_search else market

    @property
    def setup(self) -> str:
        """The network or algorithm in a few words, in the present language; "" where unknown, and for a search."""
        if self.agent is not None:
            return self.agent.algorithm.upper()
        if self.spec is None or self.is_search:
            return ""
        model = self.spec.get("model", {})
        network = f"{model.get('kind', '')} {model.get('hidden_size', '')}".upper().strip()
        return network if self.head in ("", "quantile") else f"{network}, {tr(HEADS.get(self.head, self.head))}"

    @property
    def is_search(self) -> bool:
        """Whether it is a search for settings."""
        return self.kind is TrainingKind.SEARCH

    @property
    def kind(self) -> TrainingKind:
        """What it trains or searches; a forecaster where that is not known."""
        return TrainingKind.FORECAST if self.spec is None else kind_of(self.spec)

    @property
    def model_id(self) -> str:
        """The stored model it made; "" where there is none."""
        result = self.result if self.agent is None else self.agent.result
        return "" if result is None else result.model_id

    @property
    def tradable(self) -> bool:
        """Whether a strategy can follow what it made."""
        return bool(self.model_id) and (self.agent is None or self.agent.tradable)

    @property
    def scores(self) -> tuple[float | None, ...]:
        """CRPS of each trial of a search; None for those that have not finished."""
        if self.found is not None:
            return tuple(trial.crps for trial in self.found.trials)
        return self.searched.scores if self.searched is not None else ()

    @property
    def caution(self) -> str:
        """What must be said beside its result, in English; "" where its bars are a real market's, or not known."""
        return "" if self.data is None else caution(self.data.origin)

    def begin_again(self) -> None:
        """Wait for its turn once more; the losses of the finished epochs stay."""
        self.state, self.progress, self.result = RunState.QUEUED, None, None
        self.left_s = self._time_left = None
        self.message = self.remedy = ""
        self.resumable = False
        self.searched = self.found = None
        if self.agent is not None:
            self.agent.begin_again()

    def take_spec(self, spec: dict[str, Any]) -> None:
        """Learn what was asked for."""
        self.spec, self.data = spec, data_of(spec)
        if self.kind is TrainingKind.AGENT and self.agent is None:
            self.agent = AgentWatch.of(spec)

    def take_queued(self, queued: QueuedRun) -> None:
        """Take its place in the queue, again where it had ended before."""
        if self.spec is None or self.state.is_over:
            self.take_spec(queued.spec)
            self.begun_ns = begun_ns(self.run_id, queued.queued_ns)
        if self.state.is_over:
            self.begin_again()
        self.after = queued.after
        silent = self.progress is None and self.searched is None and (self.agent is None or not self.agent.progress)
        running = RunState.STARTING if silent else RunState.RUNNING
        self.state = _OF_QUEUE.get(queued.state, running)

    def take_progress(self, progress: TrainingProgress, now_s: float = 0.0) -> None:
        """Add a progress message, heard at `now_s` on any clock; it revives no run that ended or is being stopped."""
        if self.state.is_over:
            return
        was_paused = self.progress is not None and self.progress.paused
        if self.state in (RunState.QUEUED, RunState.STARTING):
            self.state = RunState.RUNNING
        if self.state in (RunState.RUNNING, RunState.PAUSED) and progress.paused is not was_paused:
            self.state = RunState.PAUSED if progress.paused else RunState.RUNNING
        self.progress = progress
        if progress.phase == "training" and progress.epochs:  # what comes after it sums up the first network
            while len(self.networks) <= progress.seed_index:
                self.networks.append(Network())
            self.networks[progress.seed_index].take(progress)
        if self._time_left is None:
            self._time_left = TimeLeft(self._judging_share())
        self._time_left.hear(progress, now_s)
        self.tick(now_s)
        self._take_load(progress, now_s)

    def tick(self, now_s: float) -> None:
        """Let time pass until `now_s`, on the clock of its messages."""
        self.left_s = None if self._time_left is None or self.state.is_over else self._time_left.left(now_s)

    def _judging_share(self) -> float:
        try:
            return 0.0 if self.spec is None else judging_share(ForecastSpec.from_json(self.spec))
        except UserError:  # another version of the program wrote it
            return 0.0

    def take_agent_progress(self, progress: AgentProgress, now_s: float = 0.0) -> None:
        """Add a message of an agent, heard at `now_s` on any clock; it revives no run that has ended."""
        if self.state.is_over:
            return
        if self.state in (RunState.QUEUED, RunState.STARTING):
            self.state = RunState.RUNNING
        if self.agent is None:
            self.agent = AgentWatch()
        self.agent.take(progress)
        if self._time_left is None:
            self._time_left = TimeLeft()
        self._time_left.hear(as_learning(progress), now_s)
        self.tick(now_s)
        self._take_load(progress, now_s)

    def take_agent_result(self, result: AgentResult) -> None:
        """Finish an agent."""
        if self.agent is None:
            self.agent = AgentWatch(algorithm=result.algorithm)
        self.state = RunState.FINISHED
        self.agent.take_result(result)

    def take_search_progress(self, progress: SearchProgress) -> None:
        """Add a message of a search; it revives none that ended or is being stopped."""
        if self.state.is_over:
            return
        if self.state in (RunState.QUEUED, RunState.STARTING):
            self.state = RunState.RUNNING
        self.searched = progress

    def take_search_result(self, result: SearchResult) -> None:
        """Finish a search."""
        self.state, self.found = RunState.FINISHED, result

    def _take_load(self, progress: TrainingProgress | AgentProgress, now_s: float) -> None:
        figures = (progress.cpu_percent, progress.gpu_percent, progress.rss_bytes, progress.gpu_memory_bytes)
        if all(figure is None for figure in figures):
            return
        if self._load_from_s is None:
            self._load_from_s = now_s
        at_s = now_s - self._load_from_s
        if self.load and at_s - self.load[-1].at_s < self._load_gap_s:
            return
        self.load.append(LoadSample(at_s, *figures))
        if len(self.load) > MOST_SAMPLES:
            del self.load[1::2]
            self._load_gap_s *= 2

    def take_result(self, result: TrainingResult) -> None:
        """Finish; the result's own history replaces what progress messages may have skipped."""
        self.state, self.result = RunState.FINISHED, result
        best = [seed.best_epoch for seed in result.metrics.seeds] or [result.best_epoch]
        self.networks = [
            network_of(history, best[number] if number < len(best) else None)
            for number, history in enumerate(histories(result.history))
        ]

    @property
    def learns(self) -> bool:
        """Whether the newest message counts epochs; before the training it counts bars, or nothing."""
        return self.progress is not None and self.progress.epochs > 0 and self.progress.phase not in _BEFORE

    @property
    def share(self) -> float | None:
        """How much is done, 0 to 1; None while it cannot be told."""
        if self.state is RunState.FINISHED:
            return 1.0
        if self.searched is not None and self.searched.trials:
            return self._search_share(self.searched)
        if self.agent is not None and self.agent.progress is not None:
            return self.agent.share
        if self.progress is None or self.progress.epochs <= 0 or not (self.learns or self.progress.epoch):
            return None
        of_seed = min(1.0, self.progress.epoch / self.progress.epochs)
        return min(1.0, (self.progress.seed_index + of_seed) / max(1, self.progress.seeds))

    @property
    def search_left_s(self) -> float | None:
        """Seconds to the end of a search, the repetitions of the best included; None while that is not known."""
        searched = self.searched
        if searched is None or searched.eta_s is None or searched.done >= searched.trials:
            return None
        return searched.eta_s * (1.0 + self._repetitions() / (searched.trials - searched.done))

    def _repetitions(self) -> float:
        """Return as how many trials the repetitions of the best count."""
        asked = self.spec or {}
        networks = asked.get("finalists", 0) * asked.get("finalist_seeds", 1)
        return float(networks / max(1, asked.get("seeds", 1)))

    def _search_share(self, searched: SearchProgress) -> float:
        """Return how much of a search is done, the repetitions of the best included."""
        repetitions = self._repetitions()
        trials = searched.done / searched.trials if searched.phase in ("loading", "searching") else 1.0
        repeated = searched.finalists_done / searched.finalists if searched.finalists else 0.0
        whole = searched.trials + repetitions
        return min(1.0, (searched.trials * trials + repetitions * repeated) / whole)


def begun_ns(run_id: str, known_ns: int) -> int:
    """Return when a run was asked for, which its id says to the second: the same in every session.

    Args:
        run_id: of the run.
        known_ns: when it was queued or started, for ids that are not made of a time; ns UTC.
    """
    told = run_begun_ns(run_id)
    return known_ns if told is None else told


def data_of(spec: dict[str, Any]) -> DataRange | None:
    """Return the bars a specification learns from; None where another version of the program wrote it."""
    kind = kind_of(spec)
    try:
        if kind is TrainingKind.SEARCH:
            return SearchSpec.from_json(spec).base.data
        return (AgentSpec if kind is TrainingKind.AGENT else ForecastSpec).from_json(spec).data
    except UserError:
        return None
