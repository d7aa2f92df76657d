"""What the network says about each horizon: quantiles, a Student distribution, or classes. Training child only (torch).

Every head yields quantiles, so that whatever was trained can be judged and traded in the same way. `raw` below is what
the last linear layer gives, shape (B, T, H, width); numbers are in units of `ml.features.TargetUnit`.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import UserError
from ml.api import ModelSpec
from ml.arrays import BoolArray, FloatArray

_SMALLEST_GAP = 1e-3  # between neighbouring quantiles, and for a scale, at the start
_SMALLEST_DOF = 2.1  # below 2 the variance is infinite
_START_DOF = 6.0
_GRID_POINTS = 64
_MOST_ATOMS = 8  # values that occur again and again, above all 0 where the price stands still
_SMALLEST_ATOM = 1e-3  # share of the targets


class Head(nn.Module):
    """Turns raw numbers into forecasts and a loss.

    Attributes:
        width: raw numbers per horizon.
        levels: of the quantiles, shape (Q,).
    """

    width: int
    levels: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(spec.quantile_levels), persistent=False)

    @abstractmethod
    def start_from(self, targets: FloatArray) -> FloatArray:
        """Fit what does not depend on the inputs to training targets (n, H); return the first biases, (H, width)."""

    @abstractmethod
    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each target, shapes (B, T, H, width) and (B, T, H) to (B, T, H)."""

    @abstractmethod
    def quantiles(self, raw: Tensor) -> Tensor:
        """Return ascending quantiles, shape (B, T, H, Q)."""

    def probabilities(self, raw: Tensor) -> Tensor | None:
        """Return the chances of down, flat and up, shape (B, T, H, 3), where the head forecasts them."""
        return None

    def settle(self) -> None:
        """Bring constants that follow from parameters up to date; called before anything but training."""


class QuantileHead(Head):
    """Quantiles fitted by the pinball loss; they cannot cross: the median and positive distances from it."""

    spread: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.width = len(spec.quantile_levels)
        middle = self.width // 2
        # Row i says which quantiles the i-th number moves: the median all, a distance those beyond it.
        spread = np.ones((self.width, self.width), np.float32)
        for index in range(middle):
            spread[index] = [-1.0 if column <= index else 0.0 for column in range(self.width)]
            mirrored = self.width - 1 - index
            spread[mirrored] = [1.0 if column >= mirrored else 0.0 for column in range(self.width)]
        self.register_buffer("spread", torch.from_numpy(spread), persistent=False)

    def start_from(self, targets: FloatArray) -> FloatArray:
        """Begin with the quantiles of the training targets."""
        middle = self.width // 2
        quantiles = np.quantile(targets, self.levels.cpu().numpy().astype(np.float64), axis=0).T
        gaps = np.maximum(np.diff(quantiles, axis=1), _SMALLEST_GAP)
        raw = np.log(np.expm1(gaps))  # inverse of softplus
        return np.concatenate([raw[:, :middle], quantiles[:, middle : middle + 1], raw[:, middle:]], axis=1)

    def quantiles(self, raw: Tensor) -> Tensor:
        """Return the quantiles."""
        middle = self.width // 2
        gaps = nn.functional.softplus(raw)
        numbers = torch.cat([gaps[..., :middle], raw[..., middle : middle + 1], gaps[..., middle + 1 :]], dim=-1)
        return numbers @ self.spread.to(numbers.dtype)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the mean pinball loss over the levels."""
        error = target.unsqueeze(-1) - self.quantiles(raw)
        return torch.maximum(self.levels * error, (self.levels - 1.0) * error).mean(-1)


class StudentHead(Head):
    """Location and scale at each bar of a Student distribution; its degrees of freedom are one number per horizon.

    One number per horizon rather than per bar, as in GARCH with Student innovations (Bollerslev 1987): the shape of
    the tails is hard to tell from one bar, and so the quantiles need no special function at each step.
    """

    factors: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.width = 2
        start = math.log(math.expm1(_START_DOF - _SMALLEST_DOF))
        self.tails = nn.Parameter(torch.full((len(spec.horizons),), start))
        self.register_buffer("factors", torch.zeros(len(spec.horizons), len(spec.quantile_levels)))

    def degrees_of_freedom(self) -> Tensor:
        """Return them, shape (H,)."""
        return _SMALLEST_DOF + nn.functional.softplus(self.tails)

    def settle(self) -> None:
        """Compute the standard quantiles for the present degrees of freedom."""
        from scipy.stats import t

        dof = self.degrees_of_freedom().detach().cpu().double().numpy()
        factors = t.ppf(self.levels.cpu().double().numpy()[None, :], dof[:, None])
        with torch.no_grad():
            self.factors.copy_(torch.from_numpy(np.asarray(factors, np.float64)))

    def start_from(self, targets: FloatArray) -> FloatArray:
        """Begin with the median and the spread of the training targets."""
        low, middle, high = np.quantile(targets, (0.25, 0.5, 0.75), axis=0)
        scale = np.maximum((high - low) / 1.435, _SMALLEST_GAP)  # interquartile range of a Student with 6 degrees
        self.settle()
        return np.stack([middle, np.log(np.expm1(scale))], axis=1)

    def _location_scale(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return raw[..., 0], nn.functional.softplus(raw[..., 1]) + 1e-4

    def quantiles(self, raw: Tensor) -> Tensor:
        """Return location + scale x standard quantile; valid after `settle`."""
        location, scale = self._location_scale(raw)
        return location.unsqueeze(-1) + scale.unsqueeze(-1) * self.factors

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the negative log likelihood."""
        location, scale = self._location_scale(raw.float())
        dof = self.degrees_of_freedom()
        constant = torch.lgamma((dof + 1) / 2) - torch.lgamma(dof / 2) - 0.5 * torch.log(dof * math.pi)
        z = (target - location) / scale
        return torch.log(scale) - constant + (dof + 1) / 2 * torch.log1p(z * z / dof)


class ClassHead(Head):
    """The chances of down, flat and up, fitted by cross entropy.

    Its quantiles are those of the mixture of the three classes' own distributions in the training part, weighted with
    the chances.
    """

    points: Tensor
    cumulated: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.width = 3
        self._band = spec.flat_band
        horizons = len(spec.horizons)
        self.register_buffer("points", torch.zeros(horizons, _GRID_POINTS))
        self.register_buffer("cumulated", torch.zeros(horizons, 3, _GRID_POINTS))

    def classes(self, target: Tensor) -> Tensor:
        """Return 0, 1 or 2 for down, flat or up, same shape."""
        return (target > -self._band).long() + (target > self._band).long()

    def start_from(self, targets: FloatArray) -> FloatArray:
        """Measure the classes' distributions and begin with their frequencies.

        Raises:
            UserError: a class does not occur.
        """
        biases = []
        for horizon, values in enumerate(targets.T):
            labels = (values > -self._band).astype(int) + (values > self._band).astype(int)
            counts = np.bincount(labels, minlength=3)
            if counts.min() < 1:
                raise UserError(
                    "One of the classes down, flat and up does not occur in the training part.",
                    "Choose another flat band.",
                )
            points, jumps = self._grid(values)
            for label in range(3):
                own = np.sort(values[labels == label])
                below = np.searchsorted(own, points, "left")
                share = np.where(jumps, below, np.searchsorted(own, points, "right")) / len(own)
                self.cumulated[horizon, label] = torch.from_numpy(share)
            self.points[horizon] = torch.from_numpy(points)
            biases.append(np.log(counts / counts.sum()))
        return np.array(biases)

    def _grid(self, values: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return where the distribution is kept, ascending, and which of these points are the foot of a jump.

        A value that occurs again and again is there twice: before and behind its jump. So quantiles within the jump
        are that very value, and none of its neighbours.
        """
        distinct, counts = np.unique(values, return_counts=True)
        often = np.argsort(-counts, kind="stable")[:_MOST_ATOMS]
        atoms = distinct[often[counts[often] >= max(2.0, _SMALLEST_ATOM * len(values))]]
        rest = values[~np.isin(values, atoms)]
        levels = np.linspace(0.002, 0.998, _GRID_POINTS - 4 - 2 * len(atoms))
        inner = np.quantile(rest if len(rest) else values, levels)
        margin = 1e-3 * (distinct[-1] - distinct[0])
        ends = (distinct[0] - margin, distinct[-1] + margin)
        points = np.sort(np.concatenate([ends, (-self._band, self._band), inner, atoms, atoms]))
        return points, (np.diff(points, prepend=-np.inf) > 0.0) & np.isin(points, atoms)

    def probabilities(self, raw: Tensor) -> Tensor:
        """Return the chances."""
        return torch.softmax(raw, dim=-1)

    def quantiles(self, raw: Tensor) -> Tensor:
        """Invert the mixture's distribution function, linear between the points of the grid."""
        chances = self.probabilities(raw).unsqueeze(-2)  # (B, T, H, 1, 3)
        mixture = (chances @ self.cumulated).squeeze(-2)  # (B, T, H, G)
        points = self.points.expand_as(mixture)
        result = []
        for index in range(len(self.levels)):
            level = self.levels[index]
            above = (mixture < level).sum(-1, keepdim=True).clamp(1, _GRID_POINTS - 1)
            low, high = mixture.gather(-1, above - 1), mixture.gather(-1, above)
            share = ((level - low) / (high - low).clamp(min=1e-9)).clamp(0.0, 1.0)
            left, right = points.gather(-1, above - 1), points.gather(-1, above)
            result.append(left + share * (right - left))
        return torch.cat(result, dim=-1)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the cross entropy."""
        chances = torch.log_softmax(raw.float(), dim=-1)
        return -chances.gather(-1, self.classes(target).unsqueeze(-1)).squeeze(-1)


HEAD_TYPES: dict[str, type[QuantileHead] | type[StudentHead] | type[ClassHead]] = {
    "quantile": QuantileHead,
    "student_t": StudentHead,
    "classes": ClassHead,
}
