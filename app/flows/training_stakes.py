"""What closing the program ends of training, in words. Qt-free, pure."""

from __future__ import annotations

from dataclasses import dataclass

from app.i18n import tr_count


@dataclass(frozen=True, slots=True)
class TrainingStakes:
    """What is under way or waits, counted by what becomes of it.

    Attributes:
        kept / unkept: forecasters at work that have finished an epoch, and those that have not.
        agents / unkept_agents: agents at work that have a checkpoint, and those that have not.
        searches / unkept_searches: searches at work that have begun a trial, and those that have not.
        downloads: of histories that a training is to follow; that wish is kept nowhere.
        waiting: runs and searches in the queue.
        evaluations: of stored models on newer bars.
    """

    kept: int = 0
    unkept: int = 0
    agents: int = 0
    unkept_agents: int = 0
    searches: int = 0
    unkept_searches: int = 0
    downloads: int = 0
    waiting: int = 0
    evaluations: int = 0

    def sentences(self) -> list[str]:
        """Return one translated sentence for each kind there is."""
        told = (
            (self.kept, _kept),
            (self.unkept, _unkept),
            (self.agents, _agents),
            (self.unkept_agents, _unkept_agents),
            (self.searches, _searches),
            (self.unkept_searches, _unkept_searches),
            (self.downloads, _downloads),
            (self.waiting, _waiting),
            (self.evaluations, _evaluations),
        )
        return [say(count) for count, say in told if count]


def _kept(count: int) -> str:
    return tr_count(
        "{n} training run ends now; it can go on later from its last finished epoch.",
        "{n} training runs end now; they can go on later from the last finished epoch.",
        count,
    )


def _unkept(count: int) -> str:
    return tr_count(
        "{n} training run ends now before its first epoch is finished; it has to be started anew.",
        "{n} training runs end now before their first epoch is finished; they have to be started anew.",
        count,
    )


def _agents(count: int) -> str:
    return tr_count(
        "{n} agent stops learning now; it can go on later from its last checkpoint.",
        "{n} agents stop learning now; they can go on later from the last checkpoint.",
        count,
    )


def _unkept_agents(count: int) -> str:
    return tr_count(
        "{n} agent stops learning now before its first validation; it has to be started anew.",
        "{n} agents stop learning now before their first validation; they have to be started anew.",
        count,
    )


def _searches(count: int) -> str:
    return tr_count(
        "{n} search ends now; it can go on later with the trials that have ended.",
        "{n} searches end now; they can go on later with the trials that have ended.",
        count,
    )


def _unkept_searches(count: int) -> str:
    return tr_count(
        "{n} search ends now before its first trial; it has to be started anew.",
        "{n} searches end now before their first trial; they have to be started anew.",
        count,
    )


def _downloads(count: int) -> str:
    return tr_count(
        "{n} download ends now, and the training that was to follow it is not kept.",
        "{n} downloads end now, and the trainings that were to follow them are not kept.",
        count,
    )


def _waiting(count: int) -> str:
    return tr_count(
        "{n} training run waits in the queue; it has its turn after the next start.",
        "{n} training runs wait in the queue; they have their turn after the next start.",
        count,
    )


def _evaluations(count: int) -> str:
    return tr_count(
        "{n} evaluation of a model ends now; nothing of it is kept.",
        "{n} evaluations of models end now; nothing of them is kept.",
        count,
    )
