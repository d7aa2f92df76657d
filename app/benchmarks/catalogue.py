"""The list of all figures. Qt-free; main thread. A capability adds its figures and its scenario here."""

from __future__ import annotations

from app.benchmarks import (
    data_bench,
    learning_bench,
    order_latency_bench,
    order_rate_bench,
    practice_bench,
    recovery_bench,
    window_bench,
)
from app.benchmarks.figures import Catalogue, Figure

CATALOGUE = Catalogue(
    figures=(
        Figure("startup.first_window_s", "s", "lower", 1.0, "start", "process start to first painted window, warm"),
        Figure("startup.gui_rss_mb", "MB", "lower", 350.0, "window", "memory of the window, trading, chart open"),
        Figure("ui.stall_ms_max", "ms", "lower", 100.0, "window", "worst stall: connect, train, 1,000 messages/s"),
        Figure("ui.stall_connect_ms", "ms", "lower", 100.0, "window", "worst stall while it starts and connects"),
        Figure("ui.stall_train_ms", "ms", "lower", 100.0, "window", "worst stall while it trains, 1,000 messages/s"),
        Figure("ui.stall_trade_ms", "ms", "lower", 100.0, "window", "worst stall while it trades, 1,000 messages/s"),
        Figure("ui.quit_s", "s", "lower", 2.0, "window", "quit to the end of the last shutdown stage, idle"),
        Figure("chart.pan_ms_p50", "ms", "lower", 33.0, "chart", "frame while panning over 1 M bars, off screen"),
        Figure("chart.pan_ms_p99", "ms", "lower", None, "chart", "the same, slowest of a hundred"),
        Figure("orders.intent_to_wire_ms_p50", "ms", "lower", 5.0, "order_latency", "order by hand to its bytes sent"),
        Figure("orders.intent_to_wire_ms_p99", "ms", "lower", 20.0, "order_latency", "the same, slowest of a hundred"),
        Figure("orders.event_to_wire_ms_p99", "ms", "lower", 25.0, "order_latency", "bar's last frame to order sent"),
        Figure("orders.kill_to_wire_ms", "ms", "lower", 50.0, "order_latency", "kill switch to first cancel sent"),
        Figure("orders.per_s", "1/s", "higher", 200.0, "order_rate", "orders sent, filled and booked, journal on disk"),
        Figure("orders.recovery_s", "s", "lower", 3.0, "recovery", "start over 10 k orders, 100 k fills, reconciled"),
        Figure("data.write_1m_rows_s", "s", "lower", None, "data", "write 1 M one-minute bars to the candle store"),
        Figure("data.load_2600k_rows_ms", "ms", "lower", None, "data", "load 2.6 M one-minute bars (five years)"),
        Figure("data.import_csv_1m_s", "s", "lower", None, "data", "import 1 M bars from CSV"),
        Figure("practice.ready_s", "s", "lower", 3.0, "practice", "start of the practice exchange to its ready line"),
        Figure("practice.rss_mb", "MB", "lower", 200.0, "practice", "memory of the practice exchange after serving"),
        Figure("features.1m_bars_s", "s", "lower", 1.5, "features", "32 technical features of 1 M bars"),
        Figure("forecast.train_targets_per_s", "1/s", "higher", 100_000.0, "training", "LSTM(16→64), one core's time"),
        Figure("forecast.train_ratio", "x", "higher", 25.0, "training", "the same over the best window DataLoader"),
        Figure("forecast.train_wall_targets_per_s", "1/s", "higher", None, "training", "the same by the clock"),
        Figure("forecast.inference_us_p50", "us", "lower", 50.0, "training", "one step of that network, state carried"),
        Figure("forecast.inference_ensemble_us_p50", "us", "lower", None, "training", "the same, five networks as one"),
        Figure("forecast.update_us_p50", "us", "lower", None, "live", "one bar, default model: features and network"),
        Figure("forecast.gpu_targets_per_s", "1/s", "higher", None, "gpu", "LSTM(16→64) on a GPU, 256 segments"),
        Figure("forecast.gpu_cudnn_share", "share", "higher", None, "gpu", "the same over the bare layer of cuDNN"),
        Figure("forecast.gpu_memory_mb", "MB", "lower", None, "gpu", "most GPU memory held by tensors meanwhile"),
    ),
    scenarios={
        "start": window_bench.run_start,
        "window": window_bench.run_window,
        "chart": window_bench.run_chart,
        "order_latency": order_latency_bench.run,
        "order_rate": order_rate_bench.run,
        "recovery": recovery_bench.run,
        "data": data_bench.run,
        "practice": practice_bench.run,
        "features": learning_bench.run_features,
        "training": learning_bench.run_training,
        "live": learning_bench.run_live,
        "gpu": learning_bench.run_gpu,
    },
)
