"""The list of all figures. Qt-free; main thread. A capability adds its figures and its scenario here."""

from __future__ import annotations

from app.benchmarks import data_bench
from app.benchmarks.figures import Catalogue, Figure

CATALOGUE = Catalogue(
    figures=(
        Figure("data.write_1m_rows_s", "s", "lower", None, "data", "write 1 M one-minute bars to the candle store"),
        Figure("data.load_2600k_rows_ms", "ms", "lower", None, "data", "load 2.6 M one-minute bars (five years)"),
        Figure("data.import_csv_1m_s", "s", "lower", None, "data", "import 1 M bars from CSV"),
    ),
    scenarios={"data": data_bench.run},
)
