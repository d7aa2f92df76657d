from hypothesis import given
from hypothesis import strategies as st

from app.ui.charts.viewport import MIN_BARS, BarWindow


def window(total: int = 1_000, bars: float = 100) -> BarWindow:
    result = BarWindow()
    result.reset(total, bars)
    return result


def test_a_fresh_view_shows_the_newest_bars_with_room_at_the_right():
    view = window()
    assert view.follow
    assert view.first < 999 < view.last
    assert view.last - 999 < 10


def test_follow_moves_by_one_bar_and_a_pan_ends_it():
    view = window()
    first = view.first
    view.set_total(1_001)
    assert view.first == first + 1
    view.pan(-10)
    assert not view.follow
    first = view.first
    view.set_total(1_002)
    assert view.first == first
    view.go_to_latest()
    assert view.follow
    assert view.first < 1_001 < view.last


def test_zoom_keeps_the_bar_under_the_cursor_and_follow_while_the_newest_is_in_view():
    view = window()
    share = (995 - view.first) / view.span
    view.zoom(995, 0.5)
    assert abs((995 - view.first) / view.span - share) < 1e-9
    assert view.follow
    view.zoom(930, 0.2)
    assert not view.follow


def test_start_and_fit():
    view = window()
    view.go_to_start()
    assert view.first < 0 < view.last
    assert not view.follow
    view.fit()
    assert view.first <= 0
    assert view.last >= 999
    assert view.follow
    assert view.indices() == (0, 1_000)


@given(
    total=st.integers(1, 100_000),
    moves=st.lists(
        st.tuples(st.sampled_from(["pan", "zoom"]), st.floats(-1e6, 1e6), st.floats(0.01, 100)), max_size=15
    ),
)
def test_some_bars_always_stay_in_view(total, moves):
    view = window(total, 120)
    for kind, amount, factor in moves:
        if kind == "pan":
            view.pan(amount)
        else:
            view.zoom(amount, factor)
        assert view.span >= MIN_BARS - 1e-6  # first + span - first rounds
        assert view.first < total
        assert view.last > 0
