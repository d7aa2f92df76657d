"""How many bars a training run needs and how long it takes. Any thread; numpy-free as the rest of `ml.api`."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain.candles import Timeframe
from ml.feature_spec import column_names, warm_up_bars
from ml.spec import ForecastSpec, ModelSpec

# Processor time of one thread with torch 2.13: measured in bare steps, then compared with runs over 58,000 hourly bars.
_FIXED_SECONDS = 7.0  # starting the child, importing torch, features, ONNX export, test metrics
_US_PER_TARGET = {"lstm": 0.6, "gru": 0.2}  # of one layer, whatever its size
_US_PER_UNIT = {"lstm": 0.0117, "gru": 0.028}  # times the hidden size
_US_PER_UNIT_SQUARED = {"lstm": 2.7e-4, "gru": 2.5e-4}  # times its square
# Torch has no fused kernel for a GRU: every bar of a batch of segments is some calls of its own.
_US_PER_STEP = {"lstm": 0.0, "gru": 83.0}
_CHOSEN_SEGMENTS = 16  # what a processor gets where the batch is left to the program
_FORWARD_SHARE = 0.35  # of forward, backward and optimiser together
_BOOSTING_US_PER_CELL = 1.0  # training rows times columns, for as many rounds as there may be; the same for each class
_CLASSES = 3
_MANY = 1_000_000  # bars


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """A rough forecast of the effort.

    Attributes:
        train_targets / valid_targets / test_targets: bars with a target in each part.
        seconds: duration from the start to the model if every epoch is used, on one core of a processor; most runs stop
            earlier.
        enough: whether there are bars enough to train at all.
    """

    train_targets: int
    valid_targets: int
    test_targets: int
    seconds: float
    enough: bool


def minimum_bars(spec: ForecastSpec) -> int:
    """Return the fewest bars a run of `spec` accepts: every part must hold a few hundred targets."""
    warm_up = warm_up_bars(spec.features, Timeframe(spec.data.timeframe))
    borders = 2 * (spec.split.purge_bars + spec.model.reach)
    smallest = min(spec.split.valid_fraction, 1.0 - spec.split.train_fraction - spec.split.valid_fraction)
    by_part = 100 / smallest
    by_segment = 2 * spec.training.segment_length / spec.split.train_fraction
    return int(warm_up + borders + max(by_part, by_segment)) + 1


def estimate(spec: ForecastSpec, bars: int, targets: int | None = None) -> TrainingEstimate:
    """Estimate targets and duration of a run from measured costs.

    Args:
        spec: the run; its split by shares.
        bars: how many there are.
        targets: how many of them have complete features and a target; None for bars without a gap, which have all that
            their features look at.

    Raises:
        UserError: there is no such feature column.
    """
    warm_up = warm_up_bars(spec.features, Timeframe(spec.data.timeframe))
    count = max(0, bars - warm_up - spec.model.reach) if targets is None else targets
    gap = spec.split.purge_bars + spec.model.reach
    first = int(count * spec.split.train_fraction)
    second = int(count * (spec.split.train_fraction + spec.split.valid_fraction))
    train, valid, test = max(0, first - gap), max(0, second - first - gap), count - second
    seconds = _FIXED_SECONDS + (_learning_us(spec, train, valid) + _judging_us(spec, train, valid, test)) / 1e6
    return TrainingEstimate(train, valid, test, seconds, bars >= minimum_bars(spec))


def judging_share(spec: ForecastSpec) -> float:
    """Return how long judging takes, baselines included, as a share of the learning of every epoch of every seed.

    It hardly depends on the number of bars.
    """
    train, valid = int(_MANY * spec.split.train_fraction), int(_MANY * spec.split.valid_fraction)
    return _judging_us(spec, train, valid, _MANY - train - valid) / _learning_us(spec, train, valid)


def _target_us(model: ModelSpec, segments: int) -> float:
    """Return the microseconds of a network's forward, backward and optimiser step per bar of a batch of segments."""
    kind, hidden = model.kind, model.hidden_size
    layer = _US_PER_TARGET[kind] + _US_PER_UNIT[kind] * hidden + _US_PER_UNIT_SQUARED[kind] * hidden * hidden
    return model.layers * (layer + _US_PER_STEP[kind] / (segments or _CHOSEN_SEGMENTS))


def _learning_us(spec: ForecastSpec, train: int, valid: int) -> float:
    """Return the microseconds of all epochs of all seeds."""
    options = spec.training
    overhead = options.segment_length / max(1, options.segment_length - options.burn_in)
    bars = train * overhead + _FORWARD_SHARE * valid
    return spec.evaluation.seeds * options.epochs * bars * _target_us(spec.model, options.batch_segments)


def _judging_us(spec: ForecastSpec, train: int, valid: int, test: int) -> float:
    """Return the microseconds of everything that is measured once the networks have learned."""
    columns, judged = len(column_names(spec.features)), spec.evaluation
    # Every column is shuffled so often, and the networks of all seeds forecast the validation part each time.
    passes = columns * judged.permutation_repeats + 1
    forward = _FORWARD_SHARE * _target_us(spec.model, spec.training.batch_segments)
    return judged.seeds * forward * (passes * valid + 2 * test) + _boosting_us(spec, train, columns)


def _boosting_us(spec: ForecastSpec, train: int, columns: int) -> float:
    if not spec.evaluation.boosting:
        return 0.0
    fits = 1 + (_CLASSES if spec.model.head == "classes" else 0)
    return len(spec.model.horizons) * fits * train * columns * _BOOSTING_US_PER_CELL
