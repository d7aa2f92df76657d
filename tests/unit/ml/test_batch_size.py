"""Parts of a batch give the gradient of the whole one; memory that runs out makes them smaller, never a crash."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.errors import UserError
from core.jobs import JobStopped
from ml.api import ModelSpec
from ml.batch_size import (
    MicroBatcher,
    Probe,
    best_rows,
    cpu_rows,
    fit_batch,
    is_out_of_memory,
    measured_step,
    next_rows,
    run_with_backoff,
    split,
)
from ml.recurrent import RecurrentForecaster, mean_pinball

CPU = torch.device("cpu")
ROWS, BARS, FEATURES = 13, 24, 3
GIB = 1 << 30


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Problem:
    """A small network and a batch whose segments count different numbers of targets, two of them none."""

    def __init__(self, dropout: float = 0.0, fits: int = ROWS) -> None:
        torch.manual_seed(1)
        self.network = RecurrentForecaster(FEATURES, ModelSpec(hidden_size=5, layers=2, dropout=dropout))
        self.network.output.weight.data.normal_()
        generator = np.random.default_rng(7)
        self.x = torch.from_numpy(generator.normal(size=(ROWS, BARS, FEATURES)).astype(np.float32))
        self.y = torch.from_numpy(generator.normal(size=(ROWS, BARS)).astype(np.float32))
        weight = (generator.random((ROWS, BARS)) < generator.random((ROWS, 1))).astype(np.float32)
        weight[[2, 3]] = 0.0
        self.weight, self.counted = torch.from_numpy(weight), weight.sum(axis=1).astype(np.float64)
        self.levels = torch.tensor(self.network.spec.quantile_levels)
        self.fits, self.passes = fits, []
        self.batch = np.arange(ROWS)

    def loss(self, part: np.ndarray) -> Tensor:
        self.passes.append(len(part))
        if len(part) > self.fits:
            torch.rand(3)  # some of the random numbers were drawn when memory ran out
            raise out_of_memory()
        quantiles = self.network(self.x[part], *self.network.initial_state(len(part), CPU))[0]
        return mean_pinball(quantiles, self.y[part, :, None], self.weight[part], self.levels)

    def zero_grad(self) -> None:
        self.network.zero_grad(set_to_none=True)

    def gradients(self, micro: MicroBatcher) -> tuple[float, list[np.ndarray]]:
        loss = micro.backward(self.batch, self.counted, self.loss, self.zero_grad)
        return float(loss), [parameter.grad.numpy().copy() for parameter in self.network.parameters()]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 12])
def test_the_gradient_is_the_same_whatever_the_split(rows: int) -> None:
    loss, whole = Problem().gradients(MicroBatcher(ROWS, CPU, pytest.fail))
    split_loss, parts = Problem().gradients(MicroBatcher(rows, CPU, pytest.fail))
    assert split_loss == pytest.approx(loss, rel=1e-6)
    for one, other in zip(whole, parts, strict=True):
        assert np.abs(one).max() > 1e-4
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_an_unsplit_batch_is_what_torch_does_alone_to_the_bit() -> None:
    problem = Problem()
    loss, whole = problem.gradients(MicroBatcher(64, CPU, pytest.fail))
    plain = Problem()
    expected = plain.loss(plain.batch)
    expected.backward()
    assert loss == float(expected.detach())
    for one, parameter in zip(whole, plain.network.parameters(), strict=True):
        np.testing.assert_array_equal(one, parameter.grad.numpy())


def test_memory_that_runs_out_halves_the_parts_and_is_told() -> None:
    told: list[str] = []
    micro = MicroBatcher(64, CPU, told.append)
    problem = Problem(fits=4)
    _, gradients = problem.gradients(micro)
    assert micro.rows == 4
    assert told == [
        "The memory was not enough: the batch is computed in parts of 7 segments.",
        "The memory was not enough: the batch is computed in parts of 4 segments.",
    ]
    assert max(problem.passes[2:]) <= 4
    _, expected = Problem().gradients(MicroBatcher(ROWS, CPU, pytest.fail))
    for one, other in zip(expected, gradients, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    problem.passes.clear()
    problem.gradients(micro)
    assert max(problem.passes) <= 4, "what did not fit is not tried again"
    assert len(told) == 2


def test_dropout_does_not_depend_on_how_far_an_attempt_came() -> None:
    def with_dropout(fits: int, rows: int) -> list[np.ndarray]:
        problem = Problem(dropout=0.5, fits=fits)
        torch.manual_seed(3)
        return problem.gradients(MicroBatcher(rows, CPU, lambda message: None))[1]

    for one, other in zip(with_dropout(4, 64), with_dropout(ROWS, 4), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_attempt_that_failed_halfway_leaves_nothing_in_the_gradient() -> None:
    problem = Problem()
    calls = 0

    def loss(part: np.ndarray) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise MemoryError
        return problem.loss(part)

    micro = MicroBatcher(4, CPU, lambda message: None)
    micro.backward(problem.batch, problem.counted, loss, problem.zero_grad)
    assert micro.rows == 2
    _, expected = Problem().gradients(MicroBatcher(2, CPU, pytest.fail))
    for one, parameter in zip(expected, problem.network.parameters(), strict=True):
        np.testing.assert_array_equal(one, parameter.grad.numpy())


def test_the_sum_of_losses_without_gradients_is_the_same_too() -> None:
    problem = Problem(fits=5)
    total = MicroBatcher(64, CPU, lambda message: None).forward(problem.batch, problem.counted, problem.loss)
    with torch.no_grad():
        plain = Problem()
        expected = float(plain.loss(plain.batch)) * plain.counted.sum()
    assert total == pytest.approx(expected, rel=1e-6)


def test_a_batch_that_counts_nothing_is_a_bug() -> None:
    problem = Problem()
    with pytest.raises(ValueError, match="without a target"):
        MicroBatcher(4, CPU, pytest.fail).backward(problem.batch, problem.counted * 0, problem.loss, problem.zero_grad)


def test_not_even_one_segment_is_a_sentence() -> None:
    with pytest.raises(UserError, match="does not hold one segment") as refused:
        Problem(fits=0).gradients(MicroBatcher(64, CPU, lambda message: None))
    assert refused.value.remedy


def test_any_other_error_goes_through_at_once() -> None:
    def step(rows: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        run_with_backoff(step, 8, release=pytest.fail, on_smaller=pytest.fail)


def test_the_memory_of_a_failed_attempt_is_free_before_the_next() -> None:
    held: list[weakref.ref[Tensor]] = []

    def step(rows: int) -> int:
        tensor = torch.zeros(rows)
        held.append(weakref.ref(tensor))
        if rows > 2:
            raise out_of_memory()
        return rows

    def release() -> None:
        gc.collect()
        assert held[-1]() is None, "the error still holds the frame that holds the tensor"

    assert run_with_backoff(step, 8, release=release, on_smaller=lambda rows: None) == 2
    assert len(held) == 3


def test_what_this_machine_says_when_it_has_no_memory_is_understood() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60)
    assert is_out_of_memory(refused.value)
    with pytest.raises(MemoryError) as refused_too:
        bytearray(1 << 62)
    assert is_out_of_memory(refused_too.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (out_of_memory(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.1 GB, max allowed: 9.0 GB)."), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_errors_about_memory_are_told_from_others(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@given(st.integers(1, 500), st.integers(1, 600))
def test_a_split_covers_every_row_once_in_the_fewest_equal_parts(size: int, rows: int) -> None:
    parts = split(size, rows)
    assert [index for part in parts for index in range(size)[part]] == list(range(size))
    lengths = [part.stop - part.start for part in parts]
    assert len(parts) == -(-size // rows)
    assert max(lengths) <= rows
    assert max(lengths) - min(lengths) <= 1


def machine(capacity: int, fixed: float = 0.001, per_row: float = 0.0001, linear_from: int = 64) -> Callable:
    """Return a model of a GPU: constant time until it is full, then in proportion; memory for the network and rows."""

    def step(rows: int) -> Probe:
        if rows > capacity:
            raise out_of_memory()
        return Probe(rows, fixed + per_row * max(0, rows - linear_from), GIB // 4 + rows * (GIB // 100))

    return step


def fit(step: Callable[[int], Probe], start: int = 8, limit: int = 1_024, budget: int = 1 << 50) -> tuple:
    found = fit_batch(step, start, limit, lambda: False, budget_bytes=budget, release=lambda: None)
    return found.rows, found.reason, [probe.rows for probe in found.probes]


def test_rows_are_doubled_while_that_is_faster() -> None:
    rows, reason, tried = fit(machine(10_000, fixed=0.001, per_row=0.001 / 64))
    assert tried == [8, 16, 32, 64, 128]
    assert (rows, reason) == (64, "more are not faster")


def test_what_does_not_fit_ends_the_search() -> None:
    assert fit(machine(50, linear_from=10_000)) == (32, "more do not fit into the memory", [8, 16, 32, 64])


def test_the_budget_ends_the_search_before_the_memory_does() -> None:
    rows, reason, tried = fit(machine(10_000, linear_from=10_000), budget=GIB)
    assert (rows, reason) == (64, "more do not fit into the memory")
    assert tried == [8, 16, 32, 64]  # 64 take 0.89 GiB, 128 would take 1.53


def test_the_limit_is_the_whole_batch() -> None:
    assert fit(machine(10_000, linear_from=10_000), limit=48) == (48, "the whole batch at once", [8, 16, 32, 48])
    assert fit(machine(10_000), start=64, limit=16) == (16, "the whole batch at once", [16])


def test_a_start_that_does_not_fit_comes_down() -> None:
    assert fit(machine(3), start=16) == (2, "more do not fit into the memory", [16, 8, 4, 2])
    with pytest.raises(UserError, match="does not hold one segment"):
        fit(machine(0), start=4)


def test_a_request_to_stop_ends_the_search() -> None:
    with pytest.raises(JobStopped):
        fit_batch(machine(8), 8, 64, lambda: True, budget_bytes=GIB, release=lambda: None)


def test_a_bug_in_the_step_is_no_lack_of_memory() -> None:
    def step(rows: int) -> Probe:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        fit(step)


@given(st.integers(0, 300), st.integers(1, 64), st.integers(1, 300), st.integers(1, 200))
def test_the_search_ends_with_what_fits(capacity: int, start: int, limit: int, linear_from: int) -> None:
    step = machine(capacity, linear_from=linear_from)
    if capacity == 0:
        with pytest.raises(UserError):
            fit(step, start, limit)
        return
    rows, _, tried = fit(step, start, limit)
    assert 1 <= rows <= min(limit, capacity)
    assert len(tried) == len(set(tried)) < 20


def test_the_fewest_rows_that_are_as_fast_are_taken() -> None:
    assert best_rows([Probe(8, 0.010), Probe(16, 0.010), Probe(32, 0.0198)]) == 16
    assert best_rows([Probe(8, fits=False)]) == 0
    assert next_rows([], 8, 4, GIB) == (4, "")


def test_a_step_is_measured_after_one_to_warm_up() -> None:
    calls: list[int] = []
    probe = measured_step(calls.append, CPU)(4)
    assert calls == [4, 4]
    assert (probe.rows, probe.fits) == (4, True)
    assert probe.seconds > 0


@pytest.mark.parametrize(
    ("hidden", "length", "rows"), [(32, 256, 32), (64, 256, 16), (64, 512, 8), (32, 512, 16), (1_024, 8_192, 1)]
)
def test_a_cpu_takes_what_its_caches_hold(hidden: int, length: int, rows: int) -> None:
    assert cpu_rows("lstm", hidden, length) == rows


def test_a_gru_takes_many_at_once() -> None:
    assert cpu_rows("gru", 64, 512) == 128
