"""Stored bars into files for other programs: CSV, Feather and Parquet. Any thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.data.arrow import to_arrow
from core.data.atomic_file import write_atomically
from core.data.frame import PRICE_COLUMNS, CandleFrame
from core.errors import UserError


def export_candles(frame: CandleFrame, path: Path) -> None:
    """Write the bars as columns date, open, high, low, close, volume; the suffix of `path` chooses the format.

    Raises:
        UserError: unknown suffix, nothing to write, or the file cannot be written.
    """
    if not len(frame):
        message = f"There are no bars of {frame.symbol} {frame.timeframe} to export."
        raise UserError(message, "Fetch or import some first.")
    import pyarrow as pa

    columns: dict[str, Any] = {"date": to_arrow(frame.time_ns, pa.timestamp("ns", tz="UTC"))}
    columns |= {name: to_arrow(getattr(frame, name)) for name in PRICE_COLUMNS}
    table, sink = pa.table(columns), pa.BufferOutputStream()
    if path.suffix == ".csv":
        from pyarrow import csv

        csv.write_csv(table, sink)
    elif path.suffix == ".feather":
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    elif path.suffix == ".parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, sink)
    else:
        raise UserError(f"{path.name} names no format that can be written.", "Use .csv, .feather or .parquet.")
    write_atomically(path, memoryview(sink.getvalue()))
