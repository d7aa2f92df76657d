"""The study of a search: which configuration comes next, which is given up, what came of each. The search's process.

Optuna chooses; its tables lie in an SQLite file in the folder of the search. One process alone writes to it: those that
train ask it over their pipes, so that nobody ever waits for a lock and a trial is asked for, reported and told in one
order. Each choice has a generator of its own, from the seed of the search and the number of the trial: with one process
a search that was interrupted goes on exactly as it would have. Torch-free.
"""

from __future__ import annotations

import itertools
import math
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from core.errors import UserError
from ml.overfitting import BLOCKS, backtest_overfitting
from ml.search_results import (
    FinalistResult,
    Overfitting,
    ParameterImportance,
    ParameterValue,
    SeedOutcome,
    TrialResult,
)
from ml.search_spec import ParameterRange, SearchSpec
from ml.search_tasks import RowIntervals, returns_file
from ml.spec import ForecastSpec
from ml.trial_ledger import CANCELLED, FAILED, FINISHED, PRUNED

_NAME = "search"  # the same everywhere: the hyperband pruner draws lots with it
_NUMBER, _OUTCOME, _DATA, _SECONDS, _FINALIST = "number", "outcome", "data", "seconds", "finalist-"
_JUDGED = "judged"
_STATES = {
    FINISHED: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    FAILED: TrialState.FAIL,
    CANCELLED: TrialState.FAIL,
}
_WARM_UP_TRIALS = 5  # of the median pruner
_FEWEST_FOR_IMPORTANCE = 4
_BUSY_TIMEOUT_S = 60.0
_GUIDED_DRAWS, _BLIND_DRAWS = 20, 2_000  # of a configuration: by what has been learnt so far, then by nothing
_MOST_COMBINATIONS = 10_000  # that are gone through one by one


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A configuration to try; `number` counts from 0 and stays with it over an interruption."""

    number: int
    spec: ForecastSpec


class SearchStudy:
    """The trials of one search in its file.

    Attributes:
        path: the file.
        spec: of the search.
        exhausted: whether no further combination was found that can be trained and is new.
    """

    def __init__(self, path: Path, spec: SearchSpec) -> None:
        """Open the file, or create it where there is none.

        Raises:
            UserError: it is damaged or cannot be written.
        """
        self.path, self.spec, self.exhausted = path, spec, False
        self._distributions = {each.name: distribution(each) for each in spec.parameters}
        self._running: dict[int, optuna.Trial] = {}
        self._chosen: dict[int, ForecastSpec] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            self._storage = optuna.storages.RDBStorage(
                f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _BUSY_TIMEOUT_S}}
            )
            # A power failure must not take a trial that the ledger knows: its number would go to another one.
            event.listen(self._storage.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=FULL"))
            self._storage.engine.dispose()
            self._study = optuna.create_study(
                storage=self._storage, study_name=_NAME, pruner=_pruner(spec), direction="minimize", load_if_exists=True
            )
        except (sqlite3.Error, SQLAlchemyError, optuna.exceptions.StorageInternalError) as exc:
            raise UserError(f"The file of this search {path} cannot be used.", "Start a new search.") from exc

    def close(self) -> None:
        """Let go of the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def bind(self, data_hash: str) -> None:
        """Remember the bars, or check that they are those of the former session.

        Raises:
            UserError: they have changed.
        """
        known = self._study.user_attrs.get(_DATA)
        if known is None:
            self._study.set_user_attr(_DATA, data_hash)
        elif known != data_hash:
            raise UserError(
                "The bars have changed since this search began; its trials would not compare.", "Start a new search."
            )

    def judged_rows(self, compute: Callable[[], RowIntervals]) -> RowIntervals:
        """Return the rows that every trial is judged on: those of the former session, or computed and remembered.

        Raises:
            UserError: what `compute` raises, or the former session judged every trial on rows of its own.
        """
        known = self._study.user_attrs.get(_JUDGED)
        if known is not None:
            return tuple((int(start), int(stop)) for start, stop in known)
        if self._study.get_trials(deepcopy=False):
            raise UserError("The trials of this search were judged on different bars.", "Start a new search.")
        rows = compute()
        self._study.set_user_attr(_JUDGED, rows)
        return rows

    @property
    def seconds(self) -> float:
        """Spent so far, over all sessions."""
        return float(self._study.user_attrs.get(_SECONDS, 0.0))

    def spend(self, seconds: float) -> None:
        """Write down the time spent so far, over all sessions."""
        self._study.set_user_attr(_SECONDS, seconds)

    def recover(self) -> tuple[TrialResult, ...]:
        """Queue again what was under way when the former session ended; return these trials as cancelled."""
        found = self._study.get_trials(deepcopy=False)
        queued = {trial.user_attrs.get(_NUMBER) for trial in found if trial.state is TrialState.WAITING}
        interrupted = []
        for trial in found:
            if trial.state is not TrialState.RUNNING:
                continue
            number = trial.user_attrs.get(_NUMBER)
            if number is not None:
                # A repetition may have been interrupted before all of its own were read.
                params = next(each.params for each in found if each.user_attrs.get(_NUMBER) == number)
                if number not in queued:
                    self._queue_again(number, params)
                interrupted.append(TrialResult(number, CANCELLED, None, 0.0, _parameters(params)))
            self._study.tell(trial.number, state=TrialState.FAIL)
        return tuple(interrupted)

    def ask(self) -> PlannedTrial | None:
        """Return the next configuration: first those that were interrupted; None where there are no more.

        No configuration is tried twice, and none that cannot be trained: what was drawn is drawn anew then.

        Raises:
            UserError: none at all can be trained.
        """
        found = self._study.get_trials(deepcopy=False)
        numbers = {trial.user_attrs[_NUMBER] for trial in found if _NUMBER in trial.user_attrs}
        waiting = any(trial.state is TrialState.WAITING for trial in found)
        if not waiting and len(numbers) >= self.spec.trials:
            return None
        self._remember(found)
        trial = self._drawn(len(numbers))
        if trial is None and not numbers:
            raise UserError(
                "None of the combinations that the search may try can be trained.", "Change the ranges of the search."
            )
        if trial is None:
            self.exhausted = True
            return None
        number = trial.user_attrs.get(_NUMBER)
        if number is None:
            number = len(numbers)
            trial.set_user_attr(_NUMBER, number)
        self._running[number] = trial
        self._chosen.setdefault(number, self.spec.applied(trial.params))
        return PlannedTrial(number, self._chosen[number])

    def _drawn(self, number: int) -> optuna.Trial | None:
        """Return a trial that waits, or one whose configuration can be trained and is new; None where there is none."""
        for draw in range(_GUIDED_DRAWS + 1):
            if draw == _GUIDED_DRAWS:
                params = self._blindly(np.random.default_rng((self.spec.sampler_seed, number, draw)))
                if params is None:
                    return None
                self._study.enqueue_trial(params)
            self._study.sampler = _sampler(self.spec, number, draw)
            trial = self._study.ask(self._distributions)
            if _NUMBER in trial.user_attrs or self._is_wanted(trial.params):
                return trial
            self._study.tell(trial, state=TrialState.FAIL)
        return None

    def _is_wanted(self, params: dict[str, Any]) -> bool:
        spec = self._sound(params)
        return spec is not None and spec not in self._chosen.values()

    def _sound(self, params: dict[str, Any]) -> ForecastSpec | None:
        """Return a configuration; None for one that nothing can be trained with."""
        try:
            return self.spec.applied(params).validate()
        except UserError:
            return None

    def _blindly(self, rng: np.random.Generator) -> dict[str, Any] | None:
        """Return a combination that is wanted: one of all that are left, or where they are too many, one of many."""
        if self._combinations is not None:
            tried = set(self._chosen.values())
            left = [params for params, spec in self._combinations if spec not in tried]
            return left[int(rng.integers(len(left)))] if left else None
        draws = ({name: _value(each, rng) for name, each in self._distributions.items()} for _ in range(_BLIND_DRAWS))
        return next((params for params in draws if self._is_wanted(params)), None)

    @cached_property
    def _combinations(self) -> tuple[tuple[dict[str, Any], ForecastSpec], ...] | None:
        """All that can be trained; None where there are too many to go through."""
        values = [_values(each) for each in self._distributions.values()]
        if not all(values) or math.prod(map(len, values)) > _MOST_COMBINATIONS:
            return None
        every = (dict(zip(self._distributions, each, strict=True)) for each in itertools.product(*values))
        return tuple((params, spec) for params in every if (spec := self._sound(params)) is not None)

    def spec_of(self, number: int) -> ForecastSpec:
        """Return the configuration of a trial."""
        if number not in self._chosen:
            self._remember(self._study.get_trials(deepcopy=False))
        return self._chosen[number]

    def _remember(self, found: Iterable[optuna.trial.FrozenTrial]) -> None:
        """Note the configurations: a repetition, which may have been interrupted while it was read, has its trial's."""
        for trial in found:
            number = trial.user_attrs.get(_NUMBER)
            if number is not None and number not in self._chosen and trial.params:
                self._chosen[number] = self.spec.applied(trial.params)

    def report(self, number: int, epoch: int, crps: float) -> bool:
        """Take the score of an epoch and return whether to give the trial up."""
        trial = self._running[number]
        trial.report(crps, epoch)
        return bool(trial.should_prune())  # pruners may answer in a numpy type

    def finish(
        self, number: int, status: str, seeds: Sequence[SeedOutcome], seconds: float, message: str = ""
    ) -> TrialResult:
        """Write down how a trial ended; one that was cancelled is queued again."""
        trial = self._running.pop(number)
        crps = float(np.mean([seed.crps for seed in seeds])) if status == FINISHED else None
        result = TrialResult(number, status, crps, seconds, _parameters(trial.params), tuple(seeds), message)
        trial.set_user_attr(_OUTCOME, result.to_json())
        if status == CANCELLED:
            self._queue_again(number, trial.params)
        self._study.tell(trial, crps, _STATES[status])
        return result

    def interrupt(self) -> tuple[TrialResult, ...]:
        """Cancel what is under way."""
        return tuple(self.finish(number, CANCELLED, (), 0.0) for number in sorted(self._running))

    def results(self) -> tuple[TrialResult, ...]:
        """Return the trials by number; one that was interrupted and has not been repeated yet is cancelled."""
        found: dict[int, TrialResult] = {}
        for trial in self._study.get_trials(deepcopy=False):
            number, outcome = trial.user_attrs.get(_NUMBER), trial.user_attrs.get(_OUTCOME)
            if number is None:
                continue
            if outcome is not None and trial.state is not TrialState.RUNNING:
                found[number] = TrialResult.from_json(outcome)
            else:
                found.setdefault(number, TrialResult(number, CANCELLED, None, 0.0, _parameters(trial.params)))
        return tuple(found[number] for number in sorted(found))

    def keep_finalist(self, finalist: FinalistResult) -> None:
        """Write down what came of a repetition."""
        self._study.set_user_attr(f"{_FINALIST}{finalist.number}", finalist.to_json())

    def finalist(self, number: int) -> FinalistResult | None:
        """Return what came of the repetition of a trial; None where there was none."""
        found = self._study.user_attrs.get(f"{_FINALIST}{number}")
        return None if found is None else FinalistResult.from_json(found)

    def importance(self) -> tuple[ParameterImportance, ...]:
        """Return the share of each setting in the differences between finished trials (functional ANOVA).

        Hutter, Hoos and Leyton-Brown (2014): a forest of trees is fitted to the scores; shares are those of the
        variance of its prediction that each setting explains alone.
        """
        finished = [t for t in self._study.get_trials(deepcopy=False) if t.state is TrialState.COMPLETE]
        varied = [n for n in self._distributions if len({str(trial.params[n]) for trial in finished}) > 1]
        if len(finished) < _FEWEST_FOR_IMPORTANCE or not varied or len({trial.value for trial in finished}) < 2:
            return ()
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.spec.sampler_seed)
        shares = optuna.importance.get_param_importances(self._study, evaluator=evaluator, params=varied)
        return tuple(ParameterImportance(name, float(share)) for name, share in shares.items())

    def _queue_again(self, number: int, params: dict[str, Any]) -> None:
        self._study.enqueue_trial(params, user_attrs={_NUMBER: number})


def distribution(parameter: ParameterRange) -> BaseDistribution:
    """Return a range as Optuna knows it; a step that does not reach the upper end stops below it."""
    if parameter.form == "choice":
        return CategoricalDistribution(parameter.choices)
    if parameter.form == "int":
        low, step = int(parameter.low), int(parameter.step) or 1
        return IntDistribution(low, low + (int(parameter.high) - low) // step * step, step=step)
    if parameter.form == "log" or not parameter.step:
        return FloatDistribution(parameter.low, parameter.high, log=parameter.form == "log")
    steps = int((parameter.high - parameter.low) / parameter.step + 1e-9)
    high = Decimal(str(parameter.low)) + steps * Decimal(str(parameter.step))  # 0.3, not 3 * 0.1
    return FloatDistribution(parameter.low, float(high), step=parameter.step)


def _values(found: BaseDistribution) -> Sequence[Any]:
    """Return all values of a range, as Optuna draws them; none where they cannot be counted."""
    if isinstance(found, CategoricalDistribution):
        return found.choices
    if isinstance(found, IntDistribution):
        return range(found.low, found.high + 1, found.step)
    assert isinstance(found, FloatDistribution)
    if found.step is None:
        return ()
    steps = round((found.high - found.low) / found.step)
    return [min(index * found.step + found.low, found.high) for index in range(steps + 1)]


def _value(found: BaseDistribution, rng: np.random.Generator) -> Any:
    """Return a value drawn evenly, on a logarithmic scale where the range has one."""
    if values := _values(found):
        return values[int(rng.integers(len(values)))]
    assert isinstance(found, FloatDistribution)
    if found.log:
        return min(max(math.exp(rng.uniform(math.log(found.low), math.log(found.high))), found.low), found.high)
    return float(rng.uniform(found.low, found.high))


def best_trials(results: Iterable[TrialResult], count: int) -> tuple[TrialResult, ...]:
    """Return the finished trials with the lowest CRPS, best first, each configuration once."""
    finished = [(result.crps, result.number, result) for result in results if result.crps is not None]
    return tuple(_different(result for _, _, result in sorted(finished, key=lambda entry: entry[:2])))[:count]


def _different(results: Iterable[TrialResult]) -> Iterator[TrialResult]:
    """Yield the first trial of each configuration: searches of earlier versions may hold one more than once."""
    seen: set[tuple[ParameterValue, ...]] = set()
    for result in results:
        if result.parameters not in seen:
            seen.add(result.parameters)
            yield result


def overfitting(run_dir: Path, results: Iterable[TrialResult], blocks: int = BLOCKS) -> Overfitting | None:
    """Return the probability that picking the best of the finished trials by their returns picks luck.

    Args:
        run_dir: where the trials' returns lie.
        results: of the search; those that were given up could not be picked and do not count.
        blocks: see `ml.overfitting.backtest_overfitting`.

    Returns:
        None where that cannot be measured: fewer than two trials, too few bars they share, or constant returns.
    """
    series: list[dict[int, float]] = []
    for result in _different(result for result in results if result.status == FINISHED):
        file = returns_file(run_dir, str(result.number))
        if file.exists():
            with np.load(file, allow_pickle=False) as stored:
                series.append(dict(zip(stored["rows"].tolist(), stored["returns"].tolist(), strict=True)))
    if len(series) < 2:
        return None
    shared = sorted(set(series[0]).intersection(*series[1:]))
    try:
        found = backtest_overfitting(np.array([[one[row] for one in series] for row in shared]), blocks)
    except ValueError:
        return None
    return Overfitting(found.pbo, found.strategies, found.blocks, found.bars, found.probability_of_loss)


def _parameters(params: dict[str, Any]) -> tuple[ParameterValue, ...]:
    return tuple(ParameterValue(name, str(value)) for name, value in params.items())


def _sampler(spec: SearchSpec, number: int, draw: int) -> optuna.samplers.BaseSampler:
    entropy = (spec.sampler_seed, number, draw) if draw else (spec.sampler_seed, number)
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, max(3, spec.trials // 3)))


def _pruner(spec: SearchSpec) -> optuna.pruners.BasePruner:
    epochs = spec.base.training.epochs
    if spec.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=_WARM_UP_TRIALS, n_warmup_steps=max(1, epochs // 10))
    if spec.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
    return optuna.pruners.NopPruner()
