"""A model's test figures beside those of its yardsticks. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from app.flows.model_words import forecaster_name, p_text
from app.i18n import MISSING, format_number, format_percent, tr
from app.theme import SPACE_S, SPACE_XS, set_look
from ml.api import ForecastMetrics, PointMetrics


class MetricsTable(QWidget):
    """Errors on bars the model never saw, one forecaster per row, and the quality of its ranges."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("training_metrics")
        self._rows: list[QLabel] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(SPACE_S)
        self._grid.setVerticalSpacing(SPACE_XS)
        self._ranges = QLabel(self)
        self._ranges.setWordWrap(True)
        set_look(self._ranges, "role", "small")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, SPACE_S, 0, 0)
        layout.addLayout(self._grid)
        layout.addWidget(self._ranges)

    def show_metrics(self, metrics: ForecastMetrics) -> None:
        """Write the figures of a result."""
        for label in self._rows:
            self._grid.removeWidget(label)
            label.hide()
            label.deleteLater()
        self._rows = []
        header = (tr("On unseen bars"), tr("MAE"), tr("Skill"), tr("R²"), tr("Hit rate"))
        self._write_row(0, header, "small")
        for number, point in enumerate((metrics.model, *metrics.baselines), start=1):
            self._write_row(number, metric_texts(point), "figures" if number == 1 else "small")
        self._grid.setColumnStretch(0, 1)
        self._ranges.setText(
            tr(
                "{inside} of outcomes inside the forecast range (should be {wanted}). "
                "p-value of an edge over naive forecasts: {p}. {n} test bars.",
                inside=format_percent(metrics.coverage, 1),
                wanted=format_percent(metrics.nominal_coverage, 0),
                p=p_text(metrics.edge_p_value),
                n=format_number(metrics.targets),
            )
        )

    def texts(self) -> list[str]:
        """Return every cell, row by row."""
        return [label.text() for label in self._rows]

    def _write_row(self, row: int, texts: tuple[str, ...], role: str) -> None:
        for column, text in enumerate(texts):
            label = QLabel(text, self)
            set_look(label, "role", role)
            if column:
                label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._grid.addWidget(label, row, column)
            self._rows.append(label)


def metric_texts(point: PointMetrics) -> tuple[str, ...]:
    """Return name, MAE, skill, R² and hit rate of a forecaster as written."""
    hit = format_percent(point.hit_rate, 1) if point.hit_rate is not None else MISSING
    return (
        forecaster_name(point.name),
        format_percent(point.mae, 3),
        format_percent(point.skill, 2, sign=True),
        format_percent(point.r2, 2, sign=True),
        hit,
    )
