"""What is wrong with the entries about an agent: one sentence and the field it is about. Qt-free, pure, any thread."""

from __future__ import annotations

from collections.abc import Sequence

from app.flows.agent_draft import (
    AgentDraft,
    Direction,
    Subject,
    algorithm_spec,
    environment_spec,
    parse_units,
    parse_whole,
    universe_spec,
    weights_of,
)
from app.flows.amount import Sentence
from app.flows.datasets import StoredForecaster, date_text
from app.flows.sentence_text import CoreSentence
from app.flows.training_checks import MAX_SEED, Problem, first, number, whole
from app.flows.typed_numbers import parse_signed
from app.i18n import format_number, mark
from core.errors import UserError
from ml.agents.environment_spec import DISCRETE
from ml.agents.run_spec import PPO, SAC
from ml.api import MAX_SEEDS, DataRange

MAX_OBSERVED, MAX_LEVELS, MIN_EPISODE, MAX_EPISODE = 1_024, 1_001, 2, 10_000_000
MAX_WINDOWS, MAX_AGENT_BATCH, MAX_N_STEPS, MAX_AGENT_EPOCHS = 1 << 20, 1 << 24, 100_000, 1_000
MAX_EVALUATIONS, MAX_GRADIENT_STEPS, MIN_BUFFER, MAX_BUFFER = 10_000, 100_000, 1_000, 100_000_000
MIN_STEPS, MAX_STEPS, MAX_STARTS = 1_000, 10**12, 2**31 - 1
MIN_RESAMPLES, MIN_DRAWS, MAX_RESAMPLES = 100, 39, 100_000
_MAX_UNITS, _MAX_HIDDEN_LAYERS = 4_096, 8

_STEPS = mark("Decisions to learn from are a whole number from {low} to {high}, without separators.")
_HIDDEN = mark("Hidden layers are 1 to 8 whole numbers from 2 to 4,096, for example 64, 64.")


def encoder_problem(draft: AgentDraft, fitting: Sequence[StoredForecaster], *, read: bool) -> Problem | None:
    """Return what is wrong with the stored forecaster that an agent is to see through.

    Args:
        draft: the entries.
        fitting: those of the chosen market and bar length.
        read: whether it is known already which there are.
    """
    if draft.subject is not Subject.ON_STORED:
        return None
    if not read:
        return Problem(Sentence(mark("The stored models are being read.")), "encoder_model", passing=True)
    if not fitting:
        sentence = mark(
            "No forecaster of this market and bar length is stored: train one first, or choose another market."
        )
        return Problem(Sentence(sentence), "encoder_model")
    if not any(item.model_id == draft.encoder_model for item in fitting):
        return Problem(Sentence(mark("Choose the stored forecaster that the agent sees through.")), "encoder_model")
    return None


def universe_problem(draft: AgentDraft, data: DataRange, further: tuple[str, ...]) -> Problem | None:
    """Return what is wrong with the markets that an agent learns on beside that of `data`."""
    try:
        universe_spec(draft, data.symbol, further).validate(data)
    except UserError as exc:
        return Problem(CoreSentence(str(exc)), "further_markets")
    return None


def encoder_borders_problem(forecaster: StoredForecaster, valid_ns: int, test_ns: int) -> Problem | None:
    """Say where an agent would be judged on bars that its forecaster has learned from.

    Args:
        forecaster: it sees through this one.
        valid_ns / test_ns: days on which validation and test begin, ns UTC.
    """
    for field, begins, known in (
        ("valid_from", valid_ns, forecaster.learned_ns),
        ("test_from", test_ns, forecaster.chosen_ns),
    ):
        if begins <= known:
            sentence = mark("The stored forecaster knows bars up to {date}: let this part begin later.")
            return Problem(Sentence(sentence, {"date": date_text(known)}), field)
    return None


def environment_problem(draft: AgentDraft) -> Problem | None:
    """Return what is wrong with the environment."""
    found = first(
        whole(
            draft.observed_bars,
            1,
            MAX_OBSERVED,
            mark("The agent sees {low} to {high} bars at once."),
            field="observed_bars",
        ),
        _weights_problem(draft),
        whole(
            draft.levels,
            2,
            MAX_LEVELS,
            mark("There must be {low} to {high} weights to choose from."),
            field="levels",
        ),
        _reward_problem(draft),
        whole(
            draft.episode, MIN_EPISODE, MAX_EPISODE, mark("An episode must be {low} to {high} bars."), field="episode"
        ),
        _costs_problem(draft),
        _account_problem(draft),
    )
    if found is None and draft.subject.has_encoder and not (draft.encoder_embedding or draft.encoder_quantiles):
        sentence = mark("Nothing of the forecaster is used: let the agent see its memory or its quantiles.")
        return Problem(Sentence(sentence), "encoder_embedding")
    if found is not None:
        return found
    try:
        environment_spec(draft).validate()
    except UserError as exc:
        return Problem(CoreSentence(str(exc)), "maintenance_percent")
    return None


def _weights_problem(draft: AgentDraft) -> Problem | None:
    weight = mark("A weight must be a number from {low} to {high}.")
    own = draft.direction is Direction.OWN
    found = first(
        number(draft.highest, "-125", "125", weight, field="highest", parse=parse_signed),
        number(draft.lowest, "-125", "125", weight, field="lowest", parse=parse_signed) if own else None,
    )
    if found is not None:
        return found
    low, high = weights_of(draft)
    if low >= high:
        if own:
            return Problem(Sentence(mark("The lowest weight must be below the largest.")), "lowest")
        return Problem(Sentence(mark("The largest weight must be above 0.")), "highest")
    outside = mark("The weight at the start must be a number from {low} to {high}.")
    return number(draft.start_weight, f"{low:g}", f"{high:g}", outside, field="start_weight", parse=parse_signed)


def _reward_problem(draft: AgentDraft) -> Problem | None:
    return first(
        number(
            draft.reward_scale,
            "0",
            "1000000000",
            mark("The scale of the reward must be a number from {low} to {high}."),
            field="reward_scale",
        ),
        number(
            draft.drawdown_penalty,
            "0",
            "1000",
            mark("The penalty must be a number from {low} to {high}."),
            field="drawdown_penalty",
        ),
        number(
            draft.risk_aversion,
            "0",
            "1000000000",
            mark("The risk aversion must be a number from {low} to {high}."),
            field="risk_aversion",
        ),
        number(
            draft.sharpe_decay,
            "0.00001",
            "0.5",
            mark("The decay must be a number from {low} to {high}."),
            field="sharpe_decay",
        ),
    )


def _costs_problem(draft: AgentDraft) -> Problem | None:
    cost = mark("The cost must be a percentage from {low} to {high}.")
    shares = ("taker_percent", "spread_percent", "slippage_percent")
    owed = ("borrow_base_percent", "borrow_quote_percent", "liquidation_percent")
    return first(
        *(number(getattr(draft, name), "0", "99", cost, field=name) for name in (*shares, *owed)),
        number(
            draft.impact,
            "0",
            "1000000",
            mark("The market impact must be a number from {low} to {high}."),
            field="impact",
        ),
        number(
            draft.impact_exponent,
            "0",
            "1.99",
            mark("The exponent must be a number from {low} to {high}."),
            field="impact_exponent",
        ),
        number(
            draft.cost_jitter,
            "0",
            "4",
            mark("The cost jitter must be a number from {low} to {high}."),
            field="cost_jitter",
        ),
    )


def _account_problem(draft: AgentDraft) -> Problem | None:
    return first(
        number(
            draft.cash,
            "0.000001",
            "1000000000000000",
            mark("The equity must be a number from {low} to {high}."),
            field="cash",
        ),
        number(draft.band, "0", "2", mark("The band must be a number from {low} to {high}."), field="band"),
        number(
            draft.maintenance_percent,
            "0",
            "99",
            mark("The maintenance margin must be a percentage from {low} to {high}."),
            field="maintenance_percent",
        ),
    )


def algorithm_problem(draft: AgentDraft) -> Problem | None:
    """Return what is wrong with the algorithm."""
    steps, hidden = parse_whole(draft.steps), parse_units(draft.hidden)
    if steps is None or not MIN_STEPS <= steps <= MAX_STEPS:
        limits = {"low": format_number(MIN_STEPS), "high": format_number(MAX_STEPS)}
        return Problem(Sentence(_STEPS, limits), "steps")
    if hidden is None or len(hidden) > _MAX_HIDDEN_LAYERS or not all(2 <= units <= _MAX_UNITS for units in hidden):
        return Problem(Sentence(_HIDDEN), "hidden")
    if draft.actions == DISCRETE and draft.is_off_policy:
        sentence = mark("This algorithm chooses any weight, not one of a few: choose PPO, or any weight.")
        return Problem(Sentence(sentence), "algorithm")
    own = _off_policy_problem if draft.is_off_policy else _on_policy_problem
    found = _counts_problem(draft) or _learning_problem(draft) or own(draft, steps)
    if found is not None:
        return found
    try:
        algorithm_spec(draft).validate()
    except UserError as exc:
        return Problem(CoreSentence(str(exc)), "batch")
    return None


def _counts_problem(draft: AgentDraft) -> Problem | None:
    return first(
        whole(draft.windows, 1, MAX_WINDOWS, mark("{low} to {high} accounts can trade at once."), field="windows"),
        whole(draft.agent_seeds, 1, MAX_SEEDS, mark("Train {low} to {high} networks."), field="agent_seeds"),
        whole(draft.agent_seed, 0, MAX_SEED, mark("The seed must be {low} to {high}."), field="agent_seed"),
        whole(
            draft.evaluations,
            1,
            MAX_EVALUATIONS,
            mark("The validation part can be walked through {low} to {high} times."),
            field="evaluations",
        ),
        whole(
            draft.agent_patience,
            1,
            MAX_EVALUATIONS,
            mark("The patience must be {low} to {high} validations."),
            field="agent_patience",
        ),
        whole(draft.batch, 2, MAX_AGENT_BATCH, mark("The batch must be {low} to {high} decisions."), field="batch"),
        whole(draft.n_steps, 1, MAX_N_STEPS, mark("This must be {low} to {high} steps."), field="n_steps"),
    )


def _learning_problem(draft: AgentDraft) -> Problem | None:
    return first(
        number(
            draft.agent_learning_rate,
            "0.0000001",
            "1",
            mark("The learning rate must be a number from {low} to {high}."),
            field="agent_learning_rate",
        ),
        number(draft.gamma, "0", "1", mark("The discount must be a number from {low} to {high}."), field="gamma"),
        number(
            draft.entropy,
            "0",
            "10",
            mark("The reward for entropy must be a number from {low} to {high}."),
            field="entropy",
        ),
        number(
            draft.noise,
            "0" if draft.is_off_policy else "0.01",
            "2",
            mark("The exploration noise must be a number from {low} to {high}."),
            field="noise",
        ),
    )


def _on_policy_problem(draft: AgentDraft, steps: int) -> Problem | None:
    found = first(
        number(
            draft.gae_lambda,
            "0",
            "1",
            mark("The lambda of the advantage must be a number from {low} to {high}."),
            field="gae_lambda",
        ),
        whole(
            draft.agent_epochs, 1, MAX_AGENT_EPOCHS, mark("Pass over it {low} to {high} times."), field="agent_epochs"
        ),
        number(
            draft.clip_range,
            "0.001",
            "10",
            mark("The clip range must be a number from {low} to {high}."),
            field="clip_range",
        ),
    )
    if found is not None:
        return found
    collected = draft.windows * draft.n_steps
    values = {"windows": draft.windows, "collected": collected, "batch": draft.batch, "steps": steps}
    told = {name: format_number(value) for name, value in values.items()}
    if collected > steps:
        sentence = mark(
            "{windows} accounts make {collected} decisions between two updates, more than the {steps} of the whole "
            "run: take fewer accounts or more decisions."
        )
        return Problem(Sentence(sentence, told), "windows")
    if draft.batch > collected:
        sentence = mark(
            "{windows} accounts make {collected} decisions between two updates: the batch cannot be larger than that."
        )
        return Problem(Sentence(sentence, told), "batch")
    return None


def _off_policy_problem(draft: AgentDraft, steps: int) -> Problem | None:
    found = first(
        whole(
            draft.gradient_steps,
            1,
            MAX_GRADIENT_STEPS,
            mark("Learn {low} to {high} times after each decision."),
            field="gradient_steps",
        ),
        whole(
            draft.buffer,
            MIN_BUFFER,
            MAX_BUFFER,
            mark("The memory must hold {low} to {high} decisions."),
            field="buffer",
        ),
        number(
            draft.tau,
            "0.000001",
            "1",
            mark("The share by which targets follow must be a number from {low} to {high}."),
            field="tau",
        ),
    )
    if found is not None:
        return found
    if not draft.windows <= draft.learning_starts < steps:
        sentence = mark(
            "The random decisions before learning must be at least one of each account, {low}, and fewer than all "
            "{high}."
        )
        limits = {"low": format_number(draft.windows), "high": format_number(steps)}
        return Problem(Sentence(sentence, limits), "learning_starts")
    if draft.batch > draft.buffer:
        return Problem(Sentence(mark("The batch cannot be larger than the memory.")), "batch")
    return None


def judgement_problem(draft: AgentDraft) -> Problem | None:
    """Return what is wrong with how the agent is judged."""
    return first(
        whole(
            draft.resamples, MIN_RESAMPLES, MAX_RESAMPLES, mark("Resample {low} to {high} times."), field="resamples"
        ),
        whole(draft.draws, MIN_DRAWS, MAX_RESAMPLES, mark("Draw {low} to {high} times."), field="draws"),
    )


def uses_entropy(draft: AgentDraft) -> bool:
    """Whether the chosen algorithm rewards spread-out actions."""
    return draft.algorithm in (PPO, SAC)
