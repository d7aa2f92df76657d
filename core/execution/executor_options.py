"""How often the executor looks at things and how patient it is. Plain values, any thread."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.execution.synchroniser import EvidenceRules


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """Intervals and patience, seconds. The defaults are for real venues, tests shorten them.

    Attributes:
        jitter_seed: of the spread of pauses; None draws one (`core.jitter`).
    """

    reconcile_s: float = 10.0
    cash_s: float = 45.0
    unknown_s: float = 2.0
    refresh_s: float = 0.5
    ping_s: float = 10.0
    settle_s: float = 5.0
    settle_poll_s: float = 0.05
    mark_max_age_s: float = 5.0
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    cancel_attempts: int = 3
    jitter_seed: int | None = None
    evidence: EvidenceRules = field(default_factory=EvidenceRules)
