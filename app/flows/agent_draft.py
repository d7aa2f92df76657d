"""What a person entered about an agent, and the way from it to the parts of an `AgentSpec` and back. Any thread.

Qt-free. As in `app.flows.training_draft`, whose entries stand beside these: texts stay as typed. No entry bears a name
that one of the forecaster's bears, so that a page may hold fields of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from app.flows.typed_numbers import list_text, number_of, percent_text, plain_text, share_of, signed_of
from core.accounting.rules import CostRates
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.run_spec import PPO, AgentEvaluationSpec, AgentSpec, AlgorithmSpec, EncoderSpec
from ml.agents.universe import FundingSource, InstrumentRules, UniverseSpec
from ml.api import ModelSpec, TrainingSpec


class Subject(StrEnum):
    """What is trained."""

    FORECASTER = "forecaster"
    AGENT = "agent"
    BOTH = "both"
    ON_STORED = "on_stored"

    @property
    def trains_forecaster(self) -> bool:
        """Whether the run fits a forecaster."""
        return self in (Subject.FORECASTER, Subject.BOTH)

    @property
    def trains_agent(self) -> bool:
        """Whether the run fits an agent."""
        return self is not Subject.FORECASTER

    @property
    def has_encoder(self) -> bool:
        """Whether an agent sees through a forecaster."""
        return self in (Subject.BOTH, Subject.ON_STORED)


class Direction(StrEnum):
    """Which weights an agent may choose."""

    LONG = "long"
    BOTH = "long_short"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Spare:
    """Parts of a loaded configuration that its run does not use; they are saved as they were."""

    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    forecaster: ModelSpec = field(default_factory=ModelSpec)
    fitting: TrainingSpec = field(default_factory=TrainingSpec)


_ENCODER, _ENVIRONMENT, _COSTS, _JUDGED = EncoderSpec(), EnvironmentSpec(), CostRates(), AgentEvaluationSpec()
_ALGORITHM = AlgorithmSpec()
_KEPT_FOR_ALL = ("algorithm", "agent_seeds", "agent_seed", "seeds_at_once", "evaluations", "agent_patience")


@dataclass(frozen=True, slots=True)
class AgentDraft:
    """What the person entered so far.

    Attributes:
        subject: what is trained.
        encoder_model: id of the stored forecaster, for `Subject.ON_STORED`.
        direction: long only, both ways alike, or a `lowest` weight of its own.
        further_markets: stored ones that it learns on and is judged on too, for `Subject.AGENT`.
        rules / funding: of a loaded configuration, as in `ml.agents.universe.UniverseSpec`.
        maker_fee: of a loaded configuration; agents never rest orders.
        steps / hidden: whole numbers as text.
        seeds_at_once: 0 is automatic.
        shelf: entries of the algorithms that were left for another, by algorithm and name.

    The others are those of `ml.agents.run_spec.AgentSpec`, shares of costs as percentages.
    """

    subject: Subject = Subject.FORECASTER
    encoder_model: str = ""
    encoder_seeds: int = _ENCODER.seeds
    encoder_embedding: bool = _ENCODER.embedding
    encoder_quantiles: bool = _ENCODER.quantiles
    spare: Spare = field(default_factory=Spare)
    further_markets: tuple[str, ...] = ()
    rules: tuple[InstrumentRules, ...] = ()
    funding: tuple[FundingSource, ...] = ()

    observed_bars: int = _ENVIRONMENT.window
    actions: str = _ENVIRONMENT.actions
    levels: int = _ENVIRONMENT.levels
    direction: Direction = Direction.LONG
    highest: str = plain_text(_ENVIRONMENT.highest)
    lowest: str = "0"
    reward: str = _ENVIRONMENT.reward
    reward_scale: str = plain_text(_ENVIRONMENT.reward_scale)
    risk_aversion: str = plain_text(_ENVIRONMENT.risk_aversion)
    drawdown_penalty: str = plain_text(_ENVIRONMENT.drawdown_penalty)
    sharpe_decay: str = plain_text(_ENVIRONMENT.sharpe_decay)
    episode: int = _ENVIRONMENT.episode
    start_weight: str = plain_text(_ENVIRONMENT.start_weight)
    random_position: bool = _ENVIRONMENT.random_position
    cash: str = plain_text(_ENVIRONMENT.cash)
    band: str = plain_text(_ENVIRONMENT.band)
    cost_jitter: str = plain_text(_ENVIRONMENT.cost_jitter)
    taker_percent: str = percent_text(_COSTS.taker_fee)
    spread_percent: str = percent_text(_COSTS.half_spread)
    slippage_percent: str = percent_text(_COSTS.slippage)
    impact: str = plain_text(_COSTS.impact)
    impact_exponent: str = plain_text(_COSTS.impact_exponent)
    borrow_base_percent: str = percent_text(_COSTS.borrow_base)
    borrow_quote_percent: str = percent_text(_COSTS.borrow_quote)
    liquidation_percent: str = percent_text(_COSTS.liquidation_fee)
    maintenance_percent: str = percent_text(_ENVIRONMENT.maintenance)
    maker_fee: float = _COSTS.maker_fee

    algorithm: str = _ALGORITHM.kind
    steps: str = str(_ALGORITHM.steps)
    windows: int = _ALGORITHM.windows
    hidden: str = list_text(_ALGORITHM.hidden)
    agent_learning_rate: str = plain_text(_ALGORITHM.learning_rate)
    agent_schedule: str = _ALGORITHM.schedule
    batch: int = _ALGORITHM.batch
    gamma: str = plain_text(_ALGORITHM.gamma)
    n_steps: int = _ALGORITHM.n_steps
    gae_lambda: str = plain_text(_ALGORITHM.gae_lambda)
    agent_epochs: int = _ALGORITHM.epochs
    clip_range: str = plain_text(_ALGORITHM.clip_range)
    entropy: str = plain_text(_ALGORITHM.entropy)
    noise: str = plain_text(_ALGORITHM.noise)
    learning_starts: int = _ALGORITHM.learning_starts
    gradient_steps: int = _ALGORITHM.gradient_steps
    buffer: int = _ALGORITHM.buffer
    tau: str = plain_text(_ALGORITHM.tau)
    agent_seeds: int = _ALGORITHM.seeds
    agent_seed: int = _ALGORITHM.seed
    seeds_at_once: int = _ALGORITHM.seeds_at_once
    evaluations: int = _ALGORITHM.evaluations
    agent_patience: int = _ALGORITHM.patience

    resamples: int = _JUDGED.resamples
    draws: int = _JUDGED.draws
    shelf: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_off_policy(self) -> bool:
        """Whether the chosen algorithm learns from what earlier policies did."""
        return self.algorithm != PPO

    @property
    def borrows(self) -> bool:
        """Whether an account may owe coins or money: a market at the spot lets nobody do either."""
        try:
            low, high = weights_of(self)
        except ValueError:
            return True  # a weight that cannot be read hides nothing
        return low < 0 or high > 1


DEFAULT_AGENT = AgentDraft()
AGENT_ENTRIES = frozenset(each.name for each in fields(AgentDraft)) - {
    "spare",
    "shelf",
    "maker_fee",
    "rules",
    "funding",
}


def with_changes(draft: AgentDraft, **changes: Any) -> AgentDraft:
    """Return a draft with other entries; another algorithm brings its own, those last entered or its defaults."""
    kind = changes.pop("algorithm", draft.algorithm)
    if kind != draft.algorithm:
        present = {name: getattr(draft, name) for name in algorithm_entries(AlgorithmSpec.of(kind))}
        left = {name: value for name, value in present.items() if name not in _KEPT_FOR_ALL}
        taken = draft.shelf.get(kind, algorithm_entries(AlgorithmSpec.of(kind)))
        own = {name: value for name, value in taken.items() if name not in _KEPT_FOR_ALL}
        shelf = MappingProxyType({**draft.shelf, draft.algorithm: left})
        draft = replace(draft, algorithm=kind, shelf=shelf, **own)
    if changes.get("direction") is Direction.OWN and draft.direction is not Direction.OWN and "lowest" not in changes:
        changes["lowest"] = _lowest_text(draft)  # what the choice before meant
    return replace(draft, **changes)


def default_of(name: str, draft: AgentDraft) -> Any:
    """Return what an entry is where nobody changed it; the algorithm has defaults of its own."""
    return algorithm_entries(AlgorithmSpec.of(draft.algorithm)).get(name, getattr(DEFAULT_AGENT, name))


def parse_units(text: str) -> tuple[int, ...] | None:
    """Read comma-separated whole numbers, None where the text is anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        return None
    return tuple(int(word) for word in words)


def parse_whole(text: str) -> int | None:
    """Read a whole number of up to fifteen digits, None where the text is anything else."""
    body = text.strip()
    return int(body) if body.isascii() and body.isdigit() and len(body) <= 15 else None


def weights_of(draft: AgentDraft) -> tuple[float, float]:
    """Return the lowest and the highest weight that may be chosen.

    Raises:
        AmountError: a text is no number.
    """
    highest = signed_of(draft.highest)
    if draft.direction is Direction.LONG:
        return 0.0, highest
    return (-highest if draft.direction is Direction.BOTH else signed_of(draft.lowest)), highest


def _lowest_text(draft: AgentDraft) -> str:
    try:
        return plain_text(weights_of(draft)[0])
    except ValueError:
        return draft.lowest


# --- to the specification -----------------------------------------------------------------------------------------


def encoder_spec(draft: AgentDraft) -> EncoderSpec:
    """Return what an agent sees through."""
    if not draft.subject.has_encoder:
        return draft.spare.encoder
    trained = draft.subject is Subject.BOTH
    return EncoderSpec(
        model="" if trained else draft.encoder_model,
        train_first=trained,
        seeds=draft.encoder_seeds,
        embedding=draft.encoder_embedding,
        quantiles=draft.encoder_quantiles,
    )


def universe_spec(draft: AgentDraft, own: str, further: tuple[str, ...]) -> UniverseSpec:
    """Return what an agent learns on beside its own market, with what is known of the markets that are used."""
    used = {own, *further}
    return UniverseSpec(
        symbols=further,
        rules=tuple(each for each in draft.rules if each.symbol in used),
        funding=tuple(each for each in draft.funding if each.symbol in used),
    )


def environment_spec(draft: AgentDraft) -> EnvironmentSpec:
    """Return the environment of a draft whose texts were found right."""
    lowest, highest = weights_of(draft)
    costs = CostRates(
        taker_fee=share_of(draft.taker_percent),
        maker_fee=draft.maker_fee,
        half_spread=share_of(draft.spread_percent),
        slippage=share_of(draft.slippage_percent),
        impact=number_of(draft.impact),
        impact_exponent=number_of(draft.impact_exponent),
        borrow_base=share_of(draft.borrow_base_percent),
        borrow_quote=share_of(draft.borrow_quote_percent),
        liquidation_fee=share_of(draft.liquidation_percent),
    )
    return EnvironmentSpec(
        window=draft.observed_bars,
        actions=draft.actions,
        levels=draft.levels,
        lowest=lowest,
        highest=highest,
        reward=draft.reward,
        reward_scale=number_of(draft.reward_scale),
        risk_aversion=number_of(draft.risk_aversion),
        drawdown_penalty=number_of(draft.drawdown_penalty),
        sharpe_decay=number_of(draft.sharpe_decay),
        episode=draft.episode,
        start_weight=signed_of(draft.start_weight),
        random_position=draft.random_position,
        cash=number_of(draft.cash),
        costs=costs,
        cost_jitter=number_of(draft.cost_jitter),
        maintenance=share_of(draft.maintenance_percent),
        band=number_of(draft.band),
    )


def algorithm_spec(draft: AgentDraft) -> AlgorithmSpec:
    """Return the algorithm of a draft whose texts were found right."""
    return AlgorithmSpec(
        kind=draft.algorithm,
        steps=parse_whole(draft.steps) or 0,
        windows=draft.windows,
        hidden=parse_units(draft.hidden) or (),
        learning_rate=number_of(draft.agent_learning_rate),
        schedule=draft.agent_schedule,
        batch=draft.batch,
        gamma=number_of(draft.gamma),
        n_steps=draft.n_steps,
        gae_lambda=number_of(draft.gae_lambda),
        epochs=draft.agent_epochs,
        clip_range=number_of(draft.clip_range),
        entropy=number_of(draft.entropy),
        noise=number_of(draft.noise),
        learning_starts=draft.learning_starts,
        gradient_steps=draft.gradient_steps,
        buffer=draft.buffer,
        tau=number_of(draft.tau),
        seeds=draft.agent_seeds,
        seed=draft.agent_seed,
        seeds_at_once=draft.seeds_at_once,
        evaluations=draft.evaluations,
        patience=draft.agent_patience,
    )


def judgement_spec(draft: AgentDraft) -> AgentEvaluationSpec:
    """Return how the agent is judged."""
    return AgentEvaluationSpec(draft.resamples, draft.draws)


# --- and back -----------------------------------------------------------------------------------------------------


def agent_draft_of(spec: AgentSpec, before: AgentDraft = DEFAULT_AGENT) -> AgentDraft:
    """Return the draft that builds the agent's part of a specification; what it says nothing of stays as `before`."""
    encoder = spec.encoder
    spare = Spare(
        encoder=EncoderSpec() if encoder.is_used else encoder,
        forecaster=ModelSpec() if encoder.train_first else spec.forecaster,
        fitting=TrainingSpec() if encoder.train_first else spec.fitting,
    )
    subject = Subject.BOTH if encoder.train_first else Subject.ON_STORED if encoder.model else Subject.AGENT
    return replace(
        before,
        subject=subject,
        encoder_model=encoder.model or before.encoder_model,
        encoder_seeds=encoder.seeds,
        encoder_embedding=encoder.embedding,
        encoder_quantiles=encoder.quantiles,
        spare=spare,
        further_markets=spec.universe.symbols,
        rules=spec.universe.rules,
        funding=spec.universe.funding,
        **_environment_entries(spec.environment),
        **algorithm_entries(spec.algorithm),
        resamples=spec.evaluation.resamples,
        draws=spec.evaluation.draws,
    )


def _environment_entries(spec: EnvironmentSpec) -> dict[str, Any]:
    costs, direction = spec.costs, Direction.OWN
    if spec.lowest == 0:
        direction = Direction.LONG
    elif spec.lowest == -spec.highest:
        direction = Direction.BOTH
    return {
        "observed_bars": spec.window,
        "actions": spec.actions,
        "levels": spec.levels,
        "direction": direction,
        "lowest": plain_text(spec.lowest),
        "highest": plain_text(spec.highest),
        "reward": spec.reward,
        "reward_scale": plain_text(spec.reward_scale),
        "risk_aversion": plain_text(spec.risk_aversion),
        "drawdown_penalty": plain_text(spec.drawdown_penalty),
        "sharpe_decay": plain_text(spec.sharpe_decay),
        "episode": spec.episode,
        "start_weight": plain_text(spec.start_weight),
        "random_position": spec.random_position,
        "cash": plain_text(spec.cash),
        "band": plain_text(spec.band),
        "cost_jitter": plain_text(spec.cost_jitter),
        "taker_percent": percent_text(costs.taker_fee),
        "spread_percent": percent_text(costs.half_spread),
        "slippage_percent": percent_text(costs.slippage),
        "impact": plain_text(costs.impact),
        "impact_exponent": plain_text(costs.impact_exponent),
        "borrow_base_percent": percent_text(costs.borrow_base),
        "borrow_quote_percent": percent_text(costs.borrow_quote),
        "liquidation_percent": percent_text(costs.liquidation_fee),
        "maintenance_percent": percent_text(spec.maintenance),
        "maker_fee": costs.maker_fee,
    }


def algorithm_entries(spec: AlgorithmSpec) -> dict[str, Any]:
    """Return the entries that build an algorithm."""
    return {
        "algorithm": spec.kind,
        "steps": str(spec.steps),
        "windows": spec.windows,
        "hidden": list_text(spec.hidden),
        "agent_learning_rate": plain_text(spec.learning_rate),
        "agent_schedule": spec.schedule,
        "batch": spec.batch,
        "gamma": plain_text(spec.gamma),
        "n_steps": spec.n_steps,
        "gae_lambda": plain_text(spec.gae_lambda),
        "agent_epochs": spec.epochs,
        "clip_range": plain_text(spec.clip_range),
        "entropy": plain_text(spec.entropy),
        "noise": plain_text(spec.noise),
        "learning_starts": spec.learning_starts,
        "gradient_steps": spec.gradient_steps,
        "buffer": spec.buffer,
        "tau": plain_text(spec.tau),
        "agent_seeds": spec.seeds,
        "agent_seed": spec.seed,
        "seeds_at_once": spec.seeds_at_once,
        "evaluations": spec.evaluations,
        "agent_patience": spec.patience,
    }
