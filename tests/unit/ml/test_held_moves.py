from __future__ import annotations

import numpy as np
import pytest

from ml.held_moves import HeldMoves, held_apart, held_on
from tests.unit.ml.helpers import HOUR, noise_returns

LOG_CLOSE = np.cumsum(noise_returns(100, 3))
TIME_NS = np.arange(100, dtype=np.int64) * HOUR.ns


def held(rows: list[int], *left_out: tuple[int, int]) -> HeldMoves:
    return HeldMoves.between(LOG_CLOSE, TIME_NS, np.array(rows, np.int64), left_out)


def test_bars_in_a_row_are_held_for_one_bar_each() -> None:
    found = held([10, 11, 12])
    np.testing.assert_array_equal(found.log_return, np.diff(LOG_CLOSE[10:14]))
    assert found.bars_per_year == pytest.approx(8_760)


def test_a_position_is_held_until_the_next_judged_bar() -> None:
    found = held([10, 11, 30, 31])
    assert found.log_return[1] == LOG_CLOSE[30] - LOG_CLOSE[11]
    assert found.log_return.sum() == pytest.approx(LOG_CLOSE[32] - LOG_CLOSE[10])
    assert found.bars_per_year == pytest.approx(8_760 * 4 / 22)


def test_nothing_is_held_over_bars_left_out_nor_does_their_time_count() -> None:
    found = held([10, 11, 30, 31], (5, 8), (12, 30), (40, 50))
    np.testing.assert_array_equal(found.log_return, np.diff(LOG_CLOSE)[[10, 11, 30, 31]])
    assert found.bars_per_year == pytest.approx(8_760)


def test_joined_parts_are_one_account_or_several() -> None:
    parts = [held([10, 11]), held([12, 13]), held([30])]
    on, whole = held_on(parts), held([10, 11, 12, 13, 30])
    np.testing.assert_array_equal(on.log_close, whole.log_close)
    np.testing.assert_array_equal(on.time_ns, whole.time_ns)
    apart = held_apart(parts)
    np.testing.assert_array_equal(apart.log_return, np.diff(LOG_CLOSE)[[10, 11, 12, 13, 30]])
    assert apart.bars_per_year == pytest.approx(8_760)
    assert parts[0].log_close[1, 1] == LOG_CLOSE[12], "the parts stay as they were"


def test_no_bar_no_move() -> None:
    assert held([], (2, 5)).log_return.shape == (0,)
