"""What the self-test of forecasting asks for and answers. Any thread; torch- and numpy-free.

The forecaster learns processes whose best possible forecast is known (`ml.selftest_tasks`), on the same way from bars
to judged forecasts as any other run (`ml.selftest_lab`); what counts as learnt stands in `ml.selftest_checks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import UserError
from ml.checks import in_range, one_of
from ml.jsonvalues import JsonValue
from ml.spec import MODEL_KINDS, ResourceSpec

SELFTEST_JOB = "ml.worker.selftest:run"
DEFAULT_SEEDS, QUICK_SEEDS, FEWEST_SEEDS = 20, 6, 4


@dataclass(frozen=True, slots=True)
class SelftestTask:
    """One process with a known optimum.

    Attributes:
        task: its letter.
        title: for a person.
        about: what is learnt and what the optimum is.
        seconds / quick_seconds: measured on a quiet core, for the time left.
    """

    task: str
    title: str
    about: str
    seconds: float
    quick_seconds: float


TASKS: tuple[SelftestTask, ...] = (
    SelftestTask("A", "AR(1) returns", "R² of the true forecast, φ times the last return", 45.0, 6.0),
    SelftestTask("B", "Noise and shuffled outcomes", "nothing to find: no run may claim an edge", 70.0, 20.0),
    SelftestTask("C", "Noise-free sinusoid", "log profit per period of the right sign at every bar", 5.0, 5.0),
    SelftestTask("K", "Regime flip", "R² of the true forecast after learning anew", 20.0, 12.0),
    SelftestTask("L", "Heteroskedastic noise", "CRPS of the true distribution", 25.0, 8.0),
    SelftestTask("M", "Leak", "the profit of hindsight", 8.0, 6.0),
    SelftestTask("N", "Causality", "nothing up to a bar changes with what follows it", 6.0, 5.0),
)


@dataclass(frozen=True, slots=True)
class SelftestJob(JsonValue):
    """What the child gets.

    Attributes:
        tasks: letters of `TASKS`, in their order.
        quick: shorter series and fewer networks, with requirements that allow for it.
        seeds: runs of the noise task; 0 for the usual number.
        seed: of every series and network.
        kind: of the network.
        device / threads: as in `ResourceSpec`.
        work_dir: for checkpoints; emptied by whoever made it.
    """

    tasks: tuple[str, ...]
    work_dir: str
    quick: bool = False
    seeds: int = 0
    seed: int = 1
    kind: str = "lstm"
    device: str = "cpu"
    threads: int = 1

    @property
    def noise_runs(self) -> int:
        """How often the noise task trains."""
        return self.seeds or (QUICK_SEEDS if self.quick else DEFAULT_SEEDS)

    def validate(self) -> None:
        """Raise `UserError` for what cannot be run."""
        one_of(self.kind, MODEL_KINDS, "model kind")
        if self.seeds:
            in_range(self.seeds, FEWEST_SEEDS, 10_000, "number of seeds", "seeds")
        in_range(self.seed, 0, 1_000_000, "seed", "")
        ResourceSpec(device=self.device, threads=self.threads).validate()


@dataclass(frozen=True, slots=True)
class Figure(JsonValue):
    """A further measured number beside what it should be near; None where nothing is expected of it."""

    name: str
    value: float
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class TaskResult(JsonValue):
    """How a task ended.

    Attributes:
        task / title: which.
        reached / optimum: in the task's own measure.
        share: of the optimum that was reached; None where the optimum is to find nothing.
        required: what `share`, or `reached` where there is none, must be at least.
        ok: whether it is and every further condition of the task holds.
        seconds: it took.
        note: what was measured, and what failed.
        figures: further numbers.
    """

    task: str
    title: str
    reached: float
    optimum: float
    share: float | None
    required: float
    ok: bool
    seconds: float
    note: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class SelftestResult(JsonValue):
    """All tasks of a run."""

    tasks: tuple[TaskResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every task was passed."""
        return all(task.ok for task in self.tasks)


@dataclass(frozen=True, slots=True)
class SelftestProgress(JsonValue):
    """How far a run is.

    Attributes:
        task: letter of the task at work.
        step: what it is doing.
        done: share of the whole run, 0 to 1.
        eta_s: estimated time left; None while nothing can be said.
        finished: the task that has just ended.
    """

    task: str
    step: str
    done: float
    eta_s: float | None = None
    finished: TaskResult | None = None


def choose_tasks(names: Sequence[str]) -> tuple[str, ...]:
    """Return the letters asked for in the order of `TASKS`, each once; all where none is named.

    Raises:
        UserError: there is no such task.
    """
    wanted = {name.upper() for name in names}
    known = [task.task for task in TASKS]
    for name in names:
        if name.upper() not in known:
            raise UserError(f"The self-test of forecasting has no task {name!r}.", f"Choose among {', '.join(known)}.")
    return tuple(letter for letter in known if not wanted or letter in wanted)


def planned_seconds(task: str, *, quick: bool) -> float:
    """Return how long a task takes on a quiet core."""
    info = next(info for info in TASKS if info.task == task)
    return info.quick_seconds if quick else info.seconds
