"""The study of a search: what is chosen, given up and remembered. No network is trained here."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from core.errors import UserError
from ml.search import SearchStudy, _values, best_trials, distribution, overfitting
from ml.search_results import ParameterValue, SeedOutcome, TrialResult
from ml.search_spec import SearchSpec, parse_range
from ml.search_tasks import returns_file
from ml.spec import ForecastSpec, TrainingSpec

SPACE = (
    parse_range("model.kind", "choice lstm gru"),
    parse_range("model.hidden_size", "int 8 64 step 8"),
    parse_range("training.learning_rate", "log 1e-4 1e-1"),
)


def search(trials: int = 14, pruner: str = "none") -> SearchSpec:
    return SearchSpec(base=ForecastSpec(training=TrainingSpec(epochs=6)), trials=trials, pruner=pruner, space=SPACE)


def score(spec: ForecastSpec) -> float:
    """Return a loss whose optimum is at a learning rate of 1e-2; the kind of network does not matter."""
    return 0.5 + abs(math.log10(spec.training.learning_rate) + 2.0) / 10.0 + spec.model.hidden_size / 1e5


def outcome(crps: float, sharpe: float | None = 0.1) -> tuple[SeedOutcome, ...]:
    return (SeedOutcome(1, crps, sharpe, 6, 3),)


def run_on(study: SearchStudy, most: int = 1_000) -> None:
    """Try so many trials; those that lag behind are given up as the study says."""
    for _ in range(most):
        planned = study.ask()
        if planned is None:
            return
        status = "finished"
        for epoch in range(1, 7):
            if study.report(planned.number, epoch, score(planned.spec) + 1.0 / epoch):
                status = "pruned"
                break
        study.finish(planned.number, status, outcome(score(planned.spec)), 1.0)


def choices(study: SearchStudy) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(t.number, t.status, tuple(p.value for p in t.parameters)) for t in study.results()]


def test_two_searches_with_one_seed_choose_the_same(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        study = SearchStudy(tmp_path / f"{name}.sqlite", search())
        run_on(study)
        found.append(choices(study))
        study.close()
    assert found[0] == found[1]
    assert [number for number, _, _ in found[0]] == list(range(14))


@pytest.mark.parametrize("pruner", ["none", "median"])
def test_an_interrupted_search_goes_on_as_it_would_have(tmp_path: Path, pruner: str) -> None:
    whole = SearchStudy(tmp_path / "whole.sqlite", search(pruner=pruner))
    run_on(whole)
    expected = choices(whole)
    whole.close()

    first = SearchStudy(tmp_path / "parts.sqlite", search(pruner=pruner))
    run_on(first, 6)
    lost = first.ask()  # as if killed while it trains
    assert lost is not None
    first.report(lost.number, 1, 0.1)
    first.close()

    second = SearchStudy(tmp_path / "parts.sqlite", search(pruner=pruner))
    (cancelled,) = second.recover()
    assert (cancelled.number, cancelled.status) == (lost.number, "cancelled")
    assert second.results()[lost.number].status == "cancelled"
    again = second.ask()  # and once more
    assert again == lost
    second.close()

    third = SearchStudy(tmp_path / "parts.sqlite", search(pruner=pruner))
    assert [trial.number for trial in third.recover()] == [lost.number]
    run_on(third)
    assert choices(third) == expected
    third.close()


def test_a_search_that_is_stopped_keeps_what_was_under_way_for_later(tmp_path: Path) -> None:
    study = SearchStudy(tmp_path / "s.sqlite", search(trials=3))
    first, second = study.ask(), study.ask()
    assert first is not None
    assert second is not None
    study.finish(first.number, "finished", outcome(0.5), 1.0)
    assert [trial.status for trial in study.interrupt()] == ["cancelled"]
    study.close()
    study = SearchStudy(tmp_path / "s.sqlite", search(trials=3))
    assert study.recover() == ()
    assert study.ask() == second
    study.finish(second.number, "finished", outcome(0.6), 1.0)
    third = study.ask()
    assert third is not None
    study.finish(third.number, "failed", (), 1.0, "It diverged.")
    assert study.ask() is None
    assert [trial.status for trial in study.results()] == ["finished", "finished", "failed"]
    assert study.results()[2].message == "It diverged."
    study.close()


SMALL = (
    parse_range("model.kind", "choice lstm gru"),
    parse_range("training.segment_length", "choice 64 128"),
    parse_range("training.burn_in", "choice 16 48"),  # does not go together with segments of 64
    parse_range("model.dropout", "float 0 0.3 step 0.1"),
)
SOUND = 2 * 3 * 4


def planned(study: SearchStudy) -> list[ForecastSpec]:
    """Ask for configurations to the end; every other one lags behind."""
    found = []
    while (trial := study.ask()) is not None:
        found.append(trial.spec)
        study.finish(trial.number, "finished", outcome(0.5 + trial.number % 2), 1.0)
    return found


def test_every_trial_is_another_configuration_that_can_be_trained(tmp_path: Path) -> None:
    study = SearchStudy(tmp_path / "s.sqlite", replace(search(trials=18), space=SMALL))
    found = planned(study)
    assert len(found) == len(set(found)) == 18
    assert all(spec.validate() == spec for spec in found)
    assert not study.exhausted
    study.close()


def test_a_space_that_is_used_up_ends_the_search_also_when_it_goes_on(tmp_path: Path) -> None:
    spec = replace(search(trials=100), space=SMALL)
    study = SearchStudy(tmp_path / "s.sqlite", spec)
    found = planned(study)
    assert len(found) == len(set(found)) == SOUND
    assert study.exhausted
    study.close()
    study = SearchStudy(tmp_path / "s.sqlite", spec)
    assert study.recover() == ()
    assert study.ask() is None
    assert study.exhausted
    assert [trial.number for trial in study.results()] == list(range(SOUND))
    study.close()


def test_drawing_anew_is_the_same_when_a_search_is_interrupted_at_every_turn(tmp_path: Path) -> None:
    spec = replace(search(trials=100), space=SMALL)
    whole = SearchStudy(tmp_path / "whole.sqlite", spec)
    expected = planned(whole)
    whole.close()
    found, ended = [], False
    while not ended:
        study = SearchStudy(tmp_path / "parts.sqlite", spec)  # as if killed after each choice
        study.recover()
        trial = study.ask()
        ended = trial is None
        if trial is not None and (not found or found[-1] != trial.spec):
            found.append(trial.spec)
        elif trial is not None:
            study.finish(trial.number, "finished", outcome(0.5 + trial.number % 2), 1.0)
        study.close()
    assert found == expected


@pytest.mark.parametrize("size", ["choice 16 32", "int 8 128", "log 1e-4 1e-2"])
def test_a_search_that_nothing_can_be_trained_in_says_so(tmp_path: Path, size: str) -> None:
    name = "training.learning_rate" if size.startswith("log") else "model.hidden_size"
    space = (
        parse_range("training.segment_length", "choice 64"),
        parse_range("training.burn_in", "choice 60"),
        parse_range(name, size),
    )
    study = SearchStudy(tmp_path / "s.sqlite", replace(search(), space=space))
    with pytest.raises(UserError, match="None of the combinations"):
        study.ask()
    study.close()


def test_where_few_of_countless_combinations_can_be_trained_these_are_found(tmp_path: Path) -> None:
    space = (
        parse_range("training.segment_length", "int 64 512"),
        parse_range("training.burn_in", "int 0 480"),
        parse_range("training.learning_rate", "log 1e-4 1e-2"),
    )
    base = ForecastSpec(training=TrainingSpec(segment_length=512, burn_in=400))
    study = SearchStudy(tmp_path / "s.sqlite", replace(search(trials=12), base=base, space=space))
    found = planned(study)
    assert len(set(found)) == 12
    assert all(spec.validate() == spec for spec in found)
    study.close()


def test_values_are_counted_as_they_are_drawn() -> None:
    for text in ("float 0 0.5 step 0.1", "float 0.05 0.4 step 0.05", "int 8 64 step 8"):
        found = distribution(parse_range("x", text))
        sampler = optuna.samplers.RandomSampler(seed=1)
        study = optuna.create_study(sampler=sampler)
        drawn = {study.ask({"x": found}).params["x"] for _ in range(200)}
        assert drawn == set(_values(found))


def test_the_median_pruner_gives_up_the_worst_and_never_the_best(tmp_path: Path) -> None:
    study = SearchStudy(tmp_path / "s.sqlite", search(trials=30, pruner="median"))
    run_on(study)
    by_status = {status: [t for t in study.results() if t.status == status] for status in ("finished", "pruned")}
    study.close()
    assert by_status["pruned"]
    assert all(trial.crps is None for trial in by_status["pruned"])
    worst = max(trial.seeds[0].crps for trial in by_status["finished"][5:])
    assert min(trial.seeds[0].crps for trial in by_status["pruned"]) > min(t.crps or 9.0 for t in by_status["finished"])
    assert max(trial.seeds[0].crps for trial in by_status["pruned"]) >= worst


def test_the_search_finds_what_matters_and_says_so(tmp_path: Path) -> None:
    study = SearchStudy(tmp_path / "s.sqlite", search(trials=40))
    run_on(study)
    (best,) = best_trials(study.results(), 1)
    rate = float(next(p.value for p in best.parameters if p.name == "training.learning_rate"))
    assert 5e-3 < rate < 2e-2
    importance = study.importance()
    assert importance[0].name == "training.learning_rate"
    assert importance[0].share > 0.9
    assert sum(entry.share for entry in importance) == pytest.approx(1.0)
    study.close()


def test_too_few_trials_have_no_importance(tmp_path: Path) -> None:
    study = SearchStudy(tmp_path / "s.sqlite", search(trials=3))
    run_on(study)
    assert study.importance() == ()
    study.close()


def test_other_bars_are_refused(tmp_path: Path) -> None:
    study = SearchStudy(tmp_path / "s.sqlite", search())
    study.bind("hash")
    study.bind("hash")
    with pytest.raises(UserError, match="bars have changed"):
        study.bind("other")
    study.close()


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match="cannot be used"):
        SearchStudy(tmp_path / "s.sqlite", search())


def test_a_step_that_misses_the_end_stops_before_it() -> None:
    whole = distribution(parse_range("model.hidden_size", "int 8 30 step 8"))
    assert (whole.low, whole.high) == (8, 24)  # type: ignore[attr-defined]
    part = distribution(parse_range("model.dropout", "float 0 0.5 step 0.2"))
    assert part.high == pytest.approx(0.4)  # type: ignore[attr-defined]


def finished(number: int, crps: float, value: int | None = None) -> TrialResult:
    """Return a trial with a configuration of its own, unless given one."""
    parameter = ParameterValue("model.hidden_size", str(number if value is None else value))
    return TrialResult(number, "finished", crps, 1.0, (parameter,))


def test_the_best_are_those_with_the_lowest_score() -> None:
    trials = [finished(0, 0.5), finished(1, 0.3), TrialResult(2, "pruned", None, 1.0, ()), finished(3, 0.3)]
    assert [trial.number for trial in best_trials(trials, 2)] == [1, 3]
    repeated = [*trials, finished(4, 0.2, 1), finished(5, 0.4, 3)]
    assert [trial.number for trial in best_trials(repeated, 3)] == [4, 3, 0]


def keep(folder: Path, number: int, returns: np.ndarray, first_row: int = 0) -> None:
    file = returns_file(folder, str(number))
    file.parent.mkdir(exist_ok=True)
    np.savez(file, rows=np.arange(len(returns), dtype=np.int32) + first_row, returns=returns.astype(np.float32))


def test_overfitting_is_certain_for_luck_and_absent_for_skill(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 0.01, (12, 1_600))
    for number, row in enumerate(noise):
        keep(tmp_path, number, row[number:], number)  # they do not all begin at the same bar
    luck = overfitting(tmp_path, [finished(number, 0.5) for number in range(12)])
    assert luck is not None
    assert (luck.strategies, luck.bars) == (12, 1_584)
    assert luck.pbo > 0.2
    keep(tmp_path, 12, rng.normal(0.01, 0.01, 1_600))
    skill = overfitting(tmp_path, [finished(number, 0.5) for number in range(13)])
    assert skill is not None
    assert skill.pbo == 0.0
    keep(tmp_path, 13, rng.normal(0.01, 0.01, 1_600))
    again = overfitting(tmp_path, [*(finished(number, 0.5) for number in range(13)), finished(13, 0.5, 12)])
    assert again == skill  # the same configuration once more is no other strategy


def test_overfitting_needs_two_finished_trials_and_enough_bars(tmp_path: Path) -> None:
    keep(tmp_path, 0, np.array([0.1, -0.1] * 5))
    keep(tmp_path, 1, np.array([0.1, 0.2] * 5))
    pruned = TrialResult(1, "pruned", None, 1.0, ())
    assert overfitting(tmp_path, [finished(0, 0.5), pruned]) is None
    assert overfitting(tmp_path, [finished(0, 0.5), finished(1, 0.5)]) is None


def test_the_rows_that_are_judged_stay_those_of_the_first_session(tmp_path: Path) -> None:
    study = SearchStudy(tmp_path / "s.sqlite", search())
    assert study.judged_rows(lambda: ((3, 5), (9, 20))) == ((3, 5), (9, 20))
    study.close()
    study = SearchStudy(tmp_path / "s.sqlite", search())
    assert study.judged_rows(lambda: ((1, 2),)) == ((3, 5), (9, 20))
    study.close()


def test_trials_of_rows_of_their_own_are_not_gone_on_with(tmp_path: Path) -> None:
    study = SearchStudy(tmp_path / "s.sqlite", search())
    run_on(study, 1)
    with pytest.raises(UserError, match="different bars"):
        study.judged_rows(lambda: ((1, 2),))
    study.close()
