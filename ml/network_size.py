"""How many numbers a network learns, without building it. Any thread; torch-free."""

from __future__ import annotations

from ml.feature_spec import column_names
from ml.spec import ForecastSpec

_GATES = {"lstm": 4, "gru": 3}


def parameter_count(spec: ForecastSpec) -> int:
    """Return the learned numbers of the network of one seed.

    Raises:
        UserError: there is no such feature column.
    """
    model, features = spec.model, len(column_names(spec.features))
    hidden = model.hidden_size
    width = {"quantile": len(model.quantile_levels), "student_t": 2, "classes": 3}[model.head]
    outputs = len(model.horizons) * width
    layers = sum(
        _GATES[model.kind] * hidden * (inputs + hidden + 2) for inputs in (features, *[hidden] * (model.layers - 1))
    )
    norms = 2 * hidden * model.layers if model.layer_norm else 0
    tails = len(model.horizons) if model.head == "student_t" else 0
    return layers + norms + (hidden + 1) * outputs + features * outputs + tails
