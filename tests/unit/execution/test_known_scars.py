"""The complaints of users of other programs about orders, and the test that keeps each of them from happening here.

The number is the complaint's in the survey of such programs, the issue is where it was reported. What is not about
orders, fills or books (data, learning, speed, tables) is no subject of this list.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration import test_one_key_two_programs as programs
from tests.unit.execution import test_known_scars_orders as orders
from tests.unit.execution import test_known_scars_restarts as restarts
from tests.unit.execution import test_known_scars_rules as rules
from tests.unit.execution import test_known_scars_streams as streams
from tests.unit.execution.paper import test_exchange as paper_exchange
from tests.unit.execution.paper import test_executor_paper as paper_executor
from tests.unit.execution.paper import test_gateway as paper_gateway

Scar = tuple[int, str, Callable[..., object]]

SCARS: tuple[Scar, ...] = (
    (1, "freqtrade#3647", orders.test_an_order_reported_cancelled_that_was_really_filled_is_in_the_position),
    (2, "freqtrade#4653", orders.test_a_database_locked_before_the_order_is_sent_sends_nothing),
    (
        2,
        "freqtrade#6353",
        orders.test_an_order_that_went_through_at_the_exchange_but_not_at_the_database_is_booked_later,
    ),
    (3, "freqtrade#4403", orders.test_an_order_not_found_right_after_it_was_created_is_neither_given_up_nor_sent_again),
    (3, "freqtrade#2054", orders.test_an_order_not_found_right_after_it_was_created_is_neither_given_up_nor_sent_again),
    (3, "freqtrade#4612", orders.test_a_request_that_failed_on_its_way_out_and_back_is_told_apart_by_evidence_alone),
    (4, "freqtrade#7725", orders.test_every_order_has_an_id_of_ours_that_is_on_disk_before_it_is_sent),
    (5, "freqtrade#12528", orders.test_a_stop_loss_is_not_placed_again_after_the_position_is_closed_nor_left_behind),
    (5, "freqtrade#12824", orders.test_a_stop_loss_is_placed_once_and_not_again_in_each_loop),
    (5, "freqtrade#11788", orders.test_a_stop_loss_the_venue_refuses_is_not_spammed_and_a_person_is_told),
    (5, "freqtrade#11608", orders.test_a_stop_loss_is_not_placed_again_after_the_position_is_closed_nor_left_behind),
    (6, "freqtrade#6907", orders.test_a_second_buy_without_an_answer_stays_in_the_books_and_its_fill_in_the_position),
    (7, "scrtlabs/catalyst#317", orders.test_a_timeout_on_create_never_places_the_order_twice),
    (8, "hummingbot#493", orders.test_a_timeout_is_no_failure_and_nothing_takes_the_orders_place),
    (9, "hummingbot#3374", orders.test_six_orders_that_fill_hours_after_a_network_error_are_not_forgotten),
    (9, "hummingbot#3915", orders.test_six_orders_that_fill_hours_after_a_network_error_are_not_forgotten),
    (10, "hummingbot#1934", orders.test_a_fill_told_by_stream_answer_and_list_alike_counts_once_and_none_is_invented),
    (10, "hummingbot#2480", streams.test_fills_between_a_1006_and_the_new_stream_are_read_from_the_list),
    (10, "hummingbot#1357", orders.test_six_orders_that_fill_hours_after_a_network_error_are_not_forgotten),
    (11, "hummingbot#720", orders.test_nothing_is_sent_after_the_stop),
    (11, "hummingbot#462", orders.test_a_loop_that_decides_without_end_is_stopped_at_the_limit_of_its_rate),
    (12, "nautilus#3046", restarts.test_restart_after_restart_books_nothing_twice_and_sends_nothing),
    (12, "nautilus#4736", restarts.test_a_warm_restart_does_not_flatten_a_position_nor_drop_its_working_order),
    (12, "nautilus#5000", restarts.test_a_warm_restart_does_not_flatten_a_position_nor_drop_its_working_order),
    (12, "nautilus#3104", restarts.test_a_position_older_than_the_venues_list_of_trades_starts_and_is_equal),
    (12, "nautilus#3622", restarts.test_comparing_equal_books_ends_and_changes_nothing),
    (12, "nautilus#3176", restarts.test_restart_after_restart_books_nothing_twice_and_sends_nothing),
    (
        13,
        "nautilus#3879",
        orders.test_an_answer_that_takes_long_is_not_resolved_by_impatience_and_orders_do_not_pile_up,
    ),
    (13, "nautilus#4152", orders.test_a_timeout_is_no_failure_and_nothing_takes_the_orders_place),
    (14, "OctoBot#3190", restarts.test_stop_and_target_still_belong_together_after_a_restart),
    (14, "OctoBot#3190", restarts.test_an_entry_filled_while_the_program_was_off_is_protected_at_the_start),
    (14, "OctoBot#1333", restarts.test_an_order_that_ended_while_the_program_was_off_is_not_shown_as_working),
    (15, "jesse#371", restarts.test_a_first_start_without_any_memory_closes_and_cancels_nothing),
    (15, "jesse#576", restarts.test_a_position_opened_before_a_restart_is_closed_after_it_with_its_whole_profit),
    (16, "QuantDinger#232", restarts.test_a_fill_of_the_last_moment_before_a_crash_is_booked_once),
    (17, "freqtrade#13397", streams.test_an_unfinished_candle_is_never_traded_on_as_if_it_had_closed),
    (18, "freqtrade#10597", streams.test_an_outage_does_not_start_a_storm_of_reconnects_and_leaves_one_stream),
    (18, "freqtrade#10873", streams.test_an_outage_does_not_start_a_storm_of_reconnects_and_leaves_one_stream),
    (18, "freqtrade#10933", streams.test_an_outage_does_not_start_a_storm_of_reconnects_and_leaves_one_stream),
    (19, "ccxt#26945", streams.test_fills_between_a_1006_and_the_new_stream_are_read_from_the_list),
    (20, "ccxt#22719", streams.test_order_updates_the_stream_swallows_are_found_all_the_same),
    (20, "ccxt#23251", streams.test_order_updates_the_stream_swallows_are_found_all_the_same),
    (21, "ccxt#29210", streams.test_an_old_list_of_open_orders_brings_no_cancelled_order_back),
    (22, "hummingbot#8250", streams.test_a_stream_that_closes_again_and_again_comes_back_each_time),
    (22, "hummingbot#5896", streams.test_a_cancel_does_not_stay_under_way_for_ever),
    (22, "hummingbot#1926", streams.test_one_side_that_falls_silent_does_not_freeze_the_other),
    (25, "freqtrade#12322", rules.test_dust_below_the_smallest_order_is_named_and_keeps_nothing_from_ending),
    (25, "freqtrade#12598", rules.test_a_price_the_venue_refuses_ends_the_order_and_starts_no_emergency_exit),
    (26, "freqtrade#4710", rules.test_no_exit_is_larger_than_what_the_fees_left),
    (26, "freqtrade#606", rules.test_a_coin_that_paid_fees_elsewhere_is_sold_only_as_far_as_it_is_there),
    (26, "freqtrade#2817", rules.test_no_exit_is_larger_than_what_the_fees_left),
    (26, "freqtrade#1371", rules.test_no_exit_is_larger_than_what_the_fees_left),
    (27, "ccxt#2281", rules.test_a_request_outside_the_recv_window_is_refused_and_told_not_repeated),
    (27, "binance-trade-bot#396", rules.test_a_wrong_clock_neither_gives_an_order_up_too_early_nor_keeps_it_for_ever),
    (27, "zenbot#1014", rules.test_a_wrong_clock_neither_gives_an_order_up_too_early_nor_keeps_it_for_ever),
    (28, "freqtrade#7187", rules.test_a_ban_is_not_answered_with_more_requests_and_loses_no_order),
    (28, "OctoBot#2108", rules.test_an_order_refused_for_too_many_requests_is_not_sent_again_by_itself),
    (29, "freqtrade#9345", rules.test_the_machines_time_zone_is_in_no_time_of_an_order),
    (36, "freqtrade#12454", paper_gateway.test_an_order_meets_the_book_that_holds_on_arrival),
    (36, "freqtrade#11216", paper_gateway.test_a_resting_order_waits_its_turn_in_the_live_queue),
    (36, "freqtrade#3389", paper_exchange.test_a_market_order_beyond_the_book_expires),
    (36, "hummingbot#5318", paper_executor.test_a_resting_order_fills_by_the_live_market_and_is_told),
    (36, "hummingbot#2633", paper_exchange.test_fees_are_paid_in_a_third_currency_while_there_is_enough_of_it),
    (36, "hummingbot#3094", paper_executor.test_the_kill_switch_cancels_and_sells_at_the_live_market),
    (
        36,
        "hummingbot#7370",
        paper_gateway.test_the_real_market_gateway_without_keys_is_taken_and_cannot_reach_an_account,
    ),
    (39, "vnpy#3399", rules.test_a_loop_that_dies_takes_trading_down_loudly_and_frees_everything),
    (43, "freqtrade#4023", rules.test_the_panic_stop_leaves_nothing_open_whatever_the_orders_are_in),
    (43, "freqtrade#12606", rules.test_a_limit_price_typed_by_hand_is_the_one_that_is_sent),
    (
        44,
        "freqtrade#4871",
        programs.test_a_second_program_with_the_key_refuses_in_every_folder_until_the_first_has_crashed,
    ),
)
COVERED = {*range(1, 23), 25, 26, 27, 28, 29, 36, 39, 43, 44}


def test_every_complaint_about_orders_has_its_test() -> None:
    assert {number for number, _, _ in SCARS} == COVERED


@pytest.mark.parametrize("module", [orders, restarts, rules, streams])
def test_every_test_of_a_scar_stands_for_a_complaint(module: object) -> None:
    listed = {test.__name__ for _, _, test in SCARS}
    assert {name for name in vars(module) if name.startswith("test_")} <= listed
