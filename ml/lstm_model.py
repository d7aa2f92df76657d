"""The LSTM forecaster as a torch module. Runs in the training child only (imports torch)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ml.api import ModelSpec
from ml.features import FloatArray

_SMALLEST_GAP = 1e-3  # between neighbouring quantiles at the start, in units of volatility


class LstmForecaster(nn.Module):
    """LSTM with a quantile head: features (B, T, F) to return quantiles (B, T, Q) at every bar.

    The last value is carried over by construction: what is forecast is the log return from it, so zero output is the
    persistence forecast. A linear path beside the recurrent one lets the network start as a linear regression.
    Quantiles cannot cross: the head yields the median and positive distances from it.

    Attributes:
        spec: the network's shape.
        features: F.
    """

    def __init__(self, features: int, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.features = features
        self.lstm = nn.LSTM(
            features,
            spec.hidden_size,
            spec.layers,
            batch_first=True,
            dropout=spec.dropout if spec.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(spec.dropout)
        self.head = nn.Linear(spec.hidden_size, len(spec.quantile_levels))
        self.skip = nn.Linear(features, len(spec.quantile_levels), bias=False)
        nn.init.zeros_(self.skip.weight)
        nn.init.normal_(self.head.weight, std=0.01)

    def start_from(self, quantiles: FloatArray) -> None:
        """Set the head so that the untrained network forecasts these quantiles, shape (Q,), everywhere."""
        middle = len(quantiles) // 2
        gaps = np.maximum(np.diff(quantiles), _SMALLEST_GAP)
        raw = np.log(np.expm1(gaps))  # inverse of softplus
        bias = np.concatenate([raw[:middle], quantiles[middle : middle + 1], raw[middle:]])
        with torch.no_grad():
            self.head.bias.copy_(torch.from_numpy(bias))

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run over contiguous bars.

        Args:
            x: scaled features, float32, shape (B, T, F).
            h0 / c0: state before the first bar, shape (layers, B, hidden).

        Returns:
            Quantiles in units of volatility, shape (B, T, Q), and the state after the last bar.
        """
        hidden, (h, c) = self.lstm(x, (h0, c0))
        raw = self.head(self.dropout(hidden)) + self.skip(x)
        middle = raw.shape[-1] // 2
        median = raw[..., middle : middle + 1]
        gaps = nn.functional.softplus(raw)
        columns = [median]
        for index in range(middle):  # outwards from the median, one pair at a time
            columns.insert(0, columns[0] - gaps[..., middle - 1 - index : middle - index])
            columns.append(columns[-1] + gaps[..., middle + 1 + index : middle + 2 + index])
        return torch.cat(columns, dim=-1), h, c

    def initial_state(self, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the zero state for `batch` sequences."""
        shape = (self.spec.layers, batch, self.spec.hidden_size)
        return torch.zeros(shape, device=device), torch.zeros(shape, device=device)


def pinball_loss(quantiles: Tensor, target: Tensor, weight: Tensor, levels: Tensor) -> Tensor:
    """Return the weighted mean pinball loss.

    Args:
        quantiles: shape (B, T, Q).
        target / weight: shape (B, T).
        levels: shape (Q,).
    """
    error = target.unsqueeze(-1) - quantiles
    loss = torch.maximum(levels * error, (levels - 1.0) * error).mean(-1)
    return (loss * weight).sum() / weight.sum()


def one_cycle(progress: float, peak: float, warm_share: float = 0.15, final_share: float = 0.02) -> float:
    """Return the learning rate at `progress` (0 … 1): linear rise to `peak`, then half a cosine down.

    A pure function of progress, so that a resumed run needs no scheduler state.
    """
    if progress < warm_share:
        return peak * (0.1 + 0.9 * progress / warm_share)
    rest = (progress - warm_share) / (1.0 - warm_share)
    return peak * (final_share + (1.0 - final_share) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, rest))))
