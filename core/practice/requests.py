"""What happens to a request between its transport and the exchange, alike for REST and the WebSocket API.

Event-loop thread of the exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from core.practice.operations import Operation
from core.practice.permissions import KeyRights, Right
from core.practice.rules import Params

Prove = Callable[[], None]


class RequestDesk:
    """Checks and answers requests.

    Attributes:
        rights: what the account's key may do.
    """

    def __init__(self) -> None:
        self.rights = KeyRights()

    async def answer(
        self, operation: Operation, params: Params, prove: Prove, run: Callable[[Params], Any] | None = None
    ) -> Any:
        """Answer one request.

        Args:
            operation: what is asked for.
            params: its parameters.
            prove: checks key, time and signature, where it needs them.
            run: answers it in place of the operation's own.

        Raises:
            Rejection: refused.
        """
        if operation.needs is not Right.NONE:
            prove()
            self.rights.check(operation.needs)
        if operation.warm is not None:
            for _ in operation.warm(params):
                await asyncio.sleep(0)
        return (run or operation.run)(params)
