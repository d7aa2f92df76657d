"""How an agent was made, what it may do, and what people say about it. GUI thread."""

from __future__ import annotations

from datetime import UTC

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QPushButton

from app.flows.agent_words import (
    REWARDS,
    algorithm_text,
    costs_text,
    sees_text,
    steps_text,
    trading_text,
    weights_text,
)
from app.flows.origin_text import origin_title
from app.flows.sentence_text import local_text
from app.i18n import MISSING, format_moment, format_number, tr, tr_count
from app.models.agent_card import AgentCard
from app.models.model_card import PartRange
from app.theme import SPACE_S, set_look
from app.ui.model_card.overview import OverviewPage, made_text
from app.ui.model_card.page import sentence

_DAY = "%Y-%m-%d"
_HASH_LENGTH = 16


def agent_facts(card: AgentCard) -> list[tuple[str, str]]:
    """Return captions and values of how an agent was made and what it may do."""
    spec, lineage = card.spec, card.lineage
    environment, algorithm = spec.environment, spec.algorithm
    return [
        (tr("Trading with it"), trading_text(card, local_text(card.refusal))),
        (tr("Market"), f"{spec.data.symbol} {spec.data.timeframe} · {origin_title(spec.data.origin)}"),
        (tr("Learned on too"), ", ".join(spec.universe.symbols) or MISSING),
        (tr("May hold"), weights_text(environment)),
        (tr("Sees"), sees_text(card)),
        (tr("Reward"), tr(REWARDS.get(environment.reward, environment.reward))),
        (tr("Costs"), costs_text(environment.costs, environment.cost_jitter)),
        (
            tr("Episodes"),
            tr_count("{n} bar while learning", "{n} bars while learning", environment.episode),
        ),
        (tr("Algorithm"), algorithm_text(card)),
        (tr("Seeds"), tr("{n}, from {first} on", n=algorithm.seeds, first=algorithm.seed)),
        (tr("Steps"), steps_text(card)),
        (tr("Device"), _device(spec.resources.device)),
        (tr("Made"), made_text(card.created_ns, card.marks)),
        (
            tr("Prices"),
            tr("{n} bars, {span}", n=format_number(lineage.bars), span=_span(lineage.first_ns, lineage.last_ns)),
        ),
        (tr("Learned from"), _part(lineage.train)),
        (tr("Validated on"), _part(lineage.valid)),
        (tr("Tested on"), _part(lineage.test)),
        (tr("Hash of the prices"), lineage.data_sha256[:_HASH_LENGTH]),
        (tr("Run"), lineage.run_id or MISSING),
        (tr("Program"), lineage.code_version),
        (tr("Size"), tr("{n} kB", n=format_number(card.size_bytes / 1_024, 0))),
        (tr("Used by"), ", ".join(card.used_by) or MISSING),
    ]


def _device(device: str) -> str:
    return {"auto": tr("chosen by the program"), "cpu": tr("CPU"), "cuda": tr("GPU")}.get(device, device)


def _span(first_ns: int, last_ns: int) -> str:
    return f"{format_moment(first_ns, _DAY, UTC)} – {format_moment(last_ns, _DAY, UTC)} UTC"


def _part(part: PartRange) -> str:
    span = _span(part.first_ns, part.last_ns)
    return tr_count("{span}, {n} decision", "{span}, {n} decisions", part.targets, span=span)


class AgentOverviewPage(OverviewPage):
    """Facts, the forecaster it sees through, tags and note.

    Signals:
        encoder_requested(str): the card of this forecaster is wanted.
    """

    encoder_requested = Signal(str)

    def show_agent(self, card: AgentCard) -> None:
        """Write an agent."""
        encoder = card.encoder
        self.encoder_text.setVisible(encoder is not None)
        self.encoder_button.setVisible(encoder is not None and encoder.stored)
        if encoder is not None:
            known = tr("It sees through the forecaster {model}.", model=encoder.model_id)
            lost = tr(
                "It sees through the forecaster {model}, which is not stored here: it cannot decide without it.",
                model=encoder.model_id,
            )
            self.encoder_text.setText(known if encoder.stored else lost)
            set_look(self.encoder_text, "role", "" if encoder.stored else "danger")
            self.encoder_button.setProperty("model_id", encoder.model_id)
        self.write(agent_facts(card), card.marks)

    def retranslate(self) -> None:
        super().retranslate()
        self.encoder_button.setText(tr("Show the forecaster"))

    def _add_more(self) -> None:
        self.encoder_text = sentence(self.body, "")
        self.encoder_text.setObjectName("agent_encoder")
        self.encoder_button = QPushButton(self.body)
        self.encoder_button.setObjectName("agent_encoder_open")
        self.encoder_button.clicked.connect(self._on_encoder)
        row = QHBoxLayout()
        row.setSpacing(SPACE_S)
        row.addWidget(self.encoder_text, 1)
        row.addWidget(self.encoder_button)
        self.add(row)

    @Slot()
    def _on_encoder(self) -> None:
        self.encoder_requested.emit(str(self.encoder_button.property("model_id")))
