"""How a model was made, and what people say about it. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QLineEdit, QPlainTextEdit, QPushButton, QWidget

from app.flows.model_words import HEADS
from app.flows.origin_text import origin_title
from app.i18n import MISSING, format_moment, format_number, tr
from app.models.model_card import ModelCard, PartRange
from app.theme import ROW_HEIGHT, SPACE_M, SPACE_S, SPACE_XS, ThemeManager, set_look
from app.ui.model_card.page import CardPage, sentence
from ml.model_tags import LONGEST_NOTE, ModelMarks

_DAY = "%Y-%m-%d"
_MINUTE = "%Y-%m-%d %H:%M"
_HASH_LENGTH = 16
_NOTE_ROWS = 3


def facts(card: ModelCard) -> list[tuple[str, str]]:
    """Return captions and values of how a model was made."""
    spec, lineage = card.spec, card.lineage
    model, training = spec.model, spec.training
    shape = tr("{layers} × {units} units", layers=model.layers, units=model.hidden_size)
    return [
        (tr("Market"), f"{spec.data.symbol} {spec.data.timeframe} · {origin_title(spec.data.origin)}"),
        (tr("Network"), f"{model.kind.upper()}, {shape}, {tr(HEADS.get(model.head, model.head))}"),
        (tr("Horizons"), tr("{list} bars ahead", list=", ".join(map(str, model.horizons)))),
        (tr("Features"), f"{spec.features.name} {spec.features.version}"),
        (tr("Seeds"), tr("{n}, from {first} on", n=max(1, len(card.metrics.seeds)), first=training.seed)),
        (tr("Made"), made_text(card.created_ns, card.marks)),
        (
            tr("Prices"),
            tr("{n} bars, {span}", n=format_number(lineage.bars), span=_span(lineage.first_ns, lineage.last_ns)),
        ),
        (tr("Learned from"), _part(lineage.train)),
        (tr("Validated on"), _part(lineage.valid)),
        (tr("Tested on"), _part(lineage.test)),
        (tr("Hash of the prices"), lineage.data_sha256[:_HASH_LENGTH]),
        (tr("Program"), lineage.code_version),
        (tr("Size"), tr("{n} kB", n=format_number(card.size_bytes / 1_024, 0))),
        (tr("Used by"), ", ".join(card.used_by) or MISSING),
    ]


def made_text(created_ns: int, marks: ModelMarks) -> str:
    """Say when a model was made, and when it came from elsewhere where it did."""
    made = _moment(created_ns)
    if marks.imported_ns is None:
        return made
    return tr(
        "{when}, imported {later} from {file}", when=made, later=_moment(marks.imported_ns), file=marks.imported_from
    )


def _moment(time_ns: int) -> str:
    return format_moment(time_ns, _MINUTE)


def _span(first_ns: int, last_ns: int) -> str:
    return f"{format_moment(first_ns, _DAY)} – {format_moment(last_ns, _DAY)}"


def _part(part: PartRange) -> str:
    return tr("{span}, {n} targets", span=_span(part.first_ns, part.last_ns), n=format_number(part.targets))


class OverviewPage(CardPage):
    """Facts in two columns, tags and note.

    Signals:
        marks_changed(object, str): tags (a tuple) and note to be kept.
    """

    marks_changed = Signal(object, str)

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(theme, parent)
        self._marks = ModelMarks()
        self._labels: list[tuple[QLabel, QLabel]] = []
        self._facts = QGridLayout()
        self._facts.setHorizontalSpacing(SPACE_M)
        self._facts.setVerticalSpacing(SPACE_XS)
        self._facts.setColumnStretch(1, 1)
        self.add(self._facts)
        self._add_more()
        self._marks_caption = self.add_caption()
        self.tags = QLineEdit(self.body)
        self.tags.setObjectName("model_tags")
        self.add(self.tags)
        self.note = QPlainTextEdit(self.body)
        self.note.setObjectName("model_note")
        self.note.setFixedHeight(_NOTE_ROWS * ROW_HEIGHT)
        self.note.setTabChangesFocus(True)
        self.add(self.note)
        self.save = QPushButton(self.body)
        self.save.setObjectName("model_marks_save")
        self.problem = sentence(self.body, "warning")
        row = QHBoxLayout()
        row.setSpacing(SPACE_S)
        row.addWidget(self.problem, 1)
        row.addWidget(self.save)
        self.add(row)
        self.end()
        self.tags.textChanged.connect(self._on_edited)
        self.note.textChanged.connect(self._on_edited)
        self.save.clicked.connect(self._on_save)

    def show_card(self, card: ModelCard, horizon: int) -> None:
        self.write(facts(card), card.marks)

    def write(self, rows: Sequence[tuple[str, str]], marks: ModelMarks) -> None:
        """Show captions with values, tags and note."""
        while len(self._labels) < len(rows):
            pair = QLabel(self.body), sentence(self.body, "figures")
            set_look(pair[0], "role", "small")
            pair[0].setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
            self._facts.addWidget(pair[0], len(self._labels), 0)
            self._facts.addWidget(pair[1], len(self._labels), 1)
            self._labels.append(pair)
        for (caption, value), (name, text) in zip(self._labels, rows, strict=True):
            caption.setText(name)
            value.setText(text)
        if marks != self._marks or not self.save.isEnabled():  # what a person is typing is not overwritten
            self._marks = marks
            self.tags.setText(", ".join(marks.tags))
            self.note.setPlainText(marks.note)
        self._on_edited()

    def _add_more(self) -> None:
        """Append what stands between the facts and the tags; subclasses have it."""

    def forget_edits(self) -> None:
        """Let the next card write tags and note, whatever was typed."""
        self._marks = ModelMarks()
        self.tags.clear()
        self.note.clear()

    def retranslate(self) -> None:
        self._marks_caption.setText(tr("Tags and note"))
        self.tags.setPlaceholderText(tr("Tags, separated by commas; “keep” protects the model from being removed"))
        self.tags.setAccessibleName(tr("Tags"))
        self.note.setPlaceholderText(tr("What you want to remember about this model"))
        self.note.setAccessibleName(tr("Note"))
        self.save.setText(tr("Save"))

    def _wanted(self) -> tuple[tuple[str, ...], str]:
        tags = tuple(dict.fromkeys(tag.strip() for tag in self.tags.text().split(",") if tag.strip()))
        return tags, self.note.toPlainText().strip()

    @Slot()
    def _on_edited(self) -> None:
        tags, note = self._wanted()
        too_long = len(note) > LONGEST_NOTE
        self.problem.setText(
            tr("The note may have at most {n} characters.", n=format_number(LONGEST_NOTE)) if too_long else ""
        )
        self.save.setEnabled(not too_long and (tags, note) != (self._marks.tags, self._marks.note))

    @Slot()
    def _on_save(self) -> None:
        self.marks_changed.emit(*self._wanted())
