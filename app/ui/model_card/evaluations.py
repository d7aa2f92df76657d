"""What a stored model was judged on since, beside its own test, and the wish to have it judged again. GUI thread."""

from __future__ import annotations

import time
from collections.abc import Sequence

from PySide6.QtCore import QTimer, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from app.flows.evaluation_words import (
    accuracy_row,
    evaluation_title,
    is_finding,
    judging_text,
    span_text,
    trading_row,
)
from app.flows.sentence_text import local_text
from app.i18n import format_duration, format_percent, tr, tr_count
from app.models.model_card import Judging, ModelCard
from app.theme import SPACE_S, SPACE_XS, ThemeManager, set_look
from app.ui.model_card.page import CardPage, sentence
from app.ui.widgets.figure_table import FigureTable, Heading
from core.domain.data_origin import DataOrigin, with_caution
from ml.evaluation_records import DamagedEvaluation, SavedEvaluation

MOST_SHOWN = 12
_TICK_MS = 1_000
_WHOLE = 1_000  # steps of the progress bar


class _Section(QWidget):
    """One judgement in sentences."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.title, self.verdict, self.notes = (sentence(self, role) for role in ("strong", "warning", "small"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, SPACE_XS, 0, SPACE_XS)
        layout.setSpacing(SPACE_XS)
        for label in (self.title, self.verdict, self.notes):
            layout.addWidget(label)

    def write(self, title: str, verdict: str, notes: Sequence[str] = (), *, good: bool = False) -> None:
        """Show this judgement."""
        self.title.setText(title)
        self.verdict.setText(verdict)
        set_look(self.verdict, "role", "success" if good else "warning")
        self.notes.setText("\n".join(notes))
        self.notes.setVisible(bool(notes))
        self.show()


class EvaluationsPage(CardPage):
    """The action, figures side by side, then every judgement in sentences, the newest first.

    Signals:
        judge_requested: the model shown shall be judged on newer bars.
        cancel_requested: that shall stop.
    """

    judge_requested = Signal()
    cancel_requested = Signal()

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        self._judging: Judging | None = None
        self._until: float | None = None  # by this clock it will have ended
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._write_status)
        self.judge = QPushButton(self.body)
        self.judge.setObjectName("model_judge")
        self.cancel = QPushButton(self.body)
        self.cancel.setObjectName("model_judge_cancel")
        self.status = QLabel(self.body)
        self.status.setObjectName("model_judge_status")
        set_look(self.status, "role", "small")
        row = QHBoxLayout()
        row.setSpacing(SPACE_S)
        row.addWidget(self.judge)
        row.addWidget(self.cancel)
        row.addWidget(self.status, 1)
        self.add(row)
        self.bar = QProgressBar(self.body)
        self.bar.setTextVisible(False)
        set_look(self.bar, "variant", "thin")
        self.add(self.bar)
        self.hint = self.add_sentence()
        self.problem = self.add_sentence("danger")
        self.problem.setObjectName("model_judge_problem")
        self.damaged = self.add_sentence("danger")
        self.damaged.setObjectName("model_evaluations_damaged")
        self._accuracy_caption = self.add_caption()
        self.accuracy = FigureTable("model_evaluations_accuracy", self.body)
        self.add(self.accuracy)
        self._trading_caption = self.add_caption()
        self.trading = FigureTable("model_evaluations_trading", self.body)
        self.add(self.trading)
        self._verdicts_caption = self.add_caption()
        self._sections = QVBoxLayout()
        self.add(self._sections)
        self._shown: list[_Section] = []
        self.older = self.add_sentence()
        self.end()
        self.judge.clicked.connect(self.judge_requested)
        self.cancel.clicked.connect(self.cancel_requested)
        self._write_status()

    def show_card(self, card: ModelCard, horizon: int) -> None:
        saved = [record for record in card.evaluations if isinstance(record, SavedEvaluation)]
        self._write_damaged([record for record in card.evaluations if isinstance(record, DamagedEvaluation)])
        shown = saved[:MOST_SHOWN]
        bars = card.metrics.horizons[horizon].horizon if card.metrics.horizons else 0
        judged = [
            (tr("Its own test"), card.metrics),
            *((span_text(each.result.first_ns, each.result.last_ns), each.result.metrics) for each in shown),
        ]
        self.accuracy.show_rows(_accuracy_headings(card), [accuracy_row(*each, bars) for each in judged], strong=0)
        self.trading.show_rows(_trading_headings(), [trading_row(*each) for each in judged], strong=0)
        self._write_sections(card, shown)
        left = len(saved) - len(shown)
        self.older.setVisible(not saved or left > 0)
        self.older.setText(
            tr_count("{n} older evaluation is not shown.", "{n} older evaluations are not shown.", left)
            if saved
            else tr("It was not judged on newer bars yet.")
        )

    def show_judging(self, judging: Judging | None) -> None:
        """Show how far the evaluation of this model is; None where there is none."""
        self._judging = judging
        progress = None if judging is None or not judging.at_work else judging.progress
        eta = None if progress is None else progress.eta_s
        self._until = None if eta is None else time.monotonic() + eta
        share = None if progress is None else progress.share
        self.bar.setRange(0, 0 if share is None else _WHOLE)
        self.bar.setValue(0 if share is None else round(share * _WHOLE))
        self._write_status()

    def retranslate(self) -> None:
        self.judge.setText(tr("Judge on newer bars"))
        self.judge.setToolTip(tr("Judge this model on the stored bars that came after its own and keep the result"))
        self.cancel.setText(tr("Cancel"))
        self.hint.setText(
            tr(
                "Newer bars are the only test that nobody could have prepared for. The result is kept beside the model "
                "and counts as one try on this market, however often the same bars are judged."
            )
        )
        self._accuracy_caption.setText(tr("Forecasts"))
        self._trading_caption.setText(tr("Trading its sign at the first horizon, after costs"))
        self._verdicts_caption.setText(tr("Verdicts"))
        self._write_status()

    @Slot()
    def _write_status(self) -> None:
        judging = self._judging
        at_work = judging is not None and judging.at_work
        self.judge.setEnabled(not at_work)
        self.cancel.setVisible(at_work)
        self.bar.setVisible(at_work)
        self.problem.setVisible(judging is not None and not at_work)
        if judging is not None and at_work:
            self.cancel.setEnabled(not judging.stopping)
            self.status.setText(self._status_text(judging))
            self._clock.start()
            return
        self._clock.stop()
        self.status.clear()
        if judging is not None:
            self.problem.setText(f"{local_text(judging.message)} {local_text(judging.remedy)}".rstrip())

    def _status_text(self, judging: Judging) -> str:
        parts = [judging_text(judging)]
        left = 0.0 if self._until is None else self._until - time.monotonic()
        if left > 0.0 and not judging.stopping:  # an estimate that was too short says nothing any more
            parts.append(tr("{time} left", time=format_duration(max(1.0, left))))
        return " · ".join(parts)

    def _write_damaged(self, records: Sequence[DamagedEvaluation]) -> None:
        self.damaged.setVisible(bool(records))
        self.damaged.setText(
            "\n".join(f"{local_text(each.message)} {local_text(each.remedy)}".rstrip() for each in records)
        )

    def _write_sections(self, card: ModelCard, shown: Sequence[SavedEvaluation]) -> None:
        while len(self._shown) <= len(shown):
            self._shown.append(_Section(self.body))
            self._sections.addWidget(self._shown[-1])
        test, origin = card.lineage.test, card.spec.data.origin
        title = f"{tr('Its own test')} · {span_text(test.first_ns, test.last_ns)}"
        self._shown[0].write(title, local_text(with_caution(card.metrics.verdict, origin)), good=card.edge)
        for section, saved in zip(self._shown[1:], shown, strict=False):
            result = saved.result
            verdict = local_text(with_caution(result.metrics.verdict, DataOrigin(result.venue)))
            notes = [local_text(note) for note in result.notes]
            section.write(evaluation_title(saved, card), verdict, notes, good=is_finding(result, card))
        for section in self._shown[len(shown) + 1 :]:
            section.hide()


def _accuracy_headings(card: ModelCard) -> list[Heading]:
    return [
        Heading(tr("Judged on")),
        Heading(tr("Targets")),
        Heading(tr("R²"), tr("Share of the squared error that the forecast takes off “price stays”")),
        Heading(tr("IC (95 %)"), tr("Correlation of forecast and outcome, and where its true value may lie")),
        Heading(tr("Hit rate (95 %)"), tr("Share of right signs, with the range that chance leaves open")),
        Heading(tr("CRPS skill"), tr("Share of the range error taken off ranges as wide as past volatility")),
        Heading(
            tr("Coverage"), tr("Inside (should be {share})", share=format_percent(card.metrics.nominal_coverage, 0))
        ),
        Heading(tr("p-value"), tr("How often luck alone would put it so far ahead of every naive forecast")),
    ]


def _trading_headings() -> list[Heading]:
    return [
        Heading(tr("Judged on")),
        Heading(tr("Return")),
        Heading(tr("Holding the market")),
        Heading(tr("Sharpe per year (95 %)"), tr("And where its true value may lie")),
        Heading(tr("Deepest fall")),
    ]
