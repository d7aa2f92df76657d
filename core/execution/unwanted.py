"""Orders that are to be cancelled as soon as the venue shows them. Runs on the executor's event loop.

Who wants an order without an answer cancelled can only wish for it. The wish stands in the journal: it outlives a
restart, and that the order was given up, for it may show all the same. Only the venue's own word ends it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from core.domain.orders import OrderState
from core.errors import UserError
from core.execution.journal import Journal
from core.execution.order_manager import OrderManager, ended_without_word

UNWANTED = "unwanted"  # fact of the journal: client order ids, oldest wish first
MOST_GIVEN_UP = 1_000  # remembered of orders that count as over and may show again

_log = logging.getLogger(__name__)


class UnwantedOrders:
    """The client order ids that nobody wants any more."""

    def __init__(self, journal: Journal, manager: OrderManager) -> None:
        self._journal = journal
        self._manager = manager
        self._keys: dict[str, None] = {}  # in the order of the wishes
        self._given_up: dict[str, None] = {}  # of them: over, but not by the venue's word
        self._written = "[]"

    def load(self) -> None:
        """Read the wishes of earlier runs; the books must be loaded."""
        self._written = self._journal.meta(UNWANTED) or "[]"
        pending = (o.client_order_id for o in self._manager.working if o.state is OrderState.PENDING_CANCEL)
        self._keys = dict.fromkeys([*json.loads(self._written), *pending])

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._keys

    def add(self, client_ids: Iterable[str]) -> None:
        """Want no order of these, and write it down."""
        self._keys |= dict.fromkeys(client_ids)
        self._write()

    def expect(self, client_id: str) -> None:
        """Want an order no more whose cancel is sent at once: the books say so themselves, and a commit takes time."""
        self._keys[client_id] = None

    def discard(self, client_id: str) -> None:
        """Forget a wish that cannot be fulfilled."""
        self._keys.pop(client_id, None)

    def review(self) -> None:
        """Forget orders that are over by the venue's own word; make up for what could not be written."""
        working = {order.client_order_id for order in self._manager.working}
        for key in [key for key in self._keys if key in working or key not in self._given_up]:
            self._given_up.pop(key, None)
            record = self._manager.record(key)
            if record is None or (record.order.state.is_terminal and not ended_without_word(record.order)):
                del self._keys[key]
            elif record.order.state.is_terminal:
                self._given_up[key] = None
        for key in list(self._given_up)[:-MOST_GIVEN_UP]:
            del self._given_up[key]
            self._keys.pop(key, None)
        self._write()

    def _write(self) -> None:
        text = json.dumps(list(self._keys))
        if text == self._written:
            return
        try:
            self._journal.set_meta(UNWANTED, text)
        except UserError as exc:  # no cancel waits for the disk; the next round writes it
            _log.warning("what is to be cancelled could not be written down: %s", exc.message)
        else:
            self._written = text
