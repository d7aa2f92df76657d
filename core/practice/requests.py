"""What happens to a request between its transport and the exchange, alike for REST and the WebSocket API.

Event-loop thread of the exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from core.practice.api import TradingApi
from core.practice.faults import FaultPlan, Lost, Strike
from core.practice.limits import RequestLimits, banned
from core.practice.operations import Operation
from core.practice.orders import Rejection
from core.practice.permissions import KeyRights, Right
from core.practice.rules import Params

Prove = Callable[[], None]


class NoAnswer(Exception):
    """The client gets no answer; `how` says whether its connection is cut as well."""

    def __init__(self, how: Lost) -> None:
        super().__init__(how.value)
        self.how = how


class RequestDesk:
    """Admits requests, lets armed faults strike them, and has them answered.

    Attributes:
        plan: the armed faults.
        limits: the request limits.
        rights: what the account's key may do.
    """

    def __init__(self, api: TradingApi, plan: FaultPlan, limits: RequestLimits, server_ms: Callable[[], int]) -> None:
        self._api = api
        self._server_ms = server_ms
        self.plan = plan
        self.limits = limits
        self.rights = KeyRights()

    def check_open(self) -> None:
        """Refuse everybody while the server serves nobody.

        Raises:
            Rejection: 418 or 503 with the seconds that it lasts.
        """
        closure = self.plan.closure()
        if closure is not None and closure.status == 418:
            raise banned(self._server_ms() + closure.retry_s * 1_000, closure.retry_s)
        if closure is not None:
            raise Rejection(0, "Service Unavailable", 503, closure.retry_s)

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
            Rejection: refused; or carried out and then answered with an error by a fault.
            NoAnswer: no answer may be sent.
        """
        self.check_open()
        self.limits.charge(operation.weight(params))
        await self._suffer(self.plan.before(operation.name))
        if operation.needs is not Right.NONE:
            prove()
            self.rights.check(operation.needs)
        if operation.places:
            self.limits.admit_order()
        if operation.warm is not None:
            for _ in operation.warm(self._api, params):
                await asyncio.sleep(0)
        answer = self._carry_out(operation, params, run)
        await self._suffer(self.plan.after(operation.name))
        return answer

    def _carry_out(self, operation: Operation, params: Params, run: Callable[[Params], Any] | None) -> Any:
        if run is not None:
            return run(params)
        if operation.run is None:
            raise AssertionError(f"nobody answers {operation.name}")
        if operation.places:
            self.limits.order_placed()  # before it trades, which takes it back
        try:
            answer = operation.run(self._api, params)
        except Rejection:
            if operation.places:
                self.limits.order_refused()
            raise
        if operation.places:
            self.plan.accepted(answer["orderId"])
        return answer

    async def _suffer(self, strike: Strike) -> None:
        if strike.delay_ms:
            await asyncio.sleep(strike.delay_ms / 1_000)
        if strike.lost is not None:
            raise NoAnswer(strike.lost)
        if strike.error is not None:
            rule = strike.error
            raise Rejection(rule.code, rule.message, rule.status, rule.retry_s)
