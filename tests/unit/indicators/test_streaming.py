"""Every indicator that can be a feature: batch equals stream, rows before the warm-up, nothing undefined, no future."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from core.errors import UserError
from core.indicators.catalogue import catalogue, compute, indicator_info, scale_free, warm_up
from core.indicators.streaming import StreamingIndicator
from tests.unit.indicators.markets import MARKETS, Columns
from tests.unit.indicators.settings import SETTINGS, setting

BLOCK = 16_384
TOLERANCE = 1e-9
FEATURES = [info.name for info in catalogue() if not info.chart_only]


@lru_cache(maxsize=8)
def market(kind: str, size: int) -> Columns:
    return MARKETS[kind](size)


def requests() -> list[tuple[str, str, str]]:
    rows = [(name, "default", kind) for name in FEATURES for kind in MARKETS]
    varied = [name for name in FEATURES if indicator_info(name).parameters]
    return rows + [(name, which, "spiky" if which == "other" else "still") for name in varied for which in SETTINGS[1:]]


@pytest.mark.parametrize(("name", "which", "kind"), requests())
def test_the_stream_equals_the_batch_at_every_bar(name: str, which: str, kind: str) -> None:
    parameters = setting(indicator_info(name), which)
    start = warm_up(name, parameters)
    block = max(BLOCK, 4 * start)
    # The batch knows a block of history more than the stream, and begins a new block among the compared bars.
    size, compared = start + block + 40, 80
    columns = market(kind, size)
    batch = scale_free(name, columns, parameters)
    stream = StreamingIndicator(name, parameters)
    first = size - compared - start
    needed = {column: columns[column][first:].tolist() for column in columns}
    for index in range(size - first):
        outputs = stream.push({column: values[index] for column, values in needed.items()})
        if index < start:
            assert outputs is None
            continue
        assert outputs is not None
        assert list(outputs) == list(batch)
        for label, value in outputs.items():
            expected = batch[label][first + index]
            assert abs(value - expected) <= TOLERANCE * max(1.0, abs(expected)), f"{label} at {index - start}"


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("which", SETTINGS)
def test_exactly_the_warm_up_is_nan_and_nothing_after_it(name: str, which: str) -> None:
    parameters = setting(indicator_info(name), which)
    start = warm_up(name, parameters)
    for kind in MARKETS:
        columns = market(kind, start + 3000)
        for outputs in (compute(name, columns, parameters), scale_free(name, columns, parameters)):
            assert list(outputs) == list(indicator_info(name).outputs)
            for label, values in outputs.items():
                assert values.dtype == np.float64
                assert np.isnan(values[:start]).all(), f"{label}: a value before the warm-up"
                assert np.isfinite(values[start:]).all(), f"{label} in the {kind} market"


@pytest.mark.parametrize("name", FEATURES)
def test_the_future_changes_nothing(name: str) -> None:
    start = warm_up(name, {})
    size = start + BLOCK + 200
    columns, other = market("spiky", size), market("cheap", size)
    before = {form: form(name, columns, {}) for form in (compute, scale_free)}
    for moment in (start, start + 700, start + BLOCK - 1, start + BLOCK + 60):
        changed = {key: np.concatenate((columns[key][: moment + 1], other[key][moment + 1 :])) for key in columns}
        for form, outputs in before.items():
            for label, values in form(name, changed, {}).items():
                np.testing.assert_array_equal(values[: moment + 1], outputs[label][: moment + 1])


def test_the_test_of_the_future_sees_a_leak() -> None:
    close = market("dear", 100)["close"]
    changed = close.copy()
    changed[60:] *= 2
    leaking = np.roll(close, -1), np.roll(changed, -1)
    assert (leaking[0][:60] != leaking[1][:60]).any()


def test_a_bar_without_its_column_is_refused_and_not_taken_in() -> None:
    stream = StreamingIndicator("TRANGE", raw=True)
    bar = {"high": 3.0, "low": 1.0, "close": 2.0}
    assert stream.push(bar) is None
    with pytest.raises(UserError, match="needs the column 'low'"):
        stream.push({"high": 3.0, "close": 2.0})
    assert stream.push(bar) == {"real": 2.0}
    assert stream.warm_up == 1


def test_chart_only_indicators_have_no_stream() -> None:
    with pytest.raises(UserError, match="OBV cannot be a feature"):
        StreamingIndicator("obv")
