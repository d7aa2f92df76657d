"""What a run of an agent says while it works and when it is done. Frozen values, any thread; torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from ml.agents.results import AgentMetrics
from ml.jsonvalues import JsonValue

ENCODER_PHASE = "encoder"
ENCODER_TEST_PHASE = "encoder_testing"
ENCODER_FOLDER = "encoder"  # in the folder of a run: that of the encoder's
CURVES_FILE = "curves.json"  # in the folder of a run: the newest `PassCurves`
MOST_POINTS = 200


@dataclass(frozen=True, slots=True)
class LearningFigures(JsonValue):
    """Means since the last pass over the validation part; None where an algorithm has no such figure.

    Attributes:
        reward: per decision, in the environment's units.
        value_loss: of the critic.
        policy_loss: of the actor.
        divergence: between the policy before and after an update (approximate KL).
        explained_variance: share of the returns' variance that the critic explains.
        spread: entropy of the policy ("ppo"), or the coefficient it is weighted with ("sac").
        saturated: share of the actions at a bound.
    """

    reward: float | None = None
    value_loss: float | None = None
    policy_loss: float | None = None
    divergence: float | None = None
    explained_variance: float | None = None
    spread: float | None = None
    saturated: float | None = None


@dataclass(frozen=True, slots=True)
class ValidationRecord(JsonValue):
    """One deterministic pass over the validation part.

    Attributes:
        seed: of the agent.
        step: decisions it had learned from.
        log_return: net, summed over the part; of several markets together, the capital spread evenly over them.
        turnover: mean move of the target per bar.
        exposure: mean size of the targets.
        seconds: since the pass before, without pauses.
        steps_per_s: decisions learned from per second since then, the pass left out.
        learning: what the algorithm says of itself.
    """

    seed: int
    step: int
    log_return: float
    turnover: float
    exposure: float
    seconds: float
    steps_per_s: float
    learning: LearningFigures = LearningFigures()


@dataclass(frozen=True, slots=True)
class RuleCurve(JsonValue):
    """Equity of a rule at the moments of `PassCurves`."""

    name: str
    equity: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PassCurves(JsonValue):
    """A pass over the validation part beside rules on the same bars with the same costs, thinned out.

    Attributes:
        seed / step: of the agent, as in its `ValidationRecord`.
        time_ns: closes of bars, ns UTC, ascending; at most `MOST_POINTS`.
        equity: of the agent, 1 at the first moment; capital is spread evenly over markets that have a bar then.
        rules: what is cheap to follow, see `ml.agents.baselines`; what never trades is left out.
    """

    seed: int
    step: int
    time_ns: tuple[int, ...]
    equity: tuple[float, ...]
    rules: tuple[RuleCurve, ...]


@dataclass(frozen=True, slots=True)
class AgentProgress(JsonValue):
    """One progress message of a run.

    Attributes:
        run_id: which run.
        phase: "encoder" (a forecaster is trained first), "encoder_testing" (and judged), "loading", "features",
            "encoding", "training", "exporting", "testing" or "done".
        step / steps: decisions learned from and planned, of this seed; epochs of an encoder.
        seed_index / seeds: which of how many agents this is, counted from 0.
        last: the newest pass over the validation part; None before the first.
        best_return / best_step: of the best one; None and 0 before the first.
        steps_per_s: current throughput.
        eta_s: seconds to the end if every step of every seed is used; None while unknown.
        device: what computes, for a person.
        cpu_percent: of one core; None while unknown, as all that follow.
        rss_bytes: memory of the run's process.
        gpu_percent / gpu_memory_bytes: load and used memory of the device, for every program on it.
        paused: the run waits where it is.
        curves: of the pass that this message is the first to tell of.
    """

    run_id: str
    phase: str
    step: int = 0
    steps: int = 0
    seed_index: int = 0
    seeds: int = 1
    last: ValidationRecord | None = None
    best_return: float | None = None
    best_step: int = 0
    steps_per_s: float = 0.0
    eta_s: float | None = None
    device: str = ""
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    paused: bool = False
    curves: PassCurves | None = None


@dataclass(frozen=True, slots=True)
class AgentResult(JsonValue):
    """What a finished run returns.

    Attributes:
        run_id / model_id: the run and the content hash of the package it wrote.
        symbol / timeframe: the market.
        algorithm: "ppo", "ddpg", "td3" or "sac".
        steps: decisions that all seeds together learned from.
        seconds: of learning alone, validation included.
        steps_per_s: of learning, validation included.
        device: what computed, with the reason.
        history: every pass over the validation part, one seed after the other.
        metrics: on the test part.
        total_s: from the start of the process to the result, less pauses; of earlier sessions of a run that went on
            only the learning counts.
    """

    run_id: str
    model_id: str
    symbol: str
    timeframe: str
    algorithm: str
    steps: int
    seconds: float
    steps_per_s: float
    device: str
    history: tuple[ValidationRecord, ...]
    metrics: AgentMetrics
    total_s: float


def log_agent_progress(progress: AgentProgress) -> str:
    """Return one line for a person: steps, validation, speed and time left."""
    if progress.phase == ENCODER_PHASE and progress.steps:
        return f"encoder {progress.seed_index + 1}/{progress.seeds} · epoch {progress.step}/{progress.steps}"
    if progress.phase == ENCODER_TEST_PHASE:
        return "encoder testing …"
    if progress.phase != "training":
        return f"{progress.phase} …"
    parts = [f"{progress.step:,}/{progress.steps:,} steps"]
    if progress.seeds > 1:
        parts.insert(0, f"seed {progress.seed_index + 1}/{progress.seeds}")
    if progress.last is not None and progress.best_return is not None:
        parts.append(f"validation {progress.last.log_return:+.4f}, best {progress.best_return:+.4f}")
    if progress.steps_per_s:
        parts.append(f"{progress.steps_per_s:,.0f} steps/s on {progress.device}")
    if progress.eta_s is not None:
        parts.append(f"{progress.eta_s:.0f} s left")
    return " · ".join(parts)
