"""Pictures of the window of models and of the forecast over the chart. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QScrollArea

from app.flows.sample_session import MODEL_IDS
from app.models.agent_card import AgentCard
from app.models.model_card import CardProblem, Judging, ModelCard
from app.models.model_look import ModelLook
from app.screenshots import agents, models
from app.screenshots.session import BARS, BTC
from app.screenshots.studio import Studio, settle
from app.ui.dialogs.models_dialog import ModelsDialog
from app.ui.layouts import DockName
from core.events import ForecastMade
from ml.evaluation_plan import EvaluationProgress

Take = Callable[[Studio], QPixmap]

_PAGES = ("overview", "accuracy", "calibration", "features", "trading")
_AGENT_PAGES = ("overview", "performance", "robustness", "diagnostics")


class _NoModels:
    """Takes what the window of models asks for and answers nothing (`app.services.ModelCommands`)."""

    def list_models(self) -> None:
        """Ignore the wish for the list."""

    def open_model(self, model_id: str) -> None:
        """Ignore the wish for a card."""

    def compare_models(self, model_ids: Sequence[str]) -> None:
        """Ignore the wish for a comparison."""

    def set_marks(self, model_id: str, tags: Sequence[str], note: str) -> None:
        """Ignore tags and note."""

    def export_model(self, model_id: str, target: Path) -> None:
        """Ignore an export."""

    def import_model(self, source: Path) -> None:
        """Ignore an import."""

    def remove_model(self, model_id: str) -> None:
        """Ignore a removal."""

    def judge_model(self, model_id: str) -> None:
        """Ignore the wish for an evaluation."""

    def cancel_judging(self, model_id: str) -> None:
        """Ignore its cancellation."""


def model_scenes() -> dict[str, Take]:
    """Return the pictures by name."""
    return {
        **{f"models_{name}": partial(_card, models.sound_card(), number) for number, name in enumerate(_PAGES)},
        **{f"agent_{name}": partial(_agent, agents.agent_card(), number) for number, name in enumerate(_AGENT_PAGES)},
        **{
            f"agent_untrained_{name}": partial(_agent, agents.idle_agent_card(), number)
            for number, name in enumerate(_AGENT_PAGES)
        },
        "agent_rest": partial(_agent, agents.agent_card(), 1, bottom=True),
        "agent_markets": partial(_agent, agents.several_markets_card(), 1, bottom=True),
        "agent_markets_overview": partial(_agent, agents.several_markets_card(), 0),
        "agents_comparison": _agents,
        "models_judged_again": partial(_judged, None),
        "models_judging": partial(_judged, Judging(EvaluationProgress("judging", eta_s=41.0, share=0.63))),
        "models_not_judged": partial(
            _judged,
            Judging(
                message="No stored bar of BTC/USDT 1h is newer than 2026-08-20 09:00 UTC, the model's last.",
                remedy="Import newer ones with `data import`, or keep this market in the chart: bars are stored as "
                "they close.",
            ),
        ),
        "models_chances": partial(_card, models.class_card(), 2),
        "models_foreign": partial(_card, models.class_card(), 1),
        "models_without_figures": partial(_card, models.bare_card(), 4),
        "models_damaged": partial(_card, models.damaged(), 0),
        "models_comparison": _comparison,
        "models_loading": _loading,
        "models_none": _none,
        "dock_chart_forecast": _forecast,
        "dock_chart_looked": partial(_looked, models.sound_look()),
        "dock_chart_looked_beside": partial(_looked, models.foreign_look(), beside=True),
        "dock_chart_looked_agent": partial(_looked, models.agent_look()),
        "dock_chart_looked_too_early": partial(_looked, models.early_look()),
        "dock_chart_looked_elsewhere": partial(_looked, models.waiting_look()),
        "dock_chart_looked_failed": partial(_looked, models.failed_look()),
    }


@contextmanager
def _window(studio: Studio) -> Iterator[ModelsDialog]:
    dialog = ModelsDialog(_NoModels(), studio.theme, studio.language, studio.window)
    dialog.show()
    settle()
    yield dialog
    dialog.close()
    settle()


def _card(found: ModelCard | CardProblem, page: int, studio: Studio) -> QPixmap:
    with _window(studio) as dialog:
        dialog.choose(found.model_id)
        dialog.on_rows(models.rows())
        dialog.on_card(found)
        dialog.card.pages.setCurrentIndex(page)
        return studio.shoot(dialog)


def _agent(found: AgentCard, page: int, studio: Studio, *, bottom: bool = False) -> QPixmap:
    """Take a page of an agent's card, from its top or its bottom."""
    with _window(studio) as dialog:
        dialog.choose(found.model_id)
        dialog.on_rows((*agents.agent_rows(), *models.rows()))
        dialog.on_card(found)
        dialog.agent.pages.setCurrentIndex(page)
        settle()
        shown = dialog.agent.pages.currentWidget()
        if bottom and isinstance(shown, QScrollArea):
            shown.verticalScrollBar().setValue(shown.verticalScrollBar().maximum())
        return studio.shoot(dialog)


def _agents(studio: Studio) -> QPixmap:
    with _window(studio) as dialog:
        dialog.on_rows(agents.agent_rows())
        dialog.table.view.selectAll()
        dialog.on_comparison(agents.compared_agents())
        return studio.shoot(dialog)


def _judged(judging: Judging | None, studio: Studio) -> QPixmap:
    """Take the page of later evaluations; while one is at work, or after it failed, on a model without any."""
    found = models.judged_card() if judging is None else models.sound_card()
    with _window(studio) as dialog:
        dialog.choose(found.model_id)
        dialog.on_rows(models.rows())
        dialog.on_card(found)
        dialog.card.pages.setCurrentWidget(dialog.card.evaluations)
        if judging is not None:
            dialog.set_judging({found.model_id: judging})
        return studio.shoot(dialog)


def _comparison(studio: Studio) -> QPixmap:
    with _window(studio) as dialog:
        dialog.on_rows(models.rows()[:2])
        dialog.table.view.selectAll()
        dialog.on_comparison(models.compared())
        return studio.shoot(dialog)


def _loading(studio: Studio) -> QPixmap:
    with _window(studio) as dialog:
        return studio.shoot(dialog)


def _none(studio: Studio) -> QPixmap:
    with _window(studio) as dialog:
        dialog.on_rows(())
        return studio.shoot(dialog)


def _forecast(studio: Studio) -> QPixmap:
    """Take the chart with what the running strategy's model expects."""
    with _traded_fan(studio):
        return studio.dock_picture(DockName.CHART)


def _looked(look: ModelLook, studio: Studio, *, beside: bool = False) -> QPixmap:
    """Take the chart with a model that is only looked at, where wanted beside the running strategy's."""
    chart = studio.chart
    frame = studio.materials.market.history(BTC, BARS).finals()
    outlook = look.outlook
    if outlook is not None and outlook.forecast is not None:
        forecast = replace(outlook.forecast, bar_open_ns=int(frame.time_ns[-1]))
        look = replace(look, outlook=replace(outlook, close=float(frame.close[-1]), forecast=forecast))
    if outlook is not None and outlook.weights is not None:
        times = tuple(frame.time_ns[-len(outlook.weights.time_ns) :].tolist())
        look = replace(look, outlook=replace(outlook, weights=replace(outlook.weights, time_ns=times)))
    chart.show_look(look)
    settle()
    if beside:
        with _traded_fan(studio):
            taken = studio.dock_picture(DockName.CHART)
    else:
        taken = studio.dock_picture(DockName.CHART)
    chart.show_look(None)
    settle()
    return taken


@contextmanager
def _traded_fan(studio: Studio) -> Iterator[None]:
    """Have the forecast of a running strategy's model on the chart."""
    frame = studio.materials.market.history(BTC, BARS).finals()
    forecast = models.forecast(MODEL_IDS[0], int(frame.time_ns[-1]), 0.2)
    studio.chart.chart.set_forecast(ForecastMade(forecast, BARS.value, float(frame.close[-1])))
    yield
    studio.chart.chart.set_forecast(None)
