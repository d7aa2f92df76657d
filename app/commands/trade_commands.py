"""Orders by hand to a headless `main.py trade`: one JSON command per line of standard input. Qt-free; executor's loop.

Every command goes the way of the window's: intent, risk, order manager. A `place` that carries an `id` is the same wish
however often it is sent, so a caller that lost the answer may repeat it. A field that a command does not know is
refused: a misspelt price must not become an order at the market.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.domain.money import parse_decimal, plain
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind
from core.domain.orders import Order, OrderChange, OrderDraft, OrderType, Side, TimeInForce
from core.domain.positions import Ownership
from core.errors import RiskRefused, UserError
from core.execution.api.gateway import GatewayError

if TYPE_CHECKING:
    from core.execution.executor import Executor

Json = dict[str, Any]
Answer = Callable[[Json], None]

# What an order of each type takes beside its quantity, as `place` says it.
_PRICES_OF = {
    OrderType.MARKET: "no price",
    OrderType.LIMIT: "a price and no stop_price",
    OrderType.LIMIT_MAKER: "a price and no stop_price",
    OrderType.STOP_LOSS_LIMIT: "a price and a stop_price",
}
_EVERY_COMMAND = frozenset({"id", "command"})
_EVERY_PLAN = ("kind", "symbol", "side", "quantity")
_EXITS = ("stop_price", "target_price", "trail")
_OF_PLAN: Mapping[PlanKind, tuple[str, ...]] = {
    PlanKind.EXIT: _EXITS,
    PlanKind.BRACKET: ("price", *_EXITS),
    PlanKind.TWAP: ("price", "slices", "duration_s", "reduce_only"),
    PlanKind.ICEBERG: ("price", "visible", "reduce_only"),
}


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
            if isinstance(exc, RiskRefused):
                outcome["reason"] = exc.reason_code
        self._answer({"id": number, **outcome})


async def perform(executor: Executor, request: Mapping[str, Any]) -> Json:
    """Carry one command out.

    Raises:
        UserError: it is none, or was refused.
    """
    name = request.get("command")
    command = COMMANDS.get(str(name))
    if command is None:
        raise UserError(f"There is no command {name!r}.", f"Use one of: {', '.join(COMMANDS)}.")
    _refuse_others(f"The command {name}", request, command.fields)
    try:
        return await command.perform(executor, request)
    except KeyError as exc:
        raise UserError(f"The command {name} needs {exc}.", "See the table of commands in Docs/cli.md.") from exc
    except ValueError as exc:
        raise UserError(f"The command {name} cannot be read: {exc}.", "See Docs/cli.md.") from exc


async def _place(executor: Executor, request: Mapping[str, Any]) -> Json:
    limit, stop = _amount(request, "price"), _amount(request, "stop_price")
    draft = OrderDraft(
        symbol=str(request["symbol"]),
        side=Side(request["side"]),
        order_type=_order_type(request.get("type"), limit, stop),
        quantity=_exact("quantity", request["quantity"]),
        limit_price=limit,
        stop_price=stop,
        time_in_force=TimeInForce(request.get("time_in_force", "GTC")),
        reduce_only=_flag(request, "reduce_only"),
    )
    key = request.get("id")
    return _order(await executor.place_order(draft, key=None if key is None else str(key)))


def _order_type(given: Any, limit: Decimal | None, stop: Decimal | None) -> OrderType:
    """Return the type that the prices make, or the one that was asked for where they allow it.

    Raises:
        UserError: the prices do not make an order, or not one of that type.
    """
    if stop is not None and limit is None:
        raise UserError(
            "A stop needs a price as well.", "Give price: what the order asks for once the stop is reached."
        )
    made = OrderType.MARKET if limit is None else OrderType.LIMIT if stop is None else OrderType.STOP_LOSS_LIMIT
    wanted = made if given is None else OrderType(given)
    if _PRICES_OF[wanted] != _PRICES_OF[made]:
        raise UserError(
            f"An order of the type {wanted} takes {_PRICES_OF[wanted]}.",
            "Give the prices that belong to the type, or leave the type out.",
        )
    return wanted


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
    kind = PlanKind(request["kind"])
    _refuse_others(f"A plan of the kind {kind}", request, (*_EVERY_PLAN, *_OF_PLAN[kind]))
    exits = [_amount(request, name) for name in _EXITS]
    draft = PlanDraft(
        kind=kind,
        symbol=str(request["symbol"]),
        side=Side(request["side"]),
        quantity=_exact("quantity", request["quantity"]),
        limit_price=_amount(request, "price"),
        exits=ExitRules(*exits) if any(price is not None for price in exits) else None,
        slices=_whole(request, "slices"),
        duration_s=_whole(request, "duration_s"),
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


@dataclass(frozen=True, slots=True)
class Command:
    """One command: who carries it out, and the fields it takes beside `id` and `command`."""

    perform: Callable[[Executor, Mapping[str, Any]], Awaitable[Json]]
    fields: tuple[str, ...] = ()


COMMANDS: Mapping[str, Command] = {
    "place": Command(
        _place,
        ("symbol", "side", "quantity", "price", "stop_price", "type", "time_in_force", "reduce_only"),
    ),
    "cancel": Command(_cancel, ("order",)),
    "cancel_all": Command(_cancel_all, ("symbol",)),
    "replace": Command(_replace, ("order", "price", "stop_price", "quantity")),
    "resolve": Command(_resolve, ("order", "gone")),
    "plan": Command(_plan, tuple(dict.fromkeys((*_EVERY_PLAN, *(name for own in _OF_PLAN.values() for name in own))))),
    "cancel_plan": Command(_cancel_plan, ("plan",)),
    "resume_plan": Command(_resume_plan, ("plan",)),
    "take_over": Command(_take_over, ("symbol", "move")),
    "hand_back": Command(_hand_back, ("symbol", "to", "move_to")),
    "kill": Command(_kill, ("flatten",)),
    "rearm": Command(_rearm),
    "state": Command(_state),
    "audit": Command(_audit),
}


def _refuse_others(who: str, request: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    """Refuse what would be ignored.

    Raises:
        UserError: the request has a field that is none of these.
    """
    others = [repr(name) for name in request if name not in fields and name not in _EVERY_COMMAND]
    if others:
        taken = f"it takes {', '.join(fields)}" if fields else "it takes none"
        raise UserError(
            f"{who} does not know the field{'s' * (len(others) > 1)} {', '.join(others)}; {taken}.",
            "Correct the field or leave it out; nothing was done.",
        )


def _object(line: str) -> Mapping[str, Any]:
    """Read one command.

    Raises:
        UserError: it is no JSON object, or says a field twice or as null: of a price that would be a guess.
    """
    try:
        request = json.loads(line, object_pairs_hook=_fields)
    except ValueError as exc:
        raise UserError("The command is not JSON.", "Write one JSON object per line.") from exc
    if not isinstance(request, dict):
        raise UserError("The command is not a JSON object.", "Write one JSON object per line.")
    return request


def _fields(pairs: list[tuple[str, Any]]) -> Json:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise UserError("The command says a field twice.", "Say each field once; nothing was done.")
    if empty := [repr(name) for name, value in pairs if value is None and name != "id"]:
        raise UserError(f"The command says null for {', '.join(empty)}.", "Leave the field out; nothing was done.")
    return fields


def _amount(request: Mapping[str, Any], name: str) -> Decimal | None:
    value = request.get(name)
    return None if value is None else _exact(name, value)


def _exact(name: str, value: Any) -> Decimal:
    if isinstance(value, float):  # 17 digits at most are left of what was written
        raise ValueError(f'{name} must be a text such as "0.01", not a number with a fraction')
    return parse_decimal(str(value))


def _whole(request: Mapping[str, Any], name: str) -> int:
    value = request.get(name)
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    raise ValueError(f"{name} must be a whole number")


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
