"""Orders by hand to a headless `main.py trade`: one JSON command per line of standard input. Qt-free; executor's loop.

Every command goes the way of the window's: intent, risk, order manager. A `place` that carries an `id` is the same wish
however often it is sent, so a caller that lost the answer may repeat it.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.domain.money import parse_decimal, plain
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind
from core.domain.orders import Order, OrderChange, OrderDraft, OrderType, Side, TimeInForce
from core.domain.positions import Ownership
from core.errors import UserError
from core.execution.api.gateway import GatewayError

if TYPE_CHECKING:
    from core.execution.executor import Executor

Json = dict[str, Any]
Answer = Callable[[Json], None]


class CommandReader:
    """Reads commands and lets the executor carry them out, each in a task of its own: a kill waits for nobody.

    Args:
        executor: carries them out.
        answer: told the outcome of each, on the executor's loop.
        source: descriptor they come from; read in a thread, because a pipe may stay silent for ever.
    """

    def __init__(self, executor: Executor, answer: Answer, source: int = 0) -> None:
        self._executor = executor
        self._answer = answer
        self._source = source
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._done = False

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    async def close(self) -> None:
        """Take no more commands and wait for those under way."""
        self._done = True
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _read(self) -> None:
        """Read until the other end closes; not through `sys.stdin`, whose lock would be held when the program ends."""
        rest = b""
        while not self._done and (chunk := os.read(self._source, 65_536)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, map(bytes.strip, lines)):
                try:
                    self._loop.call_soon_threadsafe(self._begin, line.decode(errors="replace"))
                except RuntimeError:  # the loop has ended
                    return

    def _begin(self, line: str) -> None:
        task = self._loop.create_task(self._perform(line))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _perform(self, line: str) -> None:
        number: Any = None
        try:
            request = _object(line)
            number = request.get("id")
            outcome = await perform(self._executor, request)
        except UserError as exc:
            outcome = {"error": exc.message, "remedy": exc.remedy}
        self._answer({"id": number, **outcome})


async def perform(executor: Executor, request: Mapping[str, Any]) -> Json:
    """Carry one command out.

    Raises:
        UserError: it is none, or was refused.
    """
    name = request.get("command")
    handler = _HANDLERS.get(str(name))
    if handler is None:
        raise UserError(f"There is no command {name!r}.", f"Use one of: {', '.join(_HANDLERS)}.")
    try:
        return await handler(executor, request)
    except KeyError as exc:
        raise UserError(f"The command {name} needs {exc}.", "See the table of commands in Docs/cli.md.") from exc
    except ValueError as exc:
        raise UserError(f"The command {name} cannot be read: {exc}.", "See Docs/cli.md.") from exc


async def _place(executor: Executor, request: Mapping[str, Any]) -> Json:
    limit, stop = _amount(request, "price"), _amount(request, "stop_price")
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT if stop is None else OrderType.STOP_LOSS_LIMIT
    draft = OrderDraft(
        symbol=str(request["symbol"]),
        side=Side(request["side"]),
        order_type=OrderType(request.get("type", kind.value)),
        quantity=parse_decimal(str(request["quantity"])),
        limit_price=limit,
        stop_price=stop,
        time_in_force=TimeInForce(request.get("time_in_force", "GTC")),
        reduce_only=_flag(request, "reduce_only"),
    )
    key = request.get("id")
    return _order(await executor.place_order(draft, key=None if key is None else str(key)))


async def _cancel(executor: Executor, request: Mapping[str, Any]) -> Json:
    return _order(await executor.cancel_order(str(request["order"])))


async def _cancel_all(executor: Executor, request: Mapping[str, Any]) -> Json:
    symbol = request.get("symbol")
    await executor.cancel_all(None if symbol is None else str(symbol))
    return {"working": len(executor.working_orders)}


async def _replace(executor: Executor, request: Mapping[str, Any]) -> Json:
    change = OrderChange(_amount(request, "quantity"), _amount(request, "price"), _amount(request, "stop_price"))
    return _order(await executor.replace_order(str(request["order"]), change))


async def _resolve(executor: Executor, request: Mapping[str, Any]) -> Json:
    key = str(request["order"])
    return _order(await (executor.declare_gone(key) if _flag(request, "gone") else executor.ask_about(key)))


async def _plan(executor: Executor, request: Mapping[str, Any]) -> Json:
    exits = [_amount(request, name) for name in ("stop_price", "target_price", "trail")]
    draft = PlanDraft(
        kind=PlanKind(request["kind"]),
        symbol=str(request["symbol"]),
        side=Side(request["side"]),
        quantity=parse_decimal(str(request["quantity"])),
        limit_price=_amount(request, "price"),
        exits=ExitRules(*exits) if any(price is not None for price in exits) else None,
        slices=int(request.get("slices", 0)),
        duration_s=int(request.get("duration_s", 0)),
        visible=_amount(request, "visible"),
        reduce_only=_flag(request, "reduce_only"),
    )
    return _plan_answer(await executor.create_plan(draft))


async def _cancel_plan(executor: Executor, request: Mapping[str, Any]) -> Json:
    await executor.cancel_plan(str(request["plan"]))
    return {"plan": str(request["plan"]), "state": "canceled"}


async def _resume_plan(executor: Executor, request: Mapping[str, Any]) -> Json:
    await executor.resume_plan(str(request["plan"]))
    return {"plan": str(request["plan"]), "state": "working"}


async def _take_over(executor: Executor, request: Mapping[str, Any]) -> Json:
    symbol = str(request["symbol"])
    await executor.take_over(symbol, move=_flag(request, "move"))
    return {"symbol": symbol, "ownership": Ownership.MANUAL.value}


async def _hand_back(executor: Executor, request: Mapping[str, Any]) -> Json:
    symbol, to = str(request["symbol"]), Ownership(request.get("to", Ownership.SHARED.value))
    await executor.hand_back(symbol, to, move_to=str(request.get("move_to", "")))
    return {"symbol": symbol, "ownership": to.value}


async def _kill(executor: Executor, request: Mapping[str, Any]) -> Json:
    report = await executor.kill(_flag(request, "flatten"), "kill by command")
    return {"complete": report.complete, "summary": report.summary()}


async def _rearm(executor: Executor, request: Mapping[str, Any]) -> Json:
    await executor.rearm()
    return {"trading_state": executor.trading_state.value}


async def _state(executor: Executor, request: Mapping[str, Any]) -> Json:
    return {
        "trading_state": executor.trading_state.value,
        "orders": [_order(order) for order in executor.working_orders],
        "positions": {f"{p.symbol} {p.owner}": plain(p.quantity) for p in executor.positions if p.quantity},
        "plans": [_plan_answer(plan) for plan in executor.plans],
    }


async def _audit(executor: Executor, request: Mapping[str, Any]) -> Json:
    try:
        check, _ = await executor.audit()
    except GatewayError as exc:
        raise UserError(f"The books could not be compared: {exc.message}", "Try again in a moment.") from exc
    return {
        "orders": check.orders,
        "fills": check.fills,
        "orders_match": check.orders_match,
        "positions_match": check.positions_match,
        "differences": list(check.differences),
    }


_HANDLERS: Mapping[str, Callable[[Executor, Mapping[str, Any]], Awaitable[Json]]] = {
    "place": _place,
    "cancel": _cancel,
    "cancel_all": _cancel_all,
    "replace": _replace,
    "resolve": _resolve,
    "plan": _plan,
    "cancel_plan": _cancel_plan,
    "resume_plan": _resume_plan,
    "take_over": _take_over,
    "hand_back": _hand_back,
    "kill": _kill,
    "rearm": _rearm,
    "state": _state,
    "audit": _audit,
}


def _object(line: str) -> Mapping[str, Any]:
    try:
        request = json.loads(line)
    except ValueError as exc:
        raise UserError("The command is not JSON.", "Write one JSON object per line.") from exc
    if not isinstance(request, dict):
        raise UserError("The command is not a JSON object.", "Write one JSON object per line.")
    return request


def _amount(request: Mapping[str, Any], name: str) -> Decimal | None:
    value = request.get(name)
    return None if value is None else parse_decimal(str(value))


def _flag(request: Mapping[str, Any], name: str) -> bool:
    value = request.get(name, False)
    if not isinstance(value, bool):  # "false" is a text, and true to Python
        raise ValueError(f"{name} must be true or false")
    return value


def _order(order: Order) -> Json:
    return {
        "order": order.client_order_id,
        "owner": order.intent.owner,
        "state": order.state.value,
        "filled": plain(order.filled_quantity),
        "reason": order.reason_code,
        "message": order.message,
    }


def _plan_answer(plan: OrderPlan) -> Json:
    return {"plan": plan.plan_id, "kind": plan.draft.kind.value, "state": plan.state.value, "reason": plan.reason}
