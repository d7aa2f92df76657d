"""Live decisions of a stored agent. Runs on the executor's thread; ONNX Runtime and numpy, no torch.

Bars come in one by one through the pipeline that training used, its encoder's columns beside them; the account is
told with each question, and is seen as `ml.agents.episodes` shows it. After a missing bar the agent warms up again: it
never saw such a jump.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.accounting.rules import CostRates
from core.domain.candles import Candle, Timeframe
from core.errors import UserError
from core.strategies.agent_policy import AccountView, AgentDecision
from ml.agents.check import INPUT, OUTPUT
from ml.agents.encoder import StreamingEncoder
from ml.agents.environment_spec import MOST_UNREALISED
from ml.agents.package import StoredAgent
from ml.arrays import Float32Array
from ml.features import row_hash
from ml.inference import open_session
from ml.live_features import LiveFeatures
from ml.model_storage import StoredModel, load_agent, load_model


class OnnxAgent:
    """A stored agent bound to its market; implements `core.strategies.agent_policy.AgentPolicy`. One thread at a time.

    Args:
        stored: the agent.
        encoder: the forecaster it names; None where it names none.
    """

    def __init__(self, stored: StoredAgent, encoder: StoredModel | None = None) -> None:
        """Prepare features and networks.

        Raises:
            UserError: this program computes what the agent sees differently, cannot feed it, or cannot run its network.
        """
        spec = stored.spec
        self._stored = stored
        self._features = LiveFeatures(stored.model_id, spec.data, spec.features, stored.feature_digest)
        self._pipeline, self._timeframe = self._features.pipeline, self._features.timeframe
        self._encoder = _encoder_of(stored, encoder)
        other = self._encoder.other_inputs if self._encoder is not None else ()
        missing = dict.fromkeys((*self._features.other_inputs, *other))
        if missing:
            raise UserError(
                f"The agent also looks at {', '.join(missing)}, which strategies do not receive.",
                "Use an agent whose features are made of its own market's bars.",
            )
        self._session = _open(stored)
        self._window: deque[Float32Array] = deque(maxlen=spec.environment.window)
        self._volatility = 0.0

    @property
    def model_id(self) -> str:
        """Content hash of the agent's package."""
        return self._stored.model_id

    @property
    def symbol(self) -> str:
        """Market the agent was trained on."""
        return self._stored.spec.data.symbol

    @property
    def timeframe(self) -> Timeframe:
        """Bar length the agent was trained on."""
        return self._timeframe

    @property
    def lowest(self) -> float:
        """Lowest weight it may choose."""
        return self._stored.spec.environment.lowest

    @property
    def highest(self) -> float:
        """Highest weight it may choose."""
        return self._stored.spec.environment.highest

    @property
    def band(self) -> float:
        """A target is not followed while the weight is nearer to it than this."""
        return self._stored.spec.environment.band

    @property
    def costs(self) -> CostRates:
        """What it learned that trading costs."""
        return self._stored.spec.environment.costs

    @property
    def warm_up_bars(self) -> int:
        """Closed bars needed before the first decision: what the first row looks back at, then a window of rows."""
        encoder = self._encoder.warm_up if self._encoder is not None else 0
        return max(self._pipeline.warm_up, encoder) + self._stored.spec.environment.window

    def warm_up(self, candles: Sequence[Candle]) -> bool:
        """Reset what it has seen and feed closed history, oldest first; bars before the last gap leave nothing behind.

        Returns:
            Whether it can decide at the last bar.

        Raises:
            ValueError: a bar is not final, of another market, or out of order.
        """
        self._reset()
        ready = False
        for candle in candles:
            ready = self.update(candle)
        return ready

    def update(self, candle: Candle) -> bool:
        """Feed the next closed bar.

        Returns:
            Whether it can decide at its close; not while warming up, also after a gap.

        Raises:
            ValueError: the bar is not final, of another market, or does not follow the last one.
        """
        self._features.check(candle)
        if self._features.leaves_gap(candle):
            self._reset()
        row = self._features.push(candle)
        beside = self._encoder.push(candle) if self._encoder is not None else np.zeros(0, np.float32)
        if row is None or beside is None:
            self._window.clear()
            return False
        scaled = self._stored.scaling.inputs.transform(row[None])[0]
        self._window.append(np.concatenate([scaled, beside], dtype=np.float32))
        self._volatility = float(self._pipeline.volatility(row[None])[0])
        return self._is_ready

    def decide(self, account: AccountView) -> AgentDecision:
        """Return the weight it wants at the close of the newest bar.

        Raises:
            ValueError: it is still warming up, or its numbers are not finite.
        """
        if not self._is_ready:
            raise ValueError(f"agent {self.model_id} is still warming up")
        seen = account_columns(account, self._volatility, self._stored.spec.environment.maintenance)
        observation = np.concatenate([*self._window, seen])
        if not np.isfinite(observation).all():
            raise ValueError("the account gives an observation that is not finite")
        (answer,) = self._session.run([OUTPUT], {INPUT: observation[None]})
        weight = float(answer[0])
        if not math.isfinite(weight):
            raise ValueError(f"agent {self.model_id} wants a weight that is not finite")
        # Rounding in the network must not leave the range that was judged.
        weight = min(max(weight, self.lowest), self.highest)
        return AgentDecision(weight, row_hash(observation))

    @property
    def _is_ready(self) -> bool:
        return len(self._window) == self._stored.spec.environment.window

    def _reset(self) -> None:
        self._features.reset()
        self._window.clear()
        if self._encoder is not None:
            self._encoder.reset()


def account_columns(account: AccountView, volatility: float, maintenance: float) -> Float32Array:
    """Return what an agent sees of its account, float32, as `EpisodeRules.account_of` of `ml.agents.episodes` does.

    Args:
        volatility: log return per bar, known at the close.
        maintenance: share of a position's value that the equity must exceed.
    """
    value = account.units * account.mark
    held = value / account.equity if account.equity > 0 else 0.0
    moved, margin = 0.0, 1.0
    if account.units != 0:
        side = math.copysign(1.0, account.units)
        moved = math.log(account.mark / account.entry_price) * side / volatility
        moved = min(max(moved, -MOST_UNREALISED), MOST_UNREALISED)
    if held != 0:
        margin = 1.0 / abs(held)
        if maintenance > 0:
            margin = (margin - maintenance) / (1.0 - maintenance * math.copysign(1.0, held))
        margin = min(max(margin, 0.0), 1.0)
    columns = (held, moved, math.log1p(account.bars_since_change), 1.0 - account.equity / account.peak, margin)
    return np.array(columns, np.float32)


def load_policy(models_dir: Path, model_id: str) -> OnnxAgent:
    """Load and verify a stored agent with its encoder.

    Raises:
        UserError: no such agent, its encoder is not stored, or a package is damaged or does not fit this program.
    """
    stored = load_agent(models_dir, model_id)
    if not stored.encoder_id:
        return OnnxAgent(stored)
    if not (models_dir / stored.encoder_id).is_dir():
        raise UserError(
            f"The agent {model_id} sees through the forecaster {stored.encoder_id}, which is not stored.",
            "Import that forecaster too, or choose another agent.",
        )
    return OnnxAgent(stored, load_model(models_dir, stored.encoder_id))


def _encoder_of(stored: StoredAgent, encoder: StoredModel | None) -> StreamingEncoder | None:
    """Prepare the encoder of an agent.

    Raises:
        UserError: it knows another market or says other things than the agent has learned from.
        ValueError: it is not the one that the agent names.
    """
    if stored.encoder_id != (encoder.model_id if encoder is not None else ""):
        raise ValueError(f"agent {stored.model_id} names the encoder {stored.encoder_id!r}")
    if encoder is None:
        return None
    own, other = stored.spec.data, encoder.spec.data
    streaming = StreamingEncoder(encoder, stored.spec.encoder)
    if (own.symbol, own.timeframe) != (other.symbol, other.timeframe) or streaming.names != stored.encoder_names:
        raise UserError(
            f"The forecaster {encoder.model_id} does not say what the agent {stored.model_id} has learned from.",
            "Train the agent again with it.",
        )
    return streaming


def _open(stored: StoredAgent) -> Any:
    """Open the network of an agent.

    Raises:
        UserError: it cannot be run, or takes other observations than its configuration says.
    """
    session = open_session(stored.onnx)
    inputs = {value.name: list(value.shape) for value in session.get_inputs()}
    outputs = [value.name for value in session.get_outputs()]
    if list(inputs) != [INPUT] or inputs[INPUT][1:] != [stored.observed] or outputs != [OUTPUT]:
        raise UserError("The network of this agent cannot be run.", "Train it again.")
    return session
