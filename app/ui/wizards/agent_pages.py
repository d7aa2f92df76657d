"""Pages of the training wizard about an agent: what it may do and is paid for, and how it learns. GUI thread only."""

from __future__ import annotations

from app.flows.agent_checks import (
    MAX_AGENT_BATCH,
    MAX_AGENT_EPOCHS,
    MAX_BUFFER,
    MAX_EPISODE,
    MAX_EVALUATIONS,
    MAX_GRADIENT_STEPS,
    MAX_LEVELS,
    MAX_N_STEPS,
    MAX_OBSERVED,
    MAX_STARTS,
    MAX_WINDOWS,
    MIN_BUFFER,
    MIN_EPISODE,
)
from app.flows.agent_draft import Direction
from app.flows.agent_review import (
    ACTION_TITLES,
    ALGORITHM_NOTES,
    ALGORITHM_TITLES,
    DIRECTION_TITLES,
    FURTHER,
    REWARD_NOTES,
    REWARD_TITLES,
    decisions_text,
    memory_text,
    out_of_use,
    passes_text,
    spot_warning,
)
from app.flows.training_checks import MAX_SEED
from app.flows.training_flow import Step, TrainingFlow
from app.flows.training_review import SCHEDULE_TITLES, bars_as_time, chosen_timeframe
from app.i18n import tr
from app.ui.wizards.draft_fields import ChoiceField, NumberField, SwitchField, TextField
from app.ui.wizards.fields import Figure, Form, WheelGuard, card, wrapped_label
from app.ui.wizards.step_page import StepPage
from ml.agents.environment_spec import ACTIONS, REWARDS
from ml.agents.run_spec import ALGORITHMS
from ml.agents.run_spec import SCHEDULES as AGENT_SCHEDULES
from ml.api import MAX_SEEDS


class EnvironmentPage(StepPage):
    """What the agent sees, may do, is paid for and charged."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.ENVIRONMENT, flow, guard)
        self._direction, self._actions = ChoiceField("direction"), ChoiceField("actions")
        self._reward, self._random = ChoiceField("reward"), SwitchField("random_position")
        self._embedding, self._quantiles = SwitchField("encoder_embedding"), SwitchField("encoder_quantiles")
        form = Form()
        self.body.addWidget(form)
        self.add_field(form, "direction", self._direction)
        for name in ("lowest", "highest"):
            self.add_field(form, name, TextField(name))
        self._spot = wrapped_label("warning")
        self._spot.setObjectName("spot_label")
        self.body.addWidget(self._spot)
        form = Form()
        self.body.addWidget(form)
        self.add_field(form, "actions", self._actions)
        self.add_field(form, "levels", NumberField("levels", 2, MAX_LEVELS))
        self.add_field(form, "reward", self._reward)
        for name in ("drawdown_penalty", "risk_aversion", "sharpe_decay"):
            self.add_field(form, name, TextField(name))
        for name in ("taker_percent", "spread_percent", "slippage_percent"):
            self.add_field(form, name, TextField(name))
        self.add_field(form, "encoder_embedding", self._embedding)
        self.add_field(form, "encoder_quantiles", self._quantiles)
        form = self.add_advanced().form
        self.add_field(form, "observed_bars", NumberField("observed_bars", 1, MAX_OBSERVED))
        self.add_field(form, "episode", NumberField("episode", MIN_EPISODE, MAX_EPISODE, step=64))
        self.add_field(form, "random_position", self._random)
        for name in (
            "start_weight",
            "band",
            "cost_jitter",
            "impact",
            "impact_exponent",
            "cash",
            "borrow_base_percent",
            "borrow_quote_percent",
            "maintenance_percent",
            "liquidation_percent",
            "reward_scale",
        ):
            self.add_field(form, name, TextField(name))
        self.body.addStretch(1)

    def retranslate(self) -> None:
        self.set_heading(
            tr("Environment"), tr("The account the agent trades while it learns: what it may do and pays.")
        )
        self._direction.set_choices([(each, tr(DIRECTION_TITLES[each])) for each in Direction])
        self._actions.set_choices([(each, tr(ACTION_TITLES[each])) for each in ACTIONS])
        self._reward.set_choices([(each, tr(REWARD_TITLES[each])) for each in REWARDS])
        self._random.setText(tr("Draw it at random"))
        self._embedding.setText(tr("Seen by the agent"))
        self._quantiles.setText(tr("Seen by the agent"))

    def unused(self) -> frozenset[str]:
        return out_of_use(self._flow.draft.agent)

    def row_texts(self) -> dict[str, tuple[str, str]]:
        return {**self._main_texts(), **self._advanced_texts()}

    def _main_texts(self) -> dict[str, tuple[str, str]]:
        draft = self._flow.draft.agent
        return {
            "direction": (
                tr("&Positions"),
                tr(
                    "A weight is the share of the equity that is held: 0 is nothing, 1 is everything, below 0 is short."
                ),
            ),
            "lowest": (tr("Low&est weight"), tr("The smallest share of the equity; below 0 sells short.")),
            "highest": (
                tr("&Largest weight"),
                tr("The largest share of the equity that is held; above 1 with leverage."),
            ),
            "actions": (
                tr("&Actions"),
                tr("Any weight between the limits, or a few evenly spaced ones. Only PPO learns to choose from a few."),
            ),
            "levels": (tr("N&umber of weights"), tr("Evenly spaced, both limits included. 3 suits most.")),
            "reward": (tr("&Reward"), tr(REWARD_NOTES.get(draft.reward, REWARD_NOTES["log_return"]))),
            "drawdown_penalty": (
                tr(FURTHER["drawdown_penalty"]),
                tr("Charged for each unit by which the drawdown grows."),
            ),
            "risk_aversion": (
                tr(FURTHER["risk_aversion"]),
                tr("Half of it times the square of weight times volatility is charged."),
            ),
            "sharpe_decay": (
                tr(FURTHER["sharpe_decay"]),
                tr("Share of the newest bar in the fading averages: 0.01 remembers about a hundred bars."),
            ),
            "taker_percent": (
                tr("&Fee (%)"),
                tr("Of the value of each trade, as your exchange charges takers."),
            ),
            "spread_percent": (
                tr("&Half spread (%)"),
                tr("Between the middle of the market and the price that is taken."),
            ),
            "slippage_percent": (
                tr("&Slippage (%)"),
                tr("So much further the price moves against whoever takes."),
            ),
            "encoder_embedding": (
                tr("&Memory of the forecaster"),
                tr("What the network remembers of the bars before: many numbers that no one has named."),
            ),
            "encoder_quantiles": (
                tr("Its f&orecast"),
                tr("The quantiles in units of recent volatility: few numbers that mean something."),
            ),
        }

    def _advanced_texts(self) -> dict[str, tuple[str, str]]:
        draft, timeframe = self._flow.draft.agent, chosen_timeframe(self._flow)
        return {
            "observed_bars": (
                tr("Bars in &view"),
                tr(
                    "Bars of features that it sees at once, {time}. Features look back by themselves: 1 suits most.",
                    time=bars_as_time(draft.observed_bars, timeframe),
                ),
            ),
            "episode": (
                tr("Ep&isode (bars)"),
                tr(
                    "After so many bars, {time}, an account starts anew at another place.",
                    time=bars_as_time(draft.episode, timeframe),
                ),
            ),
            "random_position": (
                tr("First posi&tion"),
                tr("Beginning anywhere teaches it what to do with positions it would never have entered."),
            ),
            "start_weight": (tr(FURTHER["start_weight"]), tr("What each episode begins with, entered without cost.")),
            "band": (
                tr(FURTHER["band"]),
                tr("While the weight is nearer to the target than this, nothing is traded. 0 follows every target."),
            ),
            "cost_jitter": (
                tr("Cost jitter"),
                tr("In training, costs are drawn up to 2 to the power of this higher or lower. 0 leaves them."),
            ),
            "impact": (
                tr(FURTHER["impact"]),
                tr("How far an order as large as the volume of its bar moves the price, as a share. 0 is none."),
            ),
            "impact_exponent": (
                tr(FURTHER["impact_exponent"]),
                tr("How the impact grows with the order: 0.5 is the square-root law."),
            ),
            "cash": (tr(FURTHER["cash"]), tr("In quote currency; matters for impact, lots and smallest orders.")),
            "borrow_base_percent": (
                tr(FURTHER["borrow_base_percent"]),
                tr("Of the value of coins that are owed by a short position."),
            ),
            "borrow_quote_percent": (
                tr(FURTHER["borrow_quote_percent"]),
                tr("Of the quote currency that is owed with leverage."),
            ),
            "maintenance_percent": (
                tr(FURTHER["maintenance_percent"]),
                tr("Share of a position's value that the equity must exceed, else it is closed by force."),
            ),
            "liquidation_percent": (
                tr(FURTHER["liquidation_percent"]),
                tr("Of the value of a position that is closed by force."),
            ),
            "reward_scale": (
                tr(FURTHER["reward_scale"]),
                tr("What rewards are multiplied by; 0 takes one over the median volatility of the training bars."),
            ),
        }

    def show_derived(self) -> None:
        words = spot_warning(self._flow.draft.agent)
        self._spot.setText(words)
        self._spot.setVisible(bool(words))


class AlgorithmPage(StepPage):
    """How the agent learns."""

    def __init__(self, flow: TrainingFlow, guard: WheelGuard) -> None:
        super().__init__(Step.ALGORITHM, flow, guard)
        self._algorithm, self._schedule = ChoiceField("algorithm"), ChoiceField("agent_schedule")
        form = Form()
        self.body.addWidget(form)
        self.add_field(form, "algorithm", self._algorithm)
        self.add_field(form, "steps", TextField("steps"))
        self.add_field(form, "agent_seeds", NumberField("agent_seeds", 1, MAX_SEEDS))
        self.add_field(form, "windows", NumberField("windows", 1, MAX_WINDOWS, step=64))
        self.add_field(form, "evaluations", NumberField("evaluations", 1, MAX_EVALUATIONS))
        self.add_field(form, "agent_patience", NumberField("agent_patience", 1, MAX_EVALUATIONS))
        self.add_field(form, "hidden", TextField("hidden"))
        frame, layout = card()
        self._decisions, self._passes, self._memory = Figure(), Figure(), Figure()
        for figure in (self._decisions, self._passes, self._memory):
            layout.addWidget(figure)
        self.body.addWidget(frame)
        form = self.add_advanced().form
        self.add_field(form, "agent_seed", NumberField("agent_seed", 0, MAX_SEED))
        self.add_field(form, "agent_learning_rate", TextField("agent_learning_rate"))
        self.add_field(form, "agent_schedule", self._schedule)
        self.add_field(form, "batch", NumberField("batch", 2, MAX_AGENT_BATCH, step=64))
        self.add_field(form, "gamma", TextField("gamma"))
        self.add_field(form, "n_steps", NumberField("n_steps", 1, MAX_N_STEPS))
        self.add_field(form, "agent_epochs", NumberField("agent_epochs", 1, MAX_AGENT_EPOCHS))
        self.add_field(form, "learning_starts", NumberField("learning_starts", 0, MAX_STARTS, step=1_000))
        self.add_field(form, "gradient_steps", NumberField("gradient_steps", 1, MAX_GRADIENT_STEPS))
        self.add_field(form, "buffer", NumberField("buffer", MIN_BUFFER, MAX_BUFFER, step=100_000))
        for name in ("gae_lambda", "clip_range", "entropy", "noise", "tau"):
            self.add_field(form, name, TextField(name))
        self.body.addStretch(1)

    def retranslate(self) -> None:
        self.set_heading(
            tr("Algorithm"), tr("How the agent learns. Each algorithm brings its usual values: change one at a time.")
        )
        self._algorithm.set_choices([(each, ALGORITHM_TITLES[each]) for each in ALGORITHMS])
        self._schedule.set_choices([(each, _schedule_title(each)) for each in AGENT_SCHEDULES])

    def unused(self) -> frozenset[str]:
        return out_of_use(self._flow.draft.agent)

    def row_texts(self) -> dict[str, tuple[str, str]]:
        return {**self._main_texts(), **self._advanced_texts()}

    def _main_texts(self) -> dict[str, tuple[str, str]]:
        draft = self._flow.draft.agent
        return {
            "algorithm": (tr("&Algorithm"), tr(ALGORITHM_NOTES.get(draft.algorithm, ALGORITHM_NOTES["ppo"]))),
            "steps": (
                tr("&Decisions"),
                tr("Of all accounts together that each network learns from, at most. Stops earlier when it is no use."),
            ),
            "agent_seeds": (
                tr("Net&works"),
                tr(
                    "Trained from different seeds: their mean weight is what trades, their spread shows how much was "
                    "luck. Each one costs the whole time."
                ),
            ),
            "windows": (
                tr("Acc&ounts at once"),
                tr("So many accounts trade at the same time, each at a place of its own in the training part."),
            ),
            "evaluations": (
                tr("&Validations"),
                tr("Passes over the validation part, evenly spread; the network of the best one is kept."),
            ),
            "agent_patience": (
                tr("&Patience (validations)"),
                tr("A network stops after so many of them without a better result."),
            ),
            "hidden": (
                tr("&Hidden layers"),
                tr(
                    "Units of each layer of actor and critic. Market data holds little signal: small ones learn better."
                ),
            ),
        }

    def _advanced_texts(self) -> dict[str, tuple[str, str]]:
        draft = self._flow.draft.agent
        steps_note = (
            tr("Rewards that are summed up before the critic's estimate; more than 1 charges it with later costs.")
            if draft.is_off_policy
            else tr("Decisions of each account between two updates; with all accounts at least one batch.")
        )
        return {
            "agent_seed": (
                tr("&Seed"),
                tr("The same seed and data give the same agent. Further networks count up from it."),
            ),
            "agent_learning_rate": (
                tr("&Learning rate"),
                tr("Step size of the optimiser. Too large: the result jumps. Too small: it crawls."),
            ),
            "agent_schedule": (
                tr("S&chedule"),
                tr("How the step size changes: linear falls to 0 at the last decision; constant stays."),
            ),
            "batch": (tr("Ba&tch (decisions)"), tr("Decisions in each step of the optimiser.")),
            "gamma": (
                tr("D&iscount"),
                tr("What a reward one bar later counts: 0.95 looks ahead about 20 bars, 0.98 about 50."),
            ),
            "n_steps": (tr("Rewards summed up") if draft.is_off_policy else tr(FURTHER["n_steps"]), steps_note),
            "agent_epochs": (tr(FURTHER["agent_epochs"]), tr("How often what was collected is learned from.")),
            "learning_starts": (
                tr(FURTHER["learning_starts"]),
                tr("So many decisions are made by chance before it learns, to see everything once."),
            ),
            "gradient_steps": (
                tr(FURTHER["gradient_steps"]),
                tr("Steps of the optimiser after each decision of all accounts."),
            ),
            "buffer": (tr(FURTHER["buffer"]), tr("So many decisions are remembered; the oldest are forgotten.")),
            "gae_lambda": (
                tr(FURTHER["gae_lambda"]),
                tr("Between believing the critic, 0, and what came of it, 1."),
            ),
            "clip_range": (tr(FURTHER["clip_range"]), tr("How far the policy may move in one update.")),
            "entropy": (tr(FURTHER["entropy"]), tr("Paid for spread-out decisions, so that it goes on trying.")),
            "noise": (
                tr(FURTHER["noise"]),
                tr("Standard deviation of the chance in its decisions while it learns; PPO then learns it."),
            ),
            "tau": (tr(FURTHER["tau"]), tr("Share by which the target networks follow at each step.")),
        }

    def show_derived(self) -> None:
        self._decisions.set_texts(tr("Decisions to learn from"), decisions_text(self._flow))
        self._passes.set_texts(tr("How often it meets the past, if no network stops early"), passes_text(self._flow))
        self._memory.set_texts(tr("Memory for bars and decisions"), memory_text(self._flow))


def _schedule_title(name: str) -> str:
    return tr("Linear") if name == "linear" else tr(SCHEDULE_TITLES[name])
