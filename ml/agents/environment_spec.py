"""What a trading agent's environment is told: what it sees, may do, is paid for and charged. Any thread; torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from core.accounting.rules import CostRates, MarketRules
from ml.checks import in_range, one_of, require
from ml.jsonvalues import JsonValue

CONTINUOUS, DISCRETE = "continuous", "discrete"
ACTIONS = (CONTINUOUS, DISCRETE)
# What an agent sees of its account, in order, and how many volatilities of unrealised profit it tells apart.
ACCOUNT_NAMES = ("weight", "unrealised", "bars_since_change", "drawdown", "margin_left")
MOST_UNREALISED = 10.0
_NOTHING = 1e-12  # of the range of weights: rounding
REWARDS = ("log_return", "vol_scaled", "differential_sharpe", "drawdown", "mean_variance")


@dataclass(frozen=True, slots=True)
class EnvironmentSpec(JsonValue):
    """The environment an agent learns in.

    Attributes:
        window: bars of features in each observation, the newest last.
        actions: "continuous" (any weight) or "discrete" (a grid of weights).
        levels: size of the grid, evenly spaced, both ends included.
        lowest / highest: weights, shares of the equity; below 0 is short, beyond 1 with leverage.
        reward: "log_return" (logarithm of the equity's growth, net of all costs), "vol_scaled" (simple return over the
            volatility known when it was decided), "differential_sharpe" (what the bar adds to a Sharpe ratio with
            fading memory, Moody and Saffell), "drawdown" (log return less a penalty for each further drawdown) or
            "mean_variance" (simple return less a charge for the risk taken).
        reward_scale: what rewards are multiplied by; 0 for one over the median volatility of the training bars.
        risk_aversion: of "mean_variance": half of it times the square of weight times volatility is charged.
        drawdown_penalty: of "drawdown": for each unit that the drawdown grows.
        sharpe_decay: of "differential_sharpe": share of the newest bar in the fading averages.
        episode: bars until an episode is cut off.
        start_weight: position that an episode begins with, entered at the mark without cost.
        random_position: draw it for each episode from what the actions allow instead.
        close_out: a task with an end: what is held there is sold with all costs, the end is final, and the observation
            holds the share of time that is left. Episodes then all have the full length.
        cash: equity that an episode begins with, in quote currency; matters for impact, lots and minimums.
        costs: of trading and holding.
        cost_jitter: costs of trading are drawn for each episode, log-uniform between 2 to the power of minus and plus
            this.
        maintenance: share of a position's value that the equity must exceed.
        band: a target is not followed while the weight is nearer to it than this.
    """

    window: int = 1
    actions: str = CONTINUOUS
    levels: int = 3
    lowest: float = -1.0
    highest: float = 1.0
    reward: str = "log_return"
    reward_scale: float = 0.0
    risk_aversion: float = 1.0
    drawdown_penalty: float = 1.0
    sharpe_decay: float = 0.01
    episode: int = 512
    start_weight: float = 0.0
    random_position: bool = False
    close_out: bool = False
    cash: float = 10_000.0
    costs: CostRates = field(default_factory=CostRates)
    cost_jitter: float = 0.0
    maintenance: float = 0.0
    band: float = 0.0

    @property
    def is_discrete(self) -> bool:
        """Whether actions are numbers of a grid's levels."""
        return self.actions == DISCRETE

    def validate(self) -> None:
        """Raise `UserError` for an environment that cannot be built."""
        in_range(self.window, 1, 1_024, "observation window", "bars")
        one_of(self.actions, ACTIONS, "kind of actions")
        in_range(self.levels, 2, 1_001, "number of action levels", "levels")
        one_of(self.reward, REWARDS, "reward")
        in_range(self.lowest, -125.0, 125.0, "lowest weight", "")
        in_range(self.highest, -125.0, 125.0, "highest weight", "")
        require(self.lowest < self.highest, "The lowest weight must be below the highest.", "Example: -1 and 1.")
        in_range(self.start_weight, self.lowest, self.highest, "weight at the start", "")
        in_range(self.reward_scale, 0.0, 1e9, "reward scale", "")
        in_range(self.risk_aversion, 0.0, 1e9, "risk aversion", "")
        in_range(self.drawdown_penalty, 0.0, 1_000.0, "drawdown penalty", "")
        in_range(self.sharpe_decay, 1e-5, 0.5, "decay of the Sharpe ratio", "")
        in_range(self.episode, 2, 10_000_000, "episode length", "bars")
        in_range(self.cash, 1e-6, 1e15, "cash at the start", "")
        in_range(self.cost_jitter, 0.0, 4.0, "cost jitter", "")
        in_range(self.band, 0.0, 2.0, "rebalancing band", "")
        self.costs.validate()
        self.rules().validate()

    def rules(self, market: MarketRules | None = None) -> MarketRules:
        """Return a market's rules with the leverage, margin and band of this environment.

        Args:
            market: knows ticks, lots and minimums; None for a market that does not round.
        """
        return replace(
            market or MarketRules(),
            max_leverage=max(1.0, abs(self.lowest), abs(self.highest)),
            maintenance=self.maintenance,
            allows_short=self.lowest < 0,
            band=self.band,
        )


def weight_grid(lowest: float, highest: float, levels: int) -> tuple[float, ...]:
    """Return evenly spaced weights, both ends included.

    Holding nothing is 0 and no rounding of it: that would be a position, traded anew at every bar.
    """
    width = highest - lowest
    values = [*(lowest + width * level / (levels - 1) for level in range(levels - 1)), highest]
    return tuple(0.0 if abs(value) < _NOTHING * width else value for value in values)
