"""Pictures of the dialogs about orders and order plans. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TypeVar

from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QDialog

from app.screenshots.plans import BRACKET_ID
from app.screenshots.session import BTC
from app.screenshots.studio import Studio, settle
from app.ui.dialogs.change_order_dialog import ChangeOrderDialog
from app.ui.dialogs.plan_dialog import PlanDialog
from app.ui.dialogs.resolve_dialog import ResolveDialog
from app.ui.layouts import DockName
from core.domain.order_plans import PlanKind
from core.domain.orders import OrderState
from core.events import OrderUpdated

D = TypeVar("D", bound=QDialog)
_UNANSWERED, _RESTING = "maru-000009", "maru-000001"
_QUANTITY = Decimal("0.02000")


def plan_scenes() -> dict[str, Callable[[Studio], QPixmap]]:
    """Return picture name → how to take it."""
    return {
        "dock_plans_all": _all_plans,
        "dock_orders_unanswered": _chosen_unanswered,
        "dialog_resolve_order": _resolve,
        "dialog_resolve_order_decided": _resolved,
        "dialog_change_order": partial(_change, share=0.9905),
        "dialog_change_order_nothing": partial(_change, share=None),
        "dialog_plan_bracket": partial(_plan, PlanKind.BRACKET, {"stop": 0.97, "target": 1.04}),
        "dialog_plan_exit": _protect,
        "dialog_plan_twap": partial(_plan, PlanKind.TWAP, {}),
        "dialog_plan_iceberg": partial(_plan, PlanKind.ICEBERG, {"price": 0.995}),
        "dialog_plan_problem": partial(_plan, PlanKind.BRACKET, {"stop": 1.01}),
    }


def _all_plans(studio: Studio) -> QPixmap:
    plans = studio.window.plans
    plans.open_only.setChecked(False)
    plans.table.select_key(BRACKET_ID)
    taken = studio.dock_picture(DockName.PLANS)
    plans.table.view.clearSelection()
    plans.open_only.setChecked(True)
    return taken


def _chosen_unanswered(studio: Studio) -> QPixmap:
    table = studio.window.orders.table
    table.select_key(_UNANSWERED)
    taken = studio.dock_picture(DockName.ORDERS)
    table.view.clearSelection()
    return taken


def _resolve_dialog(studio: Studio) -> ResolveDialog:
    order = studio.window.models.orders.record(_UNANSWERED)
    assert order is not None
    studio.window.order_dialogs.resolve(order)
    return _opened(studio, ResolveDialog)


def _resolve(studio: Studio) -> QPixmap:
    return _take(studio, _resolve_dialog(studio))


def _resolved(studio: Studio) -> QPixmap:
    order = studio.window.models.orders.record(_UNANSWERED)
    assert order is not None
    dialog = _resolve_dialog(studio)
    studio.window.on_executor_event(OrderUpdated(replace(order, state=OrderState.ACCEPTED)))
    dialog.refresh()
    taken = _take(studio, dialog)
    studio.window.on_executor_event(OrderUpdated(order))
    studio.window.toasts.clear()
    return taken


def _change(studio: Studio, share: float | None) -> QPixmap:
    order = studio.window.models.orders.record(_RESTING)
    assert order is not None
    studio.window.order_dialogs.change(order)
    dialog = _opened(studio, ChangeOrderDialog)
    if share is not None:
        dialog.price.edit.set_value(studio.materials.session.part_of_price(BTC, share))
        dialog.quantity.edit.set_value(_QUANTITY)
    return _take(studio, dialog)


def _plan(kind: PlanKind, prices: Mapping[str, float], studio: Studio) -> QPixmap:
    studio.window.order_dialogs.new_plan()
    dialog = _opened(studio, PlanDialog)
    form = dialog.form
    form.choose(kind)
    form.fields["quantity"].edit.set_value(_QUANTITY)
    form.fields["visible"].edit.set_value(_QUANTITY / 4)
    for name, share in prices.items():
        form.fields[name].edit.set_value(studio.materials.session.part_of_price(BTC, share))
    return _take(studio, dialog)


def _protect(studio: Studio) -> QPixmap:
    held = next(p for p in studio.window.models.positions.held() if p.symbol == BTC)
    studio.window.order_dialogs.protect(held)
    dialog = _opened(studio, PlanDialog)
    dialog.form.fields["quantity"].edit.set_value(_QUANTITY)  # the rest is held by a working order
    dialog.form.fields["trail"].edit.set_value(studio.materials.session.part_of_price(BTC, 0.02))
    dialog.form.fields["target"].edit.set_value(studio.materials.session.part_of_price(BTC, 1.05))
    return _take(studio, dialog)


def _opened(studio: Studio, kind: type[D]) -> D:
    return next(dialog for dialog in studio.window.findChildren(kind) if dialog.isVisible())


def _take(studio: Studio, dialog: QDialog) -> QPixmap:
    taken = studio.shoot(dialog)
    dialog.close()
    settle()
    return taken
