"""The order state machine as a table. Pure; any thread.

`TRANSITIONS` lists every legal step. `OUTDATED` lists what may legally be *heard* in a state although the order is
already past it (streams and queries overtake each other). Everything else raises.
"""

from __future__ import annotations

from core.domain.orders import OrderState as S

TRANSITIONS: dict[S, frozenset[S]] = {
    # Orders of others are first heard of in any venue state; what another process of ours sent begins UNKNOWN.
    S.INITIALIZED: frozenset(
        {S.DENIED, S.SUBMITTED, S.UNKNOWN, S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED}
    ),
    # SUBMITTED → DENIED: the fence went up between the commit and the send, so nothing was sent.
    S.SUBMITTED: frozenset(
        {S.DENIED, S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED, S.UNKNOWN}
    ),
    S.ACCEPTED: frozenset(
        {S.PARTIALLY_FILLED, S.FILLED, S.PENDING_CANCEL, S.CANCELED, S.EXPIRED, S.REJECTED, S.UNKNOWN}
    ),
    S.PARTIALLY_FILLED: frozenset({S.PARTIALLY_FILLED, S.FILLED, S.PENDING_CANCEL, S.CANCELED, S.EXPIRED, S.UNKNOWN}),
    # PENDING_CANCEL → ACCEPTED/PARTIALLY_FILLED: the cancel was refused or got lost.
    S.PENDING_CANCEL: frozenset({S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED, S.UNKNOWN}),
    S.UNKNOWN: frozenset({S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED}),
    # A fill may overtake or follow the end of an order; where it completes it, the order was filled after all.
    S.CANCELED: frozenset({S.FILLED}),
    S.EXPIRED: frozenset({S.FILLED}),
    S.FILLED: frozenset(),
    S.DENIED: frozenset(),
    S.REJECTED: frozenset(),
}

OUTDATED: dict[S, frozenset[S]] = {
    S.INITIALIZED: frozenset(),
    S.SUBMITTED: frozenset(),
    S.ACCEPTED: frozenset({S.ACCEPTED}),
    S.PARTIALLY_FILLED: frozenset({S.ACCEPTED}),
    # Until the venue says how the cancel went, the order still works there.
    S.PENDING_CANCEL: frozenset({S.ACCEPTED, S.PARTIALLY_FILLED}),
    S.UNKNOWN: frozenset(),
    S.CANCELED: frozenset({S.ACCEPTED, S.PARTIALLY_FILLED, S.CANCELED, S.EXPIRED}),
    S.EXPIRED: frozenset({S.ACCEPTED, S.PARTIALLY_FILLED, S.CANCELED, S.EXPIRED}),
    S.FILLED: frozenset({S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED}),
    S.DENIED: frozenset(),
    S.REJECTED: frozenset({S.REJECTED}),
}


class IllegalTransition(Exception):
    """A step the table does not list: either we or the venue are wrong, and somebody must look."""

    def __init__(self, current: S, target: S) -> None:
        super().__init__(f"an order cannot go from {current} to {target}")
        self.current = current
        self.target = target


def step(current: S, target: S) -> S:
    """Return `target` where the step is legal.

    Raises:
        IllegalTransition: it is not listed.
    """
    if target not in TRANSITIONS[current]:
        raise IllegalTransition(current, target)
    return target


def hear(current: S, reported: S) -> S:
    """Return the state after the venue reported one: the reported state, or `current` where the report is outdated.

    Raises:
        IllegalTransition: the report fits neither table.
    """
    if reported in OUTDATED[current]:
        return current
    return step(current, reported)
