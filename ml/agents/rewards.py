"""What an agent is paid for a bar, batched. Pure functions of float64 (N,), in the training child only (imports torch).

All are in units of a return, so that one scale, one over the median volatility, fits every one of them: those that have
no unit of their own are multiplied by that median.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ml.agents.environment_spec import EnvironmentSpec

_LEAST_VARIANCE = 0.01  # of the typical one: an account that was flat for long would divide by nothing
_LEAST_VOLATILITY = 0.1  # of the typical one: after a standstill one bar would weigh more than all others together


class BarResult(NamedTuple):
    """What is rewarded.

    Attributes:
        log_return: of the equity, net of all costs.
        volatility: known when it was decided, log return per bar.
        weight: held over the bar, at the price and equity of the decision.
        drawdown_before / drawdown_after: share of the highest equity of the episode that is lost.
    """

    log_return: Tensor
    volatility: Tensor
    weight: Tensor
    drawdown_before: Tensor
    drawdown_after: Tensor


class FadingMoments(NamedTuple):
    """Exponential averages of simple returns and of their squares."""

    mean: Tensor
    square: Tensor


def first_moments(like: Tensor, typical: float) -> FadingMoments:
    """Return the averages that an episode begins with: no gain yet, the variance of an ordinary bar fully invested."""
    return FadingMoments(torch.zeros_like(like), torch.full_like(like, typical * typical))


def reward_of(
    result: BarResult, moments: FadingMoments, spec: EnvironmentSpec, typical: float
) -> tuple[Tensor, FadingMoments]:
    """Return the reward before it is scaled, and the averages after the bar.

    Args:
        result: of the bar.
        moments: before it.
        spec: names the reward.
        typical: median volatility of the training bars, log return per bar.
    """
    match spec.reward:
        case "log_return":
            return result.log_return, moments
        case "vol_scaled":
            risk = result.volatility.clamp(min=_LEAST_VOLATILITY * typical)
            return torch.expm1(result.log_return) * (typical / risk), moments
        case "drawdown":
            deeper = (result.drawdown_after - result.drawdown_before).clamp(min=0.0)
            return result.log_return - spec.drawdown_penalty * deeper, moments
        case "mean_variance":
            risk = 0.5 * spec.risk_aversion * (result.weight * result.volatility).square()
            return torch.expm1(result.log_return) - risk, moments
        case "differential_sharpe":
            gain, after = differential_sharpe(torch.expm1(result.log_return), moments, spec.sharpe_decay, typical)
            return gain * typical, after
    raise ValueError(f"{spec.reward!r} is no reward")


def differential_sharpe(
    simple_return: Tensor, moments: FadingMoments, decay: float, typical: float
) -> tuple[Tensor, FadingMoments]:
    """Return how fast a return moves the Sharpe ratio of fading memory, and the averages after it.

    Moody and Saffell, "Learning to trade via direct reinforcement" (2001), equation 14.
    """
    mean_step = simple_return - moments.mean
    square_step = simple_return.square() - moments.square
    variance = (moments.square - moments.mean.square()).clamp(min=_LEAST_VARIANCE * typical * typical)
    gain = (moments.square * mean_step - 0.5 * moments.mean * square_step) / variance.pow(1.5)
    return gain, FadingMoments(moments.mean + decay * mean_step, moments.square + decay * square_step)
