"""How a configuration or a stored model is judged anew, and what comes of it. Frozen values, any thread; no numpy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ml.agents.results import AgentMetrics
from ml.api import TRIALS_FILE, DataRange, ForecastMetrics, ForecastSpec
from ml.checks import in_range, one_of
from ml.jsonvalues import Json, JsonValue
from ml.statistic_results import SeedSummary

EVALUATE_MODEL_JOB = "ml.worker.evaluate:run"
EVALUATE_FOLDS_JOB = "ml.worker.folds:run"

WALK_FORWARD = "walk-forward"
COMBINATORIAL = "combinatorial"
SCHEMES = (WALK_FORWARD, COMBINATORIAL)
MODES = ("expanding", "rolling")

FEWEST_JUDGED = 30  # bars a stored model is judged on
PLAN_FILE = "plan.json"  # beside spec.json in the folder of an evaluation


@dataclass(frozen=True, slots=True)
class EvaluationPlan(JsonValue):
    """How a configuration is trained again and again, each time judged on other bars.

    Attributes:
        scheme: "walk-forward" (train on the past, judge on what follows, move on) or "combinatorial" (purged
            cross-validation: every choice of groups is judged once, which gives several paths through all bars).
        folds: of the walk-forward scheme.
        mode: "expanding" keeps all the past in training, "rolling" as many bars as the first training had.
        train_share: of all bars, that come before the first walk-forward test.
        groups / test_groups: of the combinatorial scheme.
        valid_share: of the training bars, for early stopping.
        embargo: share of all bars that training stays away from the end of what is held out, beside purge and horizon.
    """

    scheme: str = WALK_FORWARD
    folds: int = 5
    mode: str = "expanding"
    train_share: float = 0.5
    groups: int = 6
    test_groups: int = 2
    valid_share: float = 0.15
    embargo: float = 0.01

    def validate(self) -> None:
        """Raise `UserError` for a plan that cannot be carried out."""
        one_of(self.scheme, SCHEMES, "evaluation scheme")
        in_range(self.folds, 2, 100, "number of folds", "folds")
        one_of(self.mode, MODES, "walk-forward mode")
        in_range(self.train_share, 0.1, 0.9, "training share", "")
        in_range(self.groups, 3, 16, "number of groups", "groups")
        in_range(self.test_groups, 1, self.groups - 1, "number of test groups", "groups")
        in_range(self.valid_share, 0.05, 0.5, "validation share", "")
        in_range(self.embargo, 0.0, 0.1, "embargo", "")


@dataclass(frozen=True, slots=True)
class FoldsJob(JsonValue):
    """What the child that trains folds gets."""

    run_id: str
    spec: ForecastSpec
    plan: EvaluationPlan
    candles_dir: str
    run_dir: str
    trials_file: str


@dataclass(frozen=True, slots=True)
class ModelJob(JsonValue):
    """What the child that judges a stored model gets.

    Attributes:
        model_id: which.
        data: bars to judge on; what lies before them is read too, for warm-up and yardsticks.
        include_training: judge also on bars the model was trained on.
        include_earlier: judge also on bars before these.
        candles_dir / models_dir / trials_file: where things are.
    """

    model_id: str
    data: DataRange
    include_training: bool
    include_earlier: bool
    candles_dir: str
    models_dir: str
    trials_file: str


@dataclass(frozen=True, slots=True)
class EvaluationProgress(JsonValue):
    """One progress message.

    Attributes:
        phase: "loading", "features", "training", "testing" or "judging".
        fold / folds: which fold, from 1; 0 before the first.
        seed_index / seeds / epoch / epochs: within the fold.
        eta_s: seconds to the end if every epoch is used; None while unknown.
        share: of the work that is done, where a stored model is judged; None while unknown.
    """

    phase: str
    fold: int = 0
    folds: int = 0
    seed_index: int = 0
    seeds: int = 1
    epoch: int = 0
    epochs: int = 0
    eta_s: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class FoldScore(JsonValue):
    """How one fold did at the first horizon.

    Attributes:
        fold: number, from 1.
        train_from_ns / train_to_ns: open times of the first and the last training bar; bars between may be left out.
        test_from_ns / test_to_ns: those of the test bars.
        train_targets / valid_targets / targets: how many.
        epochs: best one, mean of the seeds.
        crps_skill / r2 / ic / hit_rate / coverage: of the stored kind of network, the mean of the seeds.
        sharpe: annualised, of holding the forecast's sign, before costs; None where it is constant.
        net_return: of that after costs, compounded; None beyond any number.
    """

    fold: int
    train_from_ns: int
    train_to_ns: int
    test_from_ns: int
    test_to_ns: int
    train_targets: int
    valid_targets: int
    targets: int
    epochs: float
    crps_skill: float
    r2: float
    ic: float | None
    hit_rate: float | None
    coverage: float
    sharpe: float | None
    net_return: float | None


@dataclass(frozen=True, slots=True)
class PathScore(JsonValue):
    """One path of the combinatorial scheme: a forecast of every bar, none of it made by a network that saw the bar.

    Attributes:
        path: number, from 1.
        targets: how many.
        crps_skill / r2 / ic / sharpe / net_return: as in `FoldScore`.
        edge_p_value / edge / range_edge: as in `HorizonMetrics`; the first two are about every naive forecast.
    """

    path: int
    targets: int
    crps_skill: float
    r2: float
    ic: float | None
    sharpe: float | None
    net_return: float | None
    edge_p_value: float
    edge: bool
    range_edge: bool


@dataclass(frozen=True, slots=True)
class Spread(JsonValue):
    """Figures over folds or paths.

    Attributes:
        crps_skill / r2 / sharpe: what they agree on; None where there are none. Paths judge the same bars: they have a
            minimum, a median and a maximum, and no interval.
        better: share of them whose CRPS is below that of the zero baseline.
        probability_of_loss: share of them that lose money after costs; None where that is not known of any.
    """

    crps_skill: SeedSummary | None
    r2: SeedSummary | None
    sharpe: SeedSummary | None
    better: float
    probability_of_loss: float | None


@dataclass(frozen=True, slots=True)
class FoldsResult(JsonValue):
    """What an evaluation of a configuration returns.

    Attributes:
        run_id / symbol / timeframe / venue: of it.
        plan: how it was made.
        folds: one row each.
        spread: over the folds, or over the paths of the combinatorial scheme.
        paths: of the combinatorial scheme.
        metrics: of the walk-forward forecasts as one series; None for the combinatorial scheme.
        verdict: sentences for a person.
        seconds: spent on training.
    """

    run_id: str
    symbol: str
    timeframe: str
    venue: str
    plan: EvaluationPlan
    folds: tuple[FoldScore, ...]
    spread: Spread
    paths: tuple[PathScore, ...]
    metrics: ForecastMetrics | None
    verdict: str
    seconds: float


@dataclass(frozen=True, slots=True)
class JudgedRange(JsonValue):
    """What a stored model was judged on.

    Attributes:
        model_id: which.
        venue / symbol / timeframe: of the bars it was judged on.
        data_sha256: of those bars, with the ones read before them.
        first_ns / last_ns: open times of the first and last bar that was judged.
        judged: bars with a forecast or a decision, and an outcome, that were judged.
        trained_on: bars of the range that lie in the time of training or validation, a horizon around it included.
        included: whether those were judged all the same.
        earlier: bars of the range that lie before that time.
        included_earlier: whether those were judged all the same.
        own_test: judged bars that were the model's own test part.
        notes: what a reader must know, in sentences.
    """

    model_id: str
    venue: str
    symbol: str
    timeframe: str
    data_sha256: str
    first_ns: int
    last_ns: int
    judged: int
    trained_on: int
    included: bool
    earlier: int
    included_earlier: bool
    own_test: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelResult(JudgedRange):
    """What an evaluation of a stored forecaster returns."""

    metrics: ForecastMetrics


@dataclass(frozen=True, slots=True)
class AgentEvaluation(JudgedRange):
    """What an evaluation of a stored agent returns: figures of what trades, without those of each seed."""

    metrics: AgentMetrics


def folds_job(spec: ForecastSpec, plan: EvaluationPlan, *, run_id: str, candles_dir: Path, runs_dir: Path) -> Json:
    """Return the JSON for `JobSupervisor.start(EVALUATE_FOLDS_JOB, ...)`; finished folds in the folder are kept.

    Raises:
        UserError: the specification or the plan is not valid.
    """
    spec.validate()
    plan.validate()
    return FoldsJob(
        run_id=run_id,
        spec=spec,
        plan=plan,
        candles_dir=str(candles_dir),
        run_dir=str(runs_dir / run_id),
        trials_file=str(runs_dir.parent / TRIALS_FILE),
    ).to_json()


def plan_hash(spec_hash: str, plan: EvaluationPlan) -> str:
    """Return the identity of what is tried: a specification's hash together with the plan."""
    text = json.dumps([spec_hash, plan.to_json()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
