"""What each key of a training configuration means, one short comment per key. Plain values, any thread."""

from __future__ import annotations

HEADER = (
    "Training configuration. Read with: train forecast --config FILE",
    "What is not written here has its default value; feature columns are written as text.",
)

COMMENTS: dict[str, dict[str, str]] = {
    "data": {
        "venue": "whose market the bars are of",
        "symbol": "market",
        "timeframe": "bar length",
        "start_ns": "open time of the first bar",
        "end_ns": "no bar opens at or after this",
        "source": 'the candle store ("store") or the path of a CSV, Feather or Parquet file',
        "markets": "other markets of the candle store that feature columns look at",
        "series": "side series that feature columns look at, each from a file",
    },
    "features": {
        "name": "feature set: price, market, technical or custom",
        "version": "of the feature set",
        "horizons": "look-backs of the returns, bars",
        "window": "look-back of volatility, range and volume, bars",
        "columns": "further inputs beside those of the set",
    },
    "model": {
        "kind": "lstm or gru",
        "head": "quantile, student_t or classes",
        "hidden_size": "units of each recurrent layer",
        "layers": "recurrent layers",
        "dropout": "share of units left out while training",
        "layer_norm": "normalise the output of each recurrent layer",
        "quantile_levels": "forecast quantiles, symmetric around 0.5",
        "horizons": "bars ahead; the first one trades",
        "flat_band": 'half width of "flat", in standard deviations of the target',
    },
    "split": {
        "train_fraction": "share of the bars to learn from",
        "valid_fraction": "share of the bars for early stopping; the rest is the test",
        "purge_bars": "bars dropped at each border beside the longest horizon",
        "valid_from": "validation from this date on, instead of shares",
        "test_from": "test from this date on",
    },
    "training": {
        "epochs": "most passes over the training part",
        "learning_rate": "of AdamW",
        "schedule": "one_cycle, cosine or constant",
        "clip_norm": "largest norm of the gradient",
        "batch_segments": "segments per step; 0 chooses by device",
        "segment_length": "bars per segment",
        "burn_in": "bars at the start of each segment that only build up the state",
        "patience": "epochs without a better validation loss before stopping",
        "weight_decay": "of AdamW, on matrices",
        "seed": "the first one; further seeds count up from it",
    },
    "evaluation": {
        "seeds": "networks trained from different seeds; their mean is stored",
        "boosting": "compare with gradient boosting too",
        "permutation_repeats": "shuffles per feature for its importance; 0 leaves it out",
        "cost": "of changing the position by its whole size, share of the price",
    },
    "resources": {
        "device": "auto, cpu, cuda, cuda:N or mps",
        "threads": "CPU threads; 0 chooses",
        "precision": "on an NVIDIA GPU: auto, float32, tf32 or bf16",
        "memory_share": "largest share of a GPU's memory",
    },
}
