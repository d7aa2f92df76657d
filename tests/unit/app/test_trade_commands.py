"""Orders by hand as JSON: what is refused before the executor hears of it, and what it hears."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.commands.trade_commands import COMMANDS, CommandReader, perform
from core.domain.order_plans import PlanDraft, PlanKind
from core.domain.orders import OrderChange, OrderDraft, OrderState, OrderType
from core.errors import RiskRefused, UserError
from core.execution.executor import Executor

ROOT = Path(__file__).parents[3]
PLACE = {"command": "place", "id": 1, "symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"}
TWAP = {"command": "plan", "kind": "twap", "symbol": "BTC/USDT", "side": "buy", "quantity": "1"}
EXIT = {**TWAP, "kind": "exit", "side": "sell"}
REPLACE = {"command": "replace", "order": "maru-1", "price": "90"}


class Heard:
    """Takes orders and plans as an executor does; everything else would be a mistake."""

    def __init__(self) -> None:
        self.drafts: list[OrderDraft | PlanDraft] = []

    async def place_order(self, draft: OrderDraft, *, key: str | None) -> Any:
        self.drafts.append(draft)
        return SimpleNamespace(
            client_order_id="c",
            intent=SimpleNamespace(owner="manual"),
            state=OrderState.ACCEPTED,
            filled_quantity=Decimal(0),
            reason_code="",
            message="",
        )

    async def create_plan(self, draft: PlanDraft) -> Any:
        self.drafts.append(draft)
        return SimpleNamespace(plan_id="p", draft=draft, state=SimpleNamespace(value="working"), reason="")


async def refusal(request: dict[str, Any]) -> UserError:
    """Return what a command is refused with; the executor must not have heard of it."""
    executor = Heard()
    with pytest.raises(UserError) as refused:
        await perform(cast(Executor, executor), request)
    assert executor.drafts == []
    assert refused.value.remedy
    return refused.value


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"command": "place", "price": "90", "price": "9"}', "The command says a field twice."),
        ('{"command": "place", "symbol": "BTC/USDT", "price": null}', "The command says null for 'price'."),
        ('["place"]', "The command is not a JSON object."),
        ("place", "The command is not JSON."),
    ],
)
async def test_a_line_that_could_be_read_in_two_ways_is_refused(line: str, why: str) -> None:
    executor, told = Heard(), list[dict[str, Any]]()
    await CommandReader(cast(Executor, executor), told.append)._perform(line)
    assert [answer["error"] for answer in told] == [why]
    assert told[0]["remedy"]
    assert executor.drafts == []


class Refusing:
    """Refuses every plan and every change, as the risk gate does."""

    async def create_plan(self, draft: PlanDraft) -> Any:
        raise RiskRefused("The plan would be refused: too large.", "Choose a smaller quantity, or wait.", "FAT_FINGER")

    async def replace_order(self, key: str, change: OrderChange) -> Any:
        raise RiskRefused("The changed order would be refused: no.", "The order stays as it was.", "PRICE_COLLAR")


@pytest.mark.parametrize(
    ("request_", "code"), [({**TWAP, "slices": 2, "duration_s": 60}, "FAT_FINGER"), (REPLACE, "PRICE_COLLAR")]
)
async def test_what_risk_refuses_says_why_for_machines(request_: dict[str, Any], code: str) -> None:
    told: list[dict[str, Any]] = []
    await CommandReader(cast(Executor, Refusing()), told.append)._perform(json.dumps({"id": 4, **request_}))
    (answer,) = told
    assert set(answer) == {"id", "error", "remedy", "reason"}
    assert (answer["id"], answer["reason"]) == (4, code)


async def heard(request: dict[str, Any]) -> Any:
    """Return the draft that a command becomes."""
    executor = Heard()
    await perform(cast(Executor, executor), request)
    (draft,) = executor.drafts
    return draft


@pytest.mark.parametrize("name", sorted(COMMANDS))
async def test_every_command_refuses_a_field_it_does_not_know(name: str) -> None:
    known = dict.fromkeys(COMMANDS[name].fields, "x")
    refused = await refusal({"command": name, "id": 1, **known, "prise": "5"})
    assert refused.message.startswith(f"The command {name} does not know the field 'prise'; it takes ")
    assert all(field in refused.message for field in known)


async def test_all_unknown_fields_are_named_at_once() -> None:
    refused = await refusal({"command": "rearm", "now": True, "Id": 2})
    assert refused.message == "The command rearm does not know the fields 'now', 'Id'; it takes none."


def test_the_documentation_names_the_same_fields() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+) \| (.+) \|$", (ROOT / "Docs/cli.md").read_text("utf-8"), re.MULTILINE)
    told = {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names) if name in COMMANDS}
    assert set(told) == set(COMMANDS)
    missing = {
        f"{name} {field}"
        for name, command in COMMANDS.items()
        for field in command.fields
        if not re.search(rf'[`"]{field}["`]', told[name])
    }
    assert missing == set()


@pytest.mark.parametrize(
    ("prices", "made"),
    [
        ({}, OrderType.MARKET),
        ({"type": "market"}, OrderType.MARKET),
        ({"price": None, "stop_price": None}, OrderType.MARKET),
        ({"price": "5"}, OrderType.LIMIT),
        ({"price": 5}, OrderType.LIMIT),
        ({"price": "5", "type": "limit_maker"}, OrderType.LIMIT_MAKER),
        ({"price": "5", "stop_price": "6"}, OrderType.STOP_LOSS_LIMIT),
        ({"price": "5", "stop_price": "6", "type": "stop_loss_limit"}, OrderType.STOP_LOSS_LIMIT),
    ],
)
async def test_the_prices_make_the_type(prices: dict[str, Any], made: OrderType) -> None:
    draft = await heard({**PLACE, **prices})
    assert (draft.order_type, draft.quantity) == (made, Decimal("0.01"))
    assert draft.limit_price == (None if prices.get("price") is None else Decimal(5))
    assert draft.stop_price == (None if prices.get("stop_price") is None else Decimal(6))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"stop_price": "5"}, "A stop needs a price as well."),
        ({"stop_price": "5", "type": "stop_loss_limit"}, "A stop needs a price as well."),
        ({"stop_price": "5", "type": "market"}, "A stop needs a price as well."),
        ({"price": "5", "type": "market"}, "An order of the type market takes no price."),
        ({"price": "5", "stop_price": "6", "type": "market"}, "An order of the type market takes no price."),
        ({"type": "limit"}, "An order of the type limit takes a price and no stop_price."),
        (
            {"price": "5", "stop_price": "6", "type": "limit_maker"},
            "An order of the type limit_maker takes a price and no stop_price.",
        ),
        (
            {"price": "5", "type": "stop_loss_limit"},
            "An order of the type stop_loss_limit takes a price and a stop_price.",
        ),
        ({"type": "stop"}, "The command place cannot be read: 'stop' is not a valid OrderType."),
    ],
)
async def test_prices_that_contradict_the_type_are_refused(fields: dict[str, Any], sentence: str) -> None:
    assert (await refusal({**PLACE, **fields})).message == sentence


@pytest.mark.parametrize("name", ["quantity", "price", "stop_price"])
@pytest.mark.parametrize("value", [0.1, 5.0, float("nan"), True, [1], "1,5", ""])
async def test_money_is_a_text_or_a_whole_number(name: str, value: Any) -> None:
    refused = await refusal({**PLACE, "price": "5", "stop_price": "5", name: value})
    assert refused.message.startswith("The command place cannot be read: ")
    if isinstance(value, float):
        assert f'{name} must be a text such as "0.01"' in refused.message


@pytest.mark.parametrize("value", [3, "3", 3.0])
async def test_whole_numbers_are_taken(value: Any) -> None:
    draft = await heard({**TWAP, "slices": value, "duration_s": 60})
    assert (draft.slices, draft.duration_s) == (3, 60)


@pytest.mark.parametrize("name", ["slices", "duration_s"])
@pytest.mark.parametrize("value", [2.5, True, "2.5", "many", "-3", "³", "", [2], float("inf")])
async def test_what_is_no_whole_number_is_refused(name: str, value: Any) -> None:
    refused = await refusal({**TWAP, "slices": 2, "duration_s": 60, name: value})
    assert refused.message == f"The command plan cannot be read: {name} must be a whole number."


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        ({**TWAP, "slices": 2, "duration_s": 60, "stop_price": "5"}, "stop_price"),  # nothing would have stopped
        ({**EXIT, "stop_price": "5", "price": "4"}, "price"),
        ({**EXIT, "stop_price": "5", "visible": "1"}, "visible"),
        ({**EXIT, "kind": "bracket", "stop_price": "5", "reduce_only": True}, "reduce_only"),
        ({**TWAP, "kind": "iceberg", "price": "5", "visible": "0.1", "slices": 2}, "slices"),
    ],
)
async def test_a_field_of_another_kind_of_plan_is_refused(plan: dict[str, Any], field: str) -> None:
    refused = await refusal(plan)
    sentence = f"A plan of the kind {plan['kind']} does not know the field '{field}'; it takes "
    assert refused.message.startswith(sentence)
    assert field not in refused.message.removeprefix(sentence).rstrip(".").split(", ")


async def test_a_plan_takes_the_fields_of_its_kind() -> None:
    draft = await heard({**EXIT, "stop_price": "5", "target_price": "9"})
    assert draft.kind is PlanKind.EXIT
    assert (draft.exits.stop_price, draft.exits.target_price, draft.exits.trail) == (Decimal(5), Decimal(9), None)
    draft = await heard({**TWAP, "kind": "iceberg", "price": "5", "visible": "0.1", "reduce_only": True})
    assert (draft.limit_price, draft.visible, draft.reduce_only) == (Decimal(5), Decimal("0.1"), True)
