"""What the run of an agent tells while its forecaster is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ml.agents.progress import AgentProgress, log_agent_progress
from ml.api import TrainingProgress
from ml.worker.agent_encoder import _EncoderChannel


class Channel:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[AgentProgress] = []

    def progress(self, payload: Mapping[str, Any]) -> None:
        self.told.append(AgentProgress.from_json(payload))


@pytest.mark.parametrize(
    ("phase", "said", "line"),
    [
        ("training", "encoder", "encoder 2/2 · epoch 4/4"),
        ("testing", "encoder_testing", "encoder testing …"),  # the last epoch is over: it is not trained any more
    ],
)
def test_a_forecaster_that_is_judged_is_not_said_to_be_trained(phase: str, said: str, line: str) -> None:
    channel = Channel()
    told = TrainingProgress("encoder-run", phase, epoch=4, epochs=4, seed_index=1, seeds=2)
    _EncoderChannel(channel, "agent-run").progress(told.to_json())  # type: ignore[arg-type]
    (message,) = channel.told
    assert (message.run_id, message.phase) == ("agent-run", said)
    assert log_agent_progress(message) == line
