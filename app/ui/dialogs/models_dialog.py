"""The window of models: the list on the left, the card of the chosen one on the right. GUI thread only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDialog, QFileDialog, QPushButton, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from app.flows.sentence_text import local_text
from app.i18n import tr
from app.language import LanguageManager
from app.models.agent_card import AgentCard
from app.models.model_card import CardProblem, ComparedModels, Judging, ModelCard, ModelRow
from app.models.models_model import ModelsModel, row_title
from app.services import ModelCommands
from app.theme import GRID, SPACE_M, ThemeManager, set_look
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.dialogs.file_picker import existing_file_picker, file_picker
from app.ui.model_card.agent_view import AgentView
from app.ui.model_card.card import CardView
from app.ui.model_card.comparison import ComparisonPage
from app.ui.model_card.page import sentence
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.panel import ToolRow

SIZE = (316 * GRID, 190 * GRID)
SUFFIX = ".maru-model"  # as `ml.model_exchange` writes it
_LIST_WIDTH = 126 * GRID
_MOST_COMPARED = 6


class ModelsDialog(QDialog):
    """Lists the stored models and shows one, or several side by side; what takes time is asked of `commands`.

    Signals:
        look_requested(str): this model id shall forecast on the chart, without trading.
        replay_requested(str): the evaluated pass of this agent shall be replayed on the chart.
        strategy_requested(str): a strategy shall be made of this model id.
        training_requested: there is no model and a person wants one.
    """

    look_requested = Signal(str)
    replay_requested = Signal(str)
    strategy_requested = Signal(str)
    training_requested = Signal()

    def __init__(
        self, commands: ModelCommands, theme: ThemeManager, language: LanguageManager, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._commands, self._theme = commands, theme
        self._wanted = ""  # the model to show once it is in the list
        self._asked: tuple[str, ...] = ()  # what is being read
        self._actions: dict[QPushButton, QAction] = {}  # of the list's menu, by the button that does the same
        self.setObjectName("models_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(*SIZE)
        self._model = ModelsModel(self)
        self.table: DataTable[ModelRow] = DataTable(
            self._model, theme, name="models_table", empty_icon="brain", parent=self
        )
        self.card = CardView(theme, self)
        self.agent = AgentView(theme, self)
        self.comparison = ComparisonPage(theme, self)
        self.state = EmptyState(theme, "brain", self)
        self.stack = QStackedWidget(self)
        for page in (self.state, self.card, self.agent, self.comparison):
            self.stack.addWidget(page)
        self.message = sentence(self, "small")
        self.message.setObjectName("models_message")
        self._build()
        self.table.selection_changed.connect(self._on_selection)
        self.table.empty.triggered.connect(self._on_train)
        self.card.marks_changed.connect(self._on_marks)
        self.agent.marks_changed.connect(self._on_marks)
        self.agent.encoder_requested.connect(self.choose)
        self.card.judge_requested.connect(self._on_judge)
        self.card.cancel_requested.connect(self._on_cancel_judging)
        theme.changed.connect(self.refresh_look)
        language.changed.connect(self.retranslate)
        self.table.sort_by("created", Qt.SortOrder.DescendingOrder)
        self._loaded = False
        self.retranslate()
        self.refresh_look()

    def choose(self, model_id: str) -> None:
        """Show this model as soon as it is in the list; "" leaves the choice as it is."""
        if model_id:
            self._wanted = model_id
            self._choose_wanted()

    # -- answers ----------------------------------------------------------------------------------------------------

    def on_rows(self, rows: tuple[ModelRow, ...]) -> None:
        """Take the list."""
        self._loaded = True
        chosen = [row.model_id for row in self.table.selected()]
        self._model.show_rows(rows)
        self._write_empty()
        self._choose_wanted()
        if not self.table.selected() and rows:
            self.table.view.selectRow(0)
        elif [row.model_id for row in self.table.selected()] == chosen:
            self._ask(chosen)  # what is shown may have changed as well
        self._write_buttons()

    def on_list_failed(self, message: str, remedy: str) -> None:
        """Say why the list cannot be read."""
        self._loaded = True
        self._model.show_rows(())
        self.table.empty.set_text(local_text(message), detail=local_text(remedy))
        self._show_state(local_text(message), local_text(remedy))

    def on_card(self, found: ModelCard | AgentCard | CardProblem) -> None:
        """Show a model, or why it cannot be shown; an answer about another one came too late."""
        if self._asked != (found.model_id,):
            return
        if isinstance(found, CardProblem):
            self._show_state(local_text(found.message), local_text(found.remedy))
        elif isinstance(found, AgentCard):
            self.agent.show_card(found)
            self.stack.setCurrentWidget(self.agent)
            self._write_buttons()
        else:
            self.card.show_card(found)
            self.stack.setCurrentWidget(self.card)

    def on_comparison(self, compared: ComparedModels) -> None:
        """Show models side by side."""
        if set(self._asked) == set(compared.model_ids):
            self.comparison.show_models(compared)
            self.stack.setCurrentWidget(self.comparison)

    def set_importing(self, importing: bool) -> None:
        """Say that a model from elsewhere is being checked."""
        self.import_button.setEnabled(not importing)
        if importing:
            self.say(tr("Checking the model from elsewhere …"))

    def set_judging(self, judging: Mapping[str, Judging]) -> None:
        """Show which models are being judged on newer bars, by id, and how far that is."""
        self.card.set_judging(judging)

    def on_judged(self, model_id: str) -> None:
        """Have a model read again that was judged: its card shows the result."""
        if self._asked == (model_id,):
            self._ask(self._asked)

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a line below everything."""
        self.message.setText(text)
        set_look(self.message, "role", "danger" if bad else "small")

    # -- appearance -------------------------------------------------------------------------------------------------

    @Slot()
    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.setWindowTitle(tr("Models"))
        self.import_button.setText(tr("Import…"))
        self.import_button.setToolTip(tr("Take in a model that somebody else exported; it is checked first"))
        self.export_button.setText(tr("Export…"))
        self.export_button.setToolTip(tr("Write this model as one file to give away, without tags and notes"))
        self.look_button.setText(tr("Show on the chart"))
        self.look_button.setToolTip(tr("See what this model says at each closed bar; nothing trades with it"))
        self.replay_button.setText(tr("Replay"))
        self.use_button.setText(tr("Make a strategy…"))
        self.remove_button.setText(tr("Remove…"))
        for button, action in self._actions.items():
            action.setText(button.text())
        self._model.retranslate()
        self.card.retranslate()
        self.agent.retranslate()
        self.comparison.retranslate()
        self._write_empty()
        self._write_buttons()
        if self.stack.currentWidget() is self.state:
            self._show_idle()

    @Slot()
    def refresh_look(self) -> None:
        """Take over the colours of the present theme."""
        self._model.set_palette(self._theme.palette)
        for part in (self.table, self.card, self.agent, self.comparison, self.state):
            part.refresh_look()
        for button, name in (
            (self.import_button, "download"),
            (self.export_button, "upload"),
            (self.look_button, "eye"),
            (self.replay_button, "play"),
            (self.use_button, "bot"),
            (self.remove_button, "trash-2"),
        ):
            button.setIcon(self._theme.icon(name))

    # -- inside -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        tools = ToolRow(self)
        self.import_button = tools.button("models_import")
        tools.add_stretch()
        self.look_button = tools.button("models_look")
        self.replay_button = tools.button("models_replay")
        self.use_button = tools.button("models_use")
        self.export_button = tools.button("models_export")
        self.remove_button = tools.button("models_remove")
        tools.serve(self.table)
        self.import_button.clicked.connect(self._on_import)
        for button, slot in (
            (self.look_button, self._on_look),
            (self.replay_button, self._on_replay),
            (self.use_button, self._on_use),
            (self.export_button, self._on_export),
            (self.remove_button, self._on_remove),
        ):
            action = self._actions[button] = QAction(self)
            button.clicked.connect(slot)
            action.triggered.connect(slot)
        self.table.set_menu(self._menu)
        splitter = QSplitter(Qt.Orientation.Horizontal, self)
        splitter.addWidget(self.table)
        splitter.addWidget(self.stack)
        splitter.setSizes([_LIST_WIDTH, SIZE[0] - _LIST_WIDTH])
        splitter.setStretchFactor(1, 1)
        splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_M, SPACE_M, SPACE_M, SPACE_M)
        layout.addWidget(tools)
        layout.addWidget(splitter, 1)
        layout.addWidget(self.message)

    def _write_empty(self) -> None:
        if self._loaded:
            self.table.empty.set_text(tr("No models are stored yet."), tr("Train a model…"))
        else:
            self.table.empty.set_text(tr("Reading the models …"))

    def _write_buttons(self) -> None:
        chosen = self.table.selected()
        sound = [row for row in chosen if not row.summary.problem]
        one = len(chosen) == 1
        self.look_button.setEnabled(one and bool(sound))
        self._write_agent_buttons(sound[0] if one and sound else None)
        self.export_button.setEnabled(one and bool(sound))
        protected = one and chosen[0].marks.protected
        self.remove_button.setEnabled(one and not protected)
        self.remove_button.setToolTip(
            tr("The tag “keep” protects this model; take it away first.") if protected else tr("Delete this model")
        )

    def _write_agent_buttons(self, row: ModelRow | None) -> None:
        """Offer what depends on an agent's card only once it is there; what cannot be says why."""
        shown = self.agent.card
        is_agent = row is not None and not row.summary.forecasts
        card = shown if row is not None and is_agent and shown is not None and shown.model_id == row.model_id else None
        usable = row is not None and (not is_agent or (card is not None and card.is_tradable))
        self.use_button.setEnabled(usable)
        refused = card is not None and not card.is_tradable
        self.use_button.setToolTip(local_text(card.refusal) if card is not None and refused else "")
        self.replay_button.setEnabled(card is not None and card.curves is not None)
        if card is not None and card.curves is None:
            self.replay_button.setToolTip(tr("This package does not hold the evaluated pass bar by bar."))
        else:
            self.replay_button.setToolTip(tr("Go through this agent's evaluated pass on the chart, bar by bar"))

    def _menu(self) -> list[QAction]:
        for button, action in self._actions.items():
            action.setEnabled(button.isEnabled())
        return list(self._actions.values())

    def _show_idle(self) -> None:
        if not self._asked:
            self._show_state(tr("Choose a model in the list, or several to compare them."))

    def _show_state(self, text: str, detail: str = "") -> None:
        self.state.set_text(text, detail=detail)
        self.stack.setCurrentWidget(self.state)

    def _choose_wanted(self) -> None:
        if self._wanted and self.table.select_key(self._wanted):
            self._wanted = ""

    def _ask(self, model_ids: Sequence[str]) -> None:
        """Have one model read, or several compared."""
        before, self._asked = self._asked, tuple(model_ids)
        if not model_ids:
            self._show_idle()
        elif len(model_ids) == 1:
            shown = [view.card.model_id for view in (self.card, self.agent) if view.card is not None]
            if before != self._asked or model_ids[0] not in shown:
                self._show_state(tr("Reading the model …"))
            self._commands.open_model(model_ids[0])
        else:
            if before != self._asked:
                self._show_state(tr("Reading the models …"))
            self._commands.compare_models(self._asked)

    @Slot()
    def _on_selection(self) -> None:
        self._write_buttons()
        chosen = self.table.selected()
        if len(chosen) > 1:
            broken = [row for row in chosen if row.summary.problem]
            if broken:
                self._asked = ()
                self._show_state(
                    tr("{model} cannot be compared.", model=row_title(broken[0])), local_text(broken[0].summary.problem)
                )
                return
            if len({row.summary.forecasts for row in chosen}) > 1:
                self._asked = ()
                self._show_state(
                    tr("An agent and a forecaster are not measured alike."), tr("Choose models of one kind to compare.")
                )
                return
            if len(chosen) > _MOST_COMPARED:
                self._asked = ()
                self._show_state(tr("Choose at most {n} models to compare.", n=_MOST_COMPARED))
                return
        self._ask([row.model_id for row in chosen])

    @Slot()
    def _on_train(self) -> None:
        self.training_requested.emit()

    @Slot(object, str)
    def _on_marks(self, tags: tuple[str, ...], note: str) -> None:
        view = self.sender()
        if isinstance(view, CardView | AgentView) and view.card is not None:
            self._commands.set_marks(view.card.model_id, tags, note)

    @Slot()
    def _on_look(self) -> None:
        for row in self.table.selected()[:1]:
            self.look_requested.emit(row.model_id)

    @Slot()
    def _on_replay(self) -> None:
        for row in self.table.selected()[:1]:
            self.replay_requested.emit(row.model_id)

    @Slot()
    def _on_judge(self) -> None:
        if self.card.card is not None:
            self._commands.judge_model(self.card.card.model_id)

    @Slot()
    def _on_cancel_judging(self) -> None:
        if self.card.card is not None:
            self._commands.cancel_judging(self.card.card.model_id)

    @Slot()
    def _on_use(self) -> None:
        for row in self.table.selected()[:1]:
            self.strategy_requested.emit(row.model_id)

    @Slot()
    def _on_import(self) -> None:
        picker = existing_file_picker(self, "models_import_file", tr("Import a model"), _model_files())
        picker.fileSelected.connect(self._on_import_chosen)
        picker.open()

    @Slot(str)
    def _on_import_chosen(self, name: str) -> None:
        self._commands.import_model(Path(name))

    @Slot()
    def _on_export(self) -> None:
        for row in self.table.selected()[:1]:
            picker = file_picker(self, "models_export_file", tr("Export the model"), _model_files())
            picker.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
            picker.setOption(QFileDialog.Option.DontConfirmOverwrite)  # what exists is refused, not replaced
            picker.setDefaultSuffix(SUFFIX.removeprefix("."))
            picker.selectFile(f"{row.model_id}{SUFFIX}")
            picker.setProperty("model_id", row.model_id)
            picker.fileSelected.connect(self._on_export_chosen)
            picker.open()

    @Slot(str)
    def _on_export_chosen(self, name: str) -> None:
        picker = self.sender()
        if picker is not None:
            self._commands.export_model(str(picker.property("model_id")), Path(name))

    @Slot()
    def _on_remove(self) -> None:
        for row in self.table.selected()[:1]:
            dialog = ConfirmDialog(
                self,
                name="remove_model_dialog",
                title=tr("Delete this model for good?"),
                text=tr("A strategy that uses it could not start again. A file you exported stays."),
                stakes=(f"{row_title(row)} · {row.model_id}",),
            )
            dialog.offer("remove", tr("Delete"), keep=tr("Keep"), subject=row.model_id)
            dialog.agreed.connect(self._on_remove_agreed)
            dialog.show()

    @Slot(object)
    def _on_remove_agreed(self, model_id: str) -> None:
        self._commands.remove_model(model_id)


def _model_files() -> str:
    return f"{tr('Models')} (*{SUFFIX})"
