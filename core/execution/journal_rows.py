"""Mapping between journal rows and domain values. Pure functions; any thread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from core.domain.fills import Fill, Liquidity
from core.domain.money import parse_decimal
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind, PlanState
from core.domain.orders import Evidence, Intent, IntentSource, Order, OrderState, OrderType, Side, TimeInForce
from core.execution.records import OrderRecord, StrategyRecord
from core.strategies.own_account import AccountMemory
from core.strategies.spec import StrategyKind, StrategySpec

Row = Mapping[str, Any]


def intent_values(intent: Intent) -> dict[str, Any]:
    """Columns of an intent."""
    return {
        "intent_id": intent.intent_id,
        "source": intent.source.value,
        "owner": intent.owner,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "quantity": intent.quantity,
        "order_type": intent.order_type.value,
        "limit_price": intent.limit_price,
        "stop_price": intent.stop_price,
        "time_in_force": intent.time_in_force.value,
        "reduce_only": intent.reduce_only,
        "reason": intent.reason,
        "reference_price": intent.reference_price,
        "model_id": intent.evidence.model_id,
        "feature_hash": intent.evidence.feature_hash,
        "forecast": intent.evidence.forecast,
        "bar_open_ns": intent.evidence.bar_open_ns,
        "created_ns": intent.created_ns,
    }


def order_values(record: OrderRecord) -> dict[str, Any]:
    """Columns of an order."""
    order = record.order
    return {
        "client_order_id": order.client_order_id,
        "intent_id": order.intent.intent_id,
        "symbol": order.intent.symbol,
        "state": order.state.value,
        "venue_order_id": order.venue_order_id,
        "filled_quantity": order.filled_quantity,
        "average_price": order.average_price,
        "booked_quantity": record.booked_quantity,
        "booked_value": record.booked_value,
        "fills_complete": record.fills_complete,
        "reason_code": order.reason_code,
        "message": order.message,
        "submitted_ns": order.submitted_ns,
        "updated_ns": order.updated_ns,
    }


def fill_values(fill: Fill, client_order_id: str, owner: str, fee_quote: Decimal | None, now_ns: int) -> dict[str, Any]:
    """Columns of a fill."""
    return {
        "venue": fill.venue,
        "symbol": fill.symbol,
        "trade_id": fill.trade_id,
        "venue_order_id": fill.venue_order_id,
        "client_order_id": client_order_id,
        "owner": owner,
        "side": fill.side.value,
        "price": fill.price,
        "quantity": fill.quantity,
        "fee": fill.fee,
        "fee_currency": fill.fee_currency,
        "fee_quote": fee_quote,
        "liquidity": fill.liquidity.value,
        "time_ns": fill.time_ns,
        "booked_ns": now_ns,
    }


def strategy_values(record: StrategyRecord) -> dict[str, Any]:
    """Columns of a strategy."""
    spec = record.spec
    return {
        "strategy_id": spec.strategy_id,
        "title": spec.title,
        "symbol": spec.symbol,
        "timeframe": spec.timeframe,
        "model_id": spec.model_id,
        "capital": spec.capital,
        "entry_z": spec.entry_z,
        "exit_z": spec.exit_z,
        "running": record.running,
        "last_bar_ns": record.last_bar_ns,
        "last_target": record.last_target,
        "kind": spec.kind.value,
        "account": None if record.account is None else json.dumps(asdict(record.account), default=_exact),
    }


def to_record(row: Row) -> OrderRecord:
    """Build an order from a row of orders joined with intents."""
    intent = Intent(
        intent_id=row["intent_id"],
        source=IntentSource(row["source"]),
        owner=row["owner"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        order_type=OrderType(row["order_type"]),
        limit_price=row["limit_price"],
        stop_price=row["stop_price"],
        time_in_force=TimeInForce(row["time_in_force"]),
        reduce_only=row["reduce_only"],
        reason=row["reason"],
        reference_price=row["reference_price"],
        evidence=Evidence(row["model_id"], row["feature_hash"], row["forecast"], row["bar_open_ns"]),
        created_ns=row["created_ns"],
    )
    order = Order(
        client_order_id=row["client_order_id"],
        intent=intent,
        state=OrderState(row["state"]),
        venue_order_id=row["venue_order_id"],
        filled_quantity=row["filled_quantity"],
        average_price=row["average_price"],
        reason_code=row["reason_code"],
        message=row["message"],
        submitted_ns=row["submitted_ns"],
        updated_ns=row["updated_ns"],
    )
    return OrderRecord(order, row["booked_quantity"], row["booked_value"])


def to_fill(row: Row) -> Fill:
    """Build a fill from its row."""
    return Fill(
        venue=row["venue"],
        symbol=row["symbol"],
        trade_id=row["trade_id"],
        venue_order_id=row["venue_order_id"],
        client_order_id=row["client_order_id"],
        side=Side(row["side"]),
        price=row["price"],
        quantity=row["quantity"],
        fee=row["fee"],
        fee_currency=row["fee_currency"],
        liquidity=Liquidity(row["liquidity"]),
        time_ns=row["time_ns"],
    )


def to_strategy(row: Row) -> StrategyRecord:
    """Build a strategy from its row."""
    spec = StrategySpec(
        strategy_id=row["strategy_id"],
        title=row["title"],
        symbol=row["symbol"],
        timeframe=row["timeframe"],
        model_id=row["model_id"],
        capital=row["capital"],
        entry_z=row["entry_z"],
        exit_z=row["exit_z"],
        kind=StrategyKind(row["kind"]),
    )
    account = None if row["account"] is None else _account(json.loads(row["account"]))
    return StrategyRecord(spec, row["running"], row["last_bar_ns"], row["last_target"], account)


def _account(values: dict[str, Any]) -> AccountMemory:
    return AccountMemory(
        opening_pnl=parse_decimal(values["opening_pnl"]),
        quantity=parse_decimal(values["quantity"]),
        changed_ns=int(values["changed_ns"]),
        peak=parse_decimal(values["peak"]),
    )


def plan_values(plan: OrderPlan) -> dict[str, Any]:
    """Columns of an order plan."""
    return {
        "plan_id": plan.plan_id,
        "source": plan.source.value,
        "draft": json.dumps(asdict(plan.draft), default=_exact, sort_keys=True),
        "state": plan.state.value,
        "stop_price": plan.stop_price,
        "cancelled": json.dumps(sorted(plan.cancelled)),
        "reason": plan.reason,
        "created_ns": plan.created_ns,
        "updated_ns": plan.updated_ns,
    }


def to_plan(row: Row) -> OrderPlan:
    """Build an order plan from its row."""
    draft = json.loads(row["draft"])
    exits = draft["exits"]
    return OrderPlan(
        plan_id=row["plan_id"],
        draft=PlanDraft(
            kind=PlanKind(draft["kind"]),
            symbol=draft["symbol"],
            side=Side(draft["side"]),
            quantity=parse_decimal(draft["quantity"]),
            limit_price=_amount(draft["limit_price"]),
            exits=None if exits is None else ExitRules(**{name: _amount(text) for name, text in exits.items()}),
            slices=draft["slices"],
            duration_s=draft["duration_s"],
            visible=_amount(draft["visible"]),
            reduce_only=draft["reduce_only"],
            owner=draft["owner"],
        ),
        source=IntentSource(row["source"]),
        state=PlanState(row["state"]),
        stop_price=row["stop_price"],
        cancelled=frozenset(json.loads(row["cancelled"])),
        reason=row["reason"],
        created_ns=row["created_ns"],
        updated_ns=row["updated_ns"],
    )


def _exact(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"cannot be written: {value!r}")


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else parse_decimal(text)
