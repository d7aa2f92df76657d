"""LSTM and GRU forecasters as torch modules. Runs in the training child only (imports torch).

The last value is carried over by construction: what is forecast is the log return from it, so zero output is the
forecast of no change. A linear path beside the recurrent one lets a network start as a linear regression.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ml.api import ModelSpec
from ml.arrays import FloatArray
from ml.heads import HEAD_TYPES, Head

STATE_NAMES = {"lstm": ("h", "c"), "gru": ("h",)}


class RecurrentForecaster(nn.Module):
    """One network: features (B, T, F) to forecasts at every bar.

    Attributes:
        spec: the network's shape.
        features: F.
        head: what turns the last layer's numbers into forecasts.
    """

    def __init__(self, features: int, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.features = features
        self.head: Head = HEAD_TYPES[spec.head](spec)
        kind = nn.LSTM if spec.kind == "lstm" else nn.GRU
        sizes = [features] + [spec.hidden_size] * (spec.layers - 1)
        self.layers = nn.ModuleList(kind(size, spec.hidden_size, batch_first=True) for size in sizes)
        self.norms = nn.ModuleList(
            nn.LayerNorm(spec.hidden_size) if spec.layer_norm else nn.Identity() for _ in range(spec.layers)
        )
        self.dropout = nn.Dropout(spec.dropout)
        outputs = len(spec.horizons) * self.head.width
        self.output = nn.Linear(spec.hidden_size, outputs)
        self.skip = nn.Linear(features, outputs, bias=False)
        nn.init.zeros_(self.skip.weight)
        nn.init.normal_(self.output.weight, std=0.01)

    @property
    def state_layers(self) -> int:
        """First dimension of the state."""
        return self.spec.layers

    def start_from(self, targets: FloatArray) -> None:
        """Let the untrained network forecast the distribution of training targets, shape (n, H), everywhere."""
        bias = self.head.start_from(targets)
        with torch.no_grad():
            self.output.bias.copy_(torch.from_numpy(bias.reshape(-1)))

    def raw(self, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run over contiguous bars.

        Args:
            x: scaled features, shape (B, T, F).
            state: before the first bar, h or h and c, each of shape (layers, B, hidden).

        Returns:
            What the head needs, shape (B, T, H, width), and the state after the last bar.
        """
        values, after = x, []
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            before = tuple(part[index : index + 1] for part in state)
            values, last = layer(values, before if len(before) > 1 else before[0])
            after.append(last if isinstance(last, tuple) else (last,))
            values = self.dropout(norm(values))
        raw = self.output(values) + self.skip(x)
        shape = (*raw.shape[:2], len(self.spec.horizons), self.head.width)
        return raw.view(shape), tuple(torch.cat(parts) for parts in zip(*after, strict=True))

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor | None = None) -> tuple[Tensor, ...]:
        """Forecast.

        Returns:
            Quantiles (B, T, H, Q), then chances (B, T, H, 3) where the head has them, then the state.
        """
        raw, state = self.raw(x, (h0,) if c0 is None else (h0, c0))
        chances = self.head.probabilities(raw)
        forecasts = (self.head.quantiles(raw),) if chances is None else (self.head.quantiles(raw), chances)
        return *forecasts, *state

    def initial_state(self, batch: int, device: torch.device) -> tuple[Tensor, ...]:
        """Return the zero state for `batch` sequences."""
        return _zero_state(self.spec, self.state_layers, batch, device)

    def flatten(self) -> None:
        """Lay each layer's weights in one piece, as cuDNN wants them; called after moving to a device."""
        for layer in self.layers:
            if isinstance(layer, nn.RNNBase):
                layer.flatten_parameters()

    def settle(self) -> None:
        """Bring constants of the head up to date."""
        self.head.settle()


class EnsembleForecaster(nn.Module):
    """Networks of several seeds as one: their mean quantiles and chances.

    Averaging quantiles keeps the width of a typical member (Lichtendahl, Grushka-Cockayne and Winkler 2013), where
    averaging distributions would widen it. The members' states lie behind each other in the first dimension.

    Attributes:
        members: the networks, at least one, all of one shape.
        spec / features: as of each member.
    """

    def __init__(self, members: Sequence[RecurrentForecaster]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.spec, self.features = members[0].spec, members[0].features

    @property
    def state_layers(self) -> int:
        """First dimension of the state."""
        return self.spec.layers * len(self.members)

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor | None = None) -> tuple[Tensor, ...]:
        """Forecast as `RecurrentForecaster.forward` does."""
        layers = self.spec.layers
        results = []
        for index, member in enumerate(self.members):
            own = slice(index * layers, (index + 1) * layers)
            results.append(member(x, h0[own]) if c0 is None else member(x, h0[own], c0[own]))
        states = len(STATE_NAMES[self.spec.kind])
        columns = list(zip(*results, strict=True))
        means = [torch.stack(column).mean(0) for column in columns[:-states]]
        return *means, *(torch.cat(column) for column in columns[-states:])

    def initial_state(self, batch: int, device: torch.device) -> tuple[Tensor, ...]:
        """Return the zero state for `batch` sequences."""
        return _zero_state(self.spec, self.state_layers, batch, device)


def _zero_state(spec: ModelSpec, layers: int, batch: int, device: torch.device) -> tuple[Tensor, ...]:
    shape = (layers, batch, spec.hidden_size)
    return tuple(torch.zeros(shape, device=device) for _ in STATE_NAMES[spec.kind])


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over targets and horizons, shapes (B, T, H) and (B, T)."""
    return (loss.mean(-1) * weight).sum() / weight.sum()


def mean_pinball(quantiles: Tensor, target: Tensor, weight: Tensor, levels: Tensor) -> Tensor:
    """Return the weighted mean pinball loss, shapes (B, T, H, Q), (B, T, H), (B, T) and (Q,)."""
    error = target.unsqueeze(-1) - quantiles
    return weighted_mean(torch.maximum(levels * error, (levels - 1.0) * error).mean(-1), weight)


def learning_rate(schedule: str, progress: float, peak: float) -> float:
    """Return the learning rate at `progress` (0 … 1), a pure function, so that a resumed run needs no state.

    "one_cycle" rises over the first 15 % from a tenth of the peak, then falls along half a cosine to 2 %; "cosine"
    falls likewise from the start; "constant" stays.
    """
    warm = 0.15 if schedule == "one_cycle" else 0.0
    if schedule == "constant":
        return peak
    if progress < warm:
        return peak * (0.1 + 0.9 * progress / warm)
    rest = min(1.0, (progress - warm) / (1.0 - warm))
    return peak * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * rest)))
