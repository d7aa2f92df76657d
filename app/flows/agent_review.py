"""Words for an agent in the training wizard: what the choices mean and what was chosen. Qt-free, any thread."""

from __future__ import annotations

from app.flows.agent_draft import AgentDraft, Direction, Subject, parse_units, parse_whole, universe_spec, weights_of
from app.flows.agent_names import rule_name
from app.flows.datasets import StoredForecaster, date_text
from app.flows.training_flow import TrainingFlow
from app.flows.training_review import ReviewGroup, bars_text, chosen_timeframe, listed, part_title
from app.flows.training_runs import used_markets
from app.i18n import MISSING, format_number, mark, tr, tr_count
from ml.agents.environment_spec import CONTINUOUS, DISCRETE
from ml.agents.run_spec import DDPG, PPO, SAC, TD3
from ml.feature_spec import column_names

SUBJECT_TITLES: dict[Subject, str] = {
    Subject.FORECASTER: mark("A forecaster"),
    Subject.AGENT: mark("An agent"),
    Subject.BOTH: mark("A forecaster, then an agent"),
    Subject.ON_STORED: mark("An agent on a stored forecaster"),
}
SUBJECT_NOTES: dict[Subject, str] = {
    Subject.FORECASTER: mark("It says how the price may go; a strategy of yours makes decisions of that."),
    Subject.AGENT: mark("It decides at every bar how much to hold, and learns that by trading the past."),
    Subject.BOTH: mark("One run fits both: the agent sees the features and what the forecaster says of each bar."),
    Subject.ON_STORED: mark("The agent sees the features and what a forecaster that you have says of each bar."),
}
DIRECTION_TITLES: dict[Direction, str] = {
    Direction.LONG: mark("Long only (spot)"),
    Direction.BOTH: mark("Long and short"),
    Direction.OWN: mark("Limits of your own"),
}
ACTION_TITLES: dict[str, str] = {CONTINUOUS: mark("Any weight"), DISCRETE: mark("A few weights")}
REWARD_TITLES: dict[str, str] = {
    "log_return": mark("Growth of the equity"),
    "vol_scaled": mark("Return over volatility"),
    "differential_sharpe": mark("Gain of Sharpe ratio"),
    "drawdown": mark("Growth less drawdown"),
    "mean_variance": mark("Return less risk"),
}
REWARD_NOTES: dict[str, str] = {
    "log_return": mark("Logarithm of what the equity grew by in each bar, after all costs. The usual choice."),
    "vol_scaled": mark("Return of each bar over the volatility known before it: calm and wild times count alike."),
    "differential_sharpe": mark("What each bar adds to a Sharpe ratio whose memory fades."),
    "drawdown": mark("Growth, less a penalty for each further loss below the highest equity so far."),
    "mean_variance": mark("Return, less a charge for the risk that the position takes."),
}
ALGORITHM_TITLES: dict[str, str] = {PPO: "PPO", DDPG: "DDPG", TD3: "TD3", SAC: "SAC"}
ALGORITHM_NOTES: dict[str, str] = {
    PPO: mark("Learns from what it has just done, in small careful steps. The sturdiest: begin with it."),
    DDPG: mark("Remembers what it did and learns a value of every decision; needs fewer decisions and more computing."),
    TD3: mark("DDPG with two judges, of which the sterner counts: less prone to believe in luck."),
    SAC: mark("As TD3, and paid for keeping its choices open, so that it explores by itself."),
}

# Advanced entries of an agent that the review names where they were changed, with their titles.
FURTHER: dict[str, str] = {
    "start_weight": mark("Weight at the start"),
    "band": mark("Rebalancing band"),
    "impact": mark("Market impact"),
    "impact_exponent": mark("Exponent of the impact"),
    "cash": mark("Equity at the start"),
    "reward_scale": mark("Scale of the reward"),
    "risk_aversion": mark("Risk aversion"),
    "drawdown_penalty": mark("Penalty for drawdown"),
    "sharpe_decay": mark("Decay of the Sharpe ratio"),
    "borrow_base_percent": mark("Borrowed coins (%/bar)"),
    "borrow_quote_percent": mark("Borrowed money (%/bar)"),
    "liquidation_percent": mark("Forced closing (%)"),
    "maintenance_percent": mark("Maintenance margin (%)"),
    "gamma": mark("Discount"),
    "n_steps": mark("Steps between updates"),
    "gae_lambda": mark("Lambda of the advantage"),
    "agent_epochs": mark("Passes over it"),
    "clip_range": mark("Clip range"),
    "entropy": mark("Reward for entropy"),
    "noise": mark("Exploration noise"),
    "learning_starts": mark("Random decisions first"),
    "gradient_steps": mark("Learning steps each"),
    "buffer": mark("Memory (decisions)"),
    "tau": mark("Target share"),
}
_OF_PPO = frozenset({"gae_lambda", "agent_epochs", "clip_range"})
_OFF_POLICY = frozenset({"learning_starts", "gradient_steps", "buffer", "tau"})
_OF_REWARD = {"drawdown": "drawdown_penalty", "mean_variance": "risk_aversion", "differential_sharpe": "sharpe_decay"}
_OF_DEBTS = frozenset({"borrow_base_percent", "borrow_quote_percent", "liquidation_percent", "maintenance_percent"})
_BYTES_A_DECISION = 66  # two rows of the market, two states of the account, action, reward and two marks
_BYTES_A_BAR = 56  # prices, funding and volatility beside the features


def out_of_use(draft: AgentDraft) -> frozenset[str]:
    """Return the entries that mean nothing beside the present choices."""
    unused = set(_OF_PPO if draft.is_off_policy else _OFF_POLICY)
    unused |= {entry for reward, entry in _OF_REWARD.items() if reward != draft.reward}
    if draft.algorithm not in (PPO, SAC):
        unused.add("entropy")
    if draft.direction is not Direction.OWN:
        unused.add("lowest")
    if draft.actions == CONTINUOUS:
        unused.add("levels")
    if draft.random_position:
        unused.add("start_weight")
    if not draft.borrows:
        unused |= _OF_DEBTS
    if not draft.subject.has_encoder:
        unused |= {"encoder_embedding", "encoder_quantiles"}
    if draft.subject is not Subject.AGENT:
        unused.add("further_markets")
    if draft.subject is not Subject.BOTH:
        unused.add("encoder_seeds")
    if draft.subject is not Subject.ON_STORED:
        unused.add("encoder_model")
    return frozenset(unused)


def forecaster_title(item: StoredForecaster) -> str:
    """Return what tells a stored forecaster from others of its market."""
    return tr(
        "{kind}, {horizons} bars ahead, {date} · {model}",
        kind=item.kind.upper(),
        horizons=", ".join(map(str, item.horizons)),
        date=date_text(item.created_ns),
        model=item.model_id[:8],
    )


def spot_warning(draft: AgentDraft) -> str:
    """Say that an agent cannot trade where a spot market allows no such weights; "" where it can."""
    if not draft.subject.trains_agent or not draft.borrows:
        return ""
    return tr(
        "Weights below 0 or above 1 cannot be traded on a spot market: this agent will be judged, but no strategy can "
        "follow it."
    )


def decisions_text(flow: TrainingFlow) -> str:
    """Return how many decisions an agent learns from at most, "—" while that cannot be read."""
    draft = flow.draft.agent
    steps = parse_whole(draft.steps)
    if steps is None:
        return MISSING
    each, networks = format_number(steps), format_number(draft.agent_seeds)
    return tr("at most {each} × {networks} networks", each=each, networks=networks)


def passes_text(flow: TrainingFlow) -> str:
    """Return how often each bar of the training part is met on average, "—" while that cannot be said."""
    steps, effort, usable = parse_whole(flow.draft.agent.steps), flow.estimate(), flow.usable()
    if steps is None or effort is None or usable is None or effort.train_targets <= 0 or not usable.bars:
        return MISSING
    learned = effort.train_targets * (1 + flow.further_bars() / usable.bars)
    return tr("each training bar about {n} times", n=format_number(max(1, round(steps / learned))))


def memory_text(flow: TrainingFlow) -> str:
    """Return about how much memory bars and decisions take beside the program itself, "—" while that is not known."""
    spec, usable, draft = flow.bars_spec(), flow.usable(), flow.draft.agent
    if spec is None or usable is None:
        return MISSING
    held = draft.buffer if draft.is_off_policy else draft.windows * draft.n_steps
    bars = usable.bars + flow.further_bars()
    size = bars * (4 * len(column_names(spec.features)) + _BYTES_A_BAR) + held * _BYTES_A_DECISION
    return tr("about {n} MB", n=format_number(max(1, round(size / 1e6))))


def environment_group(flow: TrainingFlow) -> ReviewGroup:
    """Return what the agent sees, may do, is paid for and charged."""
    draft, timeframe = flow.draft.agent, chosen_timeframe(flow)
    try:
        low, high = weights_of(draft)
        weights = tr("from {low} to {high}", low=f"{low:g}", high=f"{high:g}")
    except ValueError:
        weights = MISSING
    actions = tr(ACTION_TITLES[draft.actions])
    if draft.actions == DISCRETE:
        actions = tr_count("{n} weight", "{n} weights", draft.levels)
    costs = tr(
        "fee {fee} %, half spread {spread} %, slippage {slippage} %",
        fee=draft.taker_percent,
        spread=draft.spread_percent,
        slippage=draft.slippage_percent,
    )
    drawn = (
        tr("as they are") if draft.cost_jitter.strip() in ("", "0") else tr("drawn, jitter {n}", n=draft.cost_jitter)
    )
    begins = tr("random position") if draft.random_position else tr("weight {n}", n=draft.start_weight)
    further = used_markets(flow.draft)
    return ReviewGroup(
        tr("Environment"),
        (
            *([(tr("Learns on too"), listed(further))] if further else []),
            (tr("Weights"), f"{tr(DIRECTION_TITLES[draft.direction])}, {weights}"),
            (tr("Actions"), actions),
            (tr("Reward"), tr(REWARD_TITLES[draft.reward])),
            (tr("Costs"), costs),
            (tr("Costs in training"), drawn),
            (tr("Sees"), _seen(flow)),
            *([(tr("Forecaster"), _stored_title(flow))] if draft.subject is Subject.ON_STORED else []),
            (tr("Episode"), f"{bars_text(draft.episode, timeframe)}, {begins}"),
            (tr("Also changed"), _changed(flow, of_algorithm=False)),
        ),
    )


def algorithm_group(flow: TrainingFlow) -> ReviewGroup:
    """Return how the agent learns."""
    draft = flow.draft.agent
    layers = " × ".join(format_number(units) for units in parse_units(draft.hidden) or ())
    return ReviewGroup(
        tr("Algorithm"),
        (
            (tr("Algorithm"), tr("{name}, layers {layers}", name=ALGORITHM_TITLES[draft.algorithm], layers=layers)),
            (tr("Decisions"), decisions_text(flow)),
            (tr("Meets"), passes_text(flow)),
            (tr("Accounts at once"), format_number(draft.windows)),
            (
                tr("Validations"),
                tr(
                    "{n}, patience {patience}",
                    n=format_number(draft.evaluations),
                    patience=format_number(draft.agent_patience),
                ),
            ),
            (
                tr("Learning rate"),
                tr("{rate}, batch {batch}", rate=draft.agent_learning_rate, batch=format_number(draft.batch)),
            ),
            (tr("First seed"), str(draft.agent_seed)),
            (tr("Also changed"), _changed(flow, of_algorithm=True)),
        ),
    )


def judgement_group(flow: TrainingFlow) -> ReviewGroup:
    """Return how the agent is judged."""
    draft = flow.draft
    return ReviewGroup(
        tr("Evaluation"),
        (
            (tr("Split in time"), ", ".join(part_title(part) for part in flow.split())),
            (tr("Purge"), tr("{bars} bars at each border", bars=format_number(draft.purge_bars))),
            (tr("Compared with"), _rules_text(flow)),
            (tr("Resamples"), format_number(draft.agent.resamples)),
            (tr("Random timings"), format_number(draft.agent.draws)),
        ),
    )


def _rules_text(flow: TrainingFlow) -> str:
    """Return what the agent is measured against, by the names that its result uses."""
    draft = flow.draft.agent
    try:
        shorts = weights_of(draft)[0] < 0
    except ValueError:
        shorts = False
    used = {"flat": True, "hold": True, "short": shorts, "volatility_target": True, "momentum": True}
    used |= {"mean_reversion": True, "forecast_sign": draft.subject.has_encoder}
    return " · ".join((*(rule_name(name) for name, here in used.items() if here), tr("Random timing")))


def _seen(flow: TrainingFlow) -> str:
    """Return what stands in an observation."""
    draft = flow.draft.agent
    seen = [tr_count("{n} bar of features", "{n} bars of features", draft.observed_bars), tr("its own account")]
    if draft.subject.has_encoder and draft.encoder_embedding:
        seen.append(tr("the forecaster's memory"))
    if draft.subject.has_encoder and draft.encoder_quantiles:
        seen.append(tr("its quantiles"))
    return listed(tuple(seen))


def _stored_title(flow: TrainingFlow) -> str:
    wanted = flow.draft.agent.encoder_model
    return next((forecaster_title(item) for item in flow.forecasters() if item.model_id == wanted), MISSING)


def _changed(flow: TrainingFlow, *, of_algorithm: bool) -> str:
    """Name the further settings that are not as usual."""
    names, unused = list(FURTHER), out_of_use(flow.draft.agent)
    middle = names.index("gamma")
    chosen = names[middle:] if of_algorithm else names[:middle]
    found = [name for name in chosen if name not in unused and flow.entry(name) != flow.usual(name)]
    named = tuple(f"{tr(FURTHER[name])} {flow.entry(name)}" for name in found)
    return listed(named if of_algorithm else (*named, *_known_markets(flow)))


def _known_markets(flow: TrainingFlow) -> tuple[str, ...]:
    """Name the rules and the funding of markets that a loaded configuration brought."""
    draft, own = flow.draft.agent, "" if flow.dataset is None else flow.dataset.symbol
    known = universe_spec(draft, own, used_markets(flow.draft))
    rules, funding = (tuple(each.symbol for each in found) for found in (known.rules, known.funding))
    told = (
        (tr("rules of {markets}", markets=listed(rules)), rules),
        (tr("funding of {markets}", markets=listed(funding)), funding),
    )
    return tuple(words for words, markets in told if markets)
