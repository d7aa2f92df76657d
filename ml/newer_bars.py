"""Judging a stored model on the bars that came after its own: what the window does. Any thread; no torch."""

from __future__ import annotations

from core.clock import to_datetime
from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.domain.candles import Timeframe
from core.domain.data_origin import is_practice
from core.errors import UserError
from ml.api import DataRange
from ml.evaluation_plan import FEWEST_JUDGED, ModelJob
from ml.model_storage import StoredModel, load_model


def newer_bars_job(paths: DataPaths, model_id: str) -> ModelJob:
    """Return the job that judges a model on every stored bar of its market behind the last one it came with.

    Raises:
        UserError: the model cannot be used, or there are hardly any such bars.
    """
    stored = load_model(paths.models, model_id)
    own = stored.spec.data
    last_ns = int(stored.manifest["data"]["last_open_ns"])
    data = DataRange(
        own.venue,
        own.symbol,
        own.timeframe,
        start_ns=last_ns + Timeframe(own.timeframe).ns,
        markets=own.markets,
        series=own.series,
    )
    _require_bars(paths, stored, data, last_ns)
    return ModelJob(
        model_id=model_id,
        data=data,
        include_training=False,
        include_earlier=False,
        candles_dir=str(paths.candles),
        models_dir=str(paths.models),
        trials_file=str(paths.trials),
    )


def _require_bars(paths: DataPaths, stored: StoredModel, data: DataRange, last_ns: int) -> None:
    """Raise `UserError` where there is nothing to judge: a child would only find that out later."""
    bars = CandleStore(paths.candles).read(data.origin, data.symbol, Timeframe(data.timeframe), data.start_ns).finals()
    needed = FEWEST_JUDGED + stored.spec.model.reach  # the newest have no outcome yet
    if len(bars) >= needed:
        return
    remedy = (
        "Download newer ones by training on the practice market, or with `data fetch`."
        if is_practice(data.origin)
        else "Import newer ones with `data import`, or keep this market in the chart: bars are stored as they close."
    )
    what, end = f"{data.symbol} {data.timeframe}", f"{to_datetime(last_ns):%Y-%m-%d %H:%M}"
    if not len(bars):
        raise UserError(f"No stored bar of {what} is newer than {end} UTC, the model's last.", remedy)
    raise UserError(
        f"Only {len(bars):,} stored bars of {what} are newer than {end} UTC, the model's last; {needed:,} are needed.",
        remedy,
    )
