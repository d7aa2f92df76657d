"""What the self-tests ask for and answer. Any thread; torch- and numpy-free.

Forecasters learn processes whose best possible forecast is known (`ml.selftest_tasks`), on the same way from bars to
judged forecasts as any other run (`ml.selftest_lab`); agents learn markets whose best policy is known
(`ml.selftest_markets`, `ml.selftest_agent_lab`). What counts as learnt stands in `ml.selftest_checks` and
`ml.selftest_agent_checks`.
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


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The tasks of one self-test.

    Attributes:
        name: of what learns, as in "the self-test of forecasting".
        tasks: all of them.
    """

    name: str
    tasks: tuple[SelftestTask, ...]

    def task(self, letter: str) -> SelftestTask:
        """Return a task by its letter."""
        return next(task for task in self.tasks if task.task == letter)

    def choose(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the letters asked for in the order of `tasks`, each once; all where none is named.

        Raises:
            UserError: there is no such task.
        """
        wanted = {name.upper() for name in names}
        known = [task.task for task in self.tasks]
        for name in names:
            if name.upper() not in known:
                raise UserError(
                    f"The self-test of {self.name} has no task {name!r}.", f"Choose among {', '.join(known)}."
                )
        return tuple(letter for letter in known if not wanted or letter in wanted)

    def planned_seconds(self, letter: str, *, quick: bool) -> float:
        """Return how long a task takes on a quiet core."""
        task = self.task(letter)
        return task.quick_seconds if quick else task.seconds


FORECASTING = Catalogue(
    "forecasting",
    (
        SelftestTask("A", "AR(1) returns", "R² of the true forecast, φ times the last return", 45.0, 6.0),
        SelftestTask("B", "Noise and shuffled outcomes", "nothing to find: no run may claim an edge", 70.0, 20.0),
        SelftestTask("C", "Noise-free sinusoid", "log profit per period of the right sign at every bar", 5.0, 5.0),
        SelftestTask("K", "Regime flip", "R² of the true forecast after learning anew", 20.0, 12.0),
        SelftestTask("L", "Heteroskedastic noise", "CRPS of the true distribution", 25.0, 8.0),
        SelftestTask("M", "Leak", "the profit of hindsight", 8.0, 6.0),
        SelftestTask("N", "Causality", "nothing up to a bar changes with what follows it", 6.0, 5.0),
    ),
)
TRADING = Catalogue(
    "trading",
    (
        SelftestTask("D", "Mean reversion", "gain of the sign against the level, without costs", 9.0, 7.0),
        SelftestTask("E", "Mean reversion with costs", "gain of the best band, by value iteration", 88.0, 9.0),
        SelftestTask("F", "Zero drift", "nothing to earn: no trading", 37.0, 13.0),
        SelftestTask("G", "Drift, logarithmic utility", "growth of the Kelly weight", 24.0, 16.0),
        SelftestTask("H", "Signal, quadratic cost", "value of Gârleanu and Pedersen's policy", 18.0, 9.0),
        SelftestTask("I", "Signal, three costs", "gain of the best policy for each", 58.0, 26.0),
        SelftestTask("J", "Selling a position", "cost of Almgren and Chriss's trajectory", 31.0, 20.0),
        SelftestTask("M", "Leak", "gain of who knows the next return, with costs", 8.0, 8.0),
        SelftestTask("N", "Causality", "nothing up to a bar changes with what follows it", 6.0, 6.0),
        SelftestTask("O", "Accounting", "equity of constant policies in closed form", 4.0, 4.0),
    ),
)
CATALOGUES = {catalogue.name: catalogue for catalogue in (FORECASTING, TRADING)}


@dataclass(frozen=True, slots=True)
class SelftestJob(JsonValue):
    """What the child gets.

    Attributes:
        tasks: letters of the catalogue, in its order.
        work_dir: for checkpoints of forecasters; emptied by whoever made it.
        catalogue: a key of `CATALOGUES`.
        quick: shorter series and fewer networks, with requirements that allow for it.
        seeds: runs of the noise task; 0 for the usual number.
        seed: of every series and network.
        kind: of the forecaster's network.
        device / threads: as in `ResourceSpec`.
    """

    tasks: tuple[str, ...]
    work_dir: str = ""
    catalogue: str = FORECASTING.name
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

    def planned_seconds(self, letter: str) -> float:
        """Return how long a task takes on a quiet core."""
        return CATALOGUES[self.catalogue].planned_seconds(letter, quick=self.quick)

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


Conditions = Sequence[tuple[bool, str]]


def task_result(
    task: SelftestTask,
    *,
    reached: float,
    optimum: float,
    share: float | None,
    required: float,
    note: str,
    conditions: Conditions = (),
    figures: tuple[Figure, ...] = (),
) -> TaskResult:
    """Return the result; failed conditions are said in front of the note."""
    measured = reached if share is None else share
    failed = [text for holds, text in conditions if not holds]
    if not measured >= required:
        failed.insert(0, f"{measured:.1%} reached, {required:.1%} needed.")
    text = " ".join([*failed, note])
    return TaskResult(task.task, task.title, reached, optimum, share, required, not failed, 0.0, text, figures)
