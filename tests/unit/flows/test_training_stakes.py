"""What a person is told before the program ends with training under way."""

from __future__ import annotations

import pytest

from app.flows.training_stakes import TrainingStakes
from app.i18n import Language, set_language


@pytest.mark.parametrize(
    ("stakes", "told"),
    [
        (TrainingStakes(), []),
        (
            TrainingStakes(kept=1),
            ["1 training run ends now; it can go on later from its last finished epoch."],
        ),
        (
            TrainingStakes(unkept=2),
            ["2 training runs end now before their first epoch is finished; they have to be started anew."],
        ),
        (TrainingStakes(agents=1), ["1 agent stops learning now; it can go on later from its last checkpoint."]),
        (
            TrainingStakes(unkept_agents=2),
            ["2 agents stop learning now before their first validation; they have to be started anew."],
        ),
        (TrainingStakes(searches=1), ["1 search ends now; it can go on later with the trials that have ended."]),
        (TrainingStakes(unkept_searches=1), ["1 search ends now before its first trial; it has to be started anew."]),
        (
            TrainingStakes(downloads=1, waiting=2),
            [
                "1 download ends now, and the training that was to follow it is not kept.",
                "2 training runs wait in the queue; they have their turn after the next start.",
            ],
        ),
        (TrainingStakes(evaluations=2), ["2 evaluations of models end now; nothing of them is kept."]),
    ],
)
def test_each_kind_has_its_own_sentence(stakes: TrainingStakes, told: list[str]) -> None:
    assert stakes.sentences() == told


def test_korean_has_all_of_them() -> None:
    set_language(Language.KOREAN)
    try:
        told = TrainingStakes(1, 1, 1, 1, 1, 1, 1, 1, 1).sentences()
    finally:
        set_language(Language.ENGLISH)
    assert len(told) == 9
    assert not any("now" in sentence or "queue" in sentence for sentence in told)
