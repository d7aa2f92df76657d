"""What was heard of the run of an agent, seed by seed. Qt-free; GUI thread, and the store's for past runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml.agents.progress import ENCODER_PHASE, AgentProgress, AgentResult, PassCurves, ValidationRecord
from ml.api import TrainingProgress

LEARNING = "training"  # the phase in which seeds tell of themselves


@dataclass(slots=True)
class SeedWatch:
    """One seed.

    Attributes:
        records: passes over the validation part by the step they followed.
        newest: what it said last; None in a run of an earlier session.
    """

    records: dict[int, ValidationRecord] = field(default_factory=dict)
    newest: AgentProgress | None = None

    @property
    def last(self) -> ValidationRecord | None:
        """The newest pass."""
        return self.records[max(self.records)] if self.records else None

    @property
    def best(self) -> ValidationRecord | None:
        """The pass whose weights are kept: the first of equal ones."""
        return max((self.records[step] for step in sorted(self.records)), key=lambda r: r.log_return, default=None)

    @property
    def step(self) -> int:
        """How many decisions it has learned from."""
        return max(0 if self.newest is None else self.newest.step, max(self.records, default=0))

    def has_ended(self, steps: int, patience: int) -> bool:
        """Return whether all steps, or patience, are used up."""
        best = self.best
        if best is None:
            return False
        return max(self.records) >= steps or sum(step > best.step for step in self.records) >= patience


@dataclass(slots=True)
class AgentWatch:
    """One run.

    Attributes:
        algorithm: "ppo" …; "" where that is not known.
        steps / patience / count: planned steps of a seed, passes without a better result, number of seeds.
        first_seed: the others count up from it; None where that is not known.
        seeds: those heard of by their index; they may learn side by side.
        progress: newest message of all.
        curves: of the newest pass over the validation part.
        result: once finished.
        tradable: whether its weights can be followed on a spot market.
    """

    algorithm: str = ""
    steps: int = 0
    patience: int = 1
    count: int = 1
    first_seed: int | None = None
    tradable: bool = False
    seeds: dict[int, SeedWatch] = field(default_factory=dict)
    progress: AgentProgress | None = None
    curves: PassCurves | None = None
    result: AgentResult | None = None

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> AgentWatch:
        """Return the watch of a specification in JSON form; of one by another version what can be read."""
        algorithm, environment = spec.get("algorithm", {}), spec.get("environment", {})
        try:
            return cls(
                algorithm=str(algorithm["kind"]),
                steps=int(algorithm["steps"]),
                patience=int(algorithm["patience"]),
                count=int(algorithm["seeds"]),
                first_seed=int(algorithm["seed"]),
                tradable=float(environment["lowest"]) >= 0.0 and float(environment["highest"]) <= 1.0,
            )
        except (KeyError, TypeError, ValueError):
            return cls()

    def take(self, progress: AgentProgress) -> None:
        """Add a message; seeds may speak in turns."""
        self.progress = progress
        if progress.phase != LEARNING:
            return
        seed = self.seeds.setdefault(progress.seed_index, SeedWatch())
        seed.newest = progress
        if progress.last is not None:
            seed.records[progress.last.step] = progress.last
        if progress.curves is not None:
            self.curves = progress.curves

    def take_records(self, records: Iterable[ValidationRecord]) -> None:
        """Take all passes of a run instead of those heard of."""
        self.seeds = {}
        for record in records:
            if self.first_seed is None:
                self.first_seed = record.seed
            index = self.index_of(record.seed)
            self.seeds.setdefault(index, SeedWatch()).records[record.step] = record

    def index_of(self, seed: int) -> int:
        """Return the index of a seed; the first one's where that is not known."""
        return 0 if self.first_seed is None else seed - self.first_seed

    def take_result(self, result: AgentResult) -> None:
        """Finish; its history replaces what messages may have skipped."""
        self.result = result
        self.take_records(result.history)

    def begin_again(self) -> None:
        """Wait for another turn; the passes of before stay."""
        self.progress = self.result = None
        for seed in self.seeds.values():
            seed.newest = None

    @property
    def phase(self) -> str:
        """What is going on; "" before the first message."""
        return "" if self.progress is None else self.progress.phase

    @property
    def at_work(self) -> tuple[int, ...]:
        """Indices of the seeds that are learning."""
        if self.phase != LEARNING:
            return ()
        return tuple(index for index, seed in sorted(self.seeds.items()) if seed.newest and not self._is_done(index))

    @property
    def steps_per_s(self) -> float:
        """Of all seeds at work together."""
        told = [self.seeds[index].newest for index in self.at_work]
        return sum(message.steps_per_s for message in told if message is not None)

    @property
    def share(self) -> float | None:
        """How much of the learning is done, 0 to 1; that of the encoder while it is trained; None where unknown."""
        progress = self.progress
        if progress is None:
            return None
        if progress.phase == ENCODER_PHASE:
            whole = max(1, progress.seeds) * progress.steps
            return min(1.0, (progress.seed_index * progress.steps + progress.step) / whole) if progress.steps else None
        if progress.phase in ("exporting", "testing", "done"):
            return 1.0
        if progress.phase != LEARNING or not self.steps:
            return None
        done = sum(1.0 if self._is_done(index) else self._part(index) for index in range(self.count))
        return min(1.0, done / self.count)

    def _part(self, index: int) -> float:
        seed = self.seeds.get(index)
        return 0.0 if seed is None else min(1.0, seed.step / self.steps)

    def _is_done(self, index: int) -> bool:
        """Whether a seed learns no more; one silent before a later one spoke was done in an earlier session."""
        seed = self.seeds.get(index)
        if seed is None or (seed.newest is None and not seed.records):
            return index < max(self.seeds, default=0)
        return seed.has_ended(self.steps, self.patience)


def as_learning(progress: AgentProgress) -> TrainingProgress:
    """Return a message as `app.flows.time_left.TimeLeft` hears it: of seeds side by side each tells the whole time."""
    return TrainingProgress(progress.run_id, progress.phase, eta_s=progress.eta_s, paused=progress.paused)
