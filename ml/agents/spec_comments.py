"""What each key of an agent's training configuration means, one short comment per key. Plain values, any thread."""

from __future__ import annotations

from ml.spec_comments import COMMENTS

AGENT_HEADER = (
    "Training configuration of an agent. Read with: train agent --config FILE",
    "What is not written here has the default value of its algorithm; feature columns are written as text.",
)

AGENT_COMMENTS: dict[str, dict[str, str]] = {
    **{section: COMMENTS[section] for section in ("data", "features", "split", "resources")},
    "universe": {
        "symbols": "further markets of the same venue and bar length to learn on and to be judged on",
        "rules": "tick_size, lot_size, min_quantity, min_notional of a market; without them nothing is rounded",
        "funding": "file with the funding rates of a market that is a perpetual",
    },
    "encoder": {
        "model": "id of a stored forecaster whose view of each bar the agent sees too",
        "train_first": "train one before the agent, with the settings of forecaster and fitting",
        "seeds": "networks of that one",
        "embedding": "append its recurrent state",
        "quantiles": "append its forecast quantiles",
    },
    "forecaster": COMMENTS["model"],
    "fitting": COMMENTS["training"],
    "environment": {
        "window": "bars of features in each observation",
        "actions": "continuous (any weight) or discrete (a grid of weights)",
        "levels": "weights in the grid, both ends included",
        "lowest": "weight, share of the equity; below 0 is short",
        "highest": "weight; beyond 1 with leverage",
        "reward": "log_return, vol_scaled, differential_sharpe, drawdown or mean_variance",
        "reward_scale": "what rewards are multiplied by; 0 for one over the median volatility",
        "risk_aversion": "of mean_variance",
        "drawdown_penalty": "of drawdown",
        "sharpe_decay": "of differential_sharpe: share of the newest bar in the averages",
        "episode": "bars until an episode is cut off",
        "start_weight": "position that an episode begins with",
        "random_position": "begin each episode with a position drawn at random",
        "close_out": "sell what is held at the end of an episode; for tasks with an end",
        "cash": "equity that an episode begins with, in quote currency",
        "costs": "of trading and holding, as shares of the value",
        "cost_jitter": "costs are drawn for each episode, up to 2 to the power of this higher or lower",
        "maintenance": "share of a position's value that the equity must exceed",
        "band": "a target is not followed while the weight is nearer to it than this",
    },
    "algorithm": {
        "kind": "ppo, ddpg, td3 or sac",
        "steps": "most decisions that each seed learns from, of all windows together",
        "windows": "accounts that trade at once",
        "hidden": "units of each layer of actor and critic",
        "learning_rate": "of Adam",
        "schedule": "of the learning rate: constant or linear",
        "batch": "decisions per step of the optimiser",
        "gamma": "discount of a reward one bar later",
        "n_steps": "ppo: decisions of each window between updates; else rewards summed up before the estimate",
        "gae_lambda": "ppo: of the advantage",
        "epochs": "ppo: passes over what was collected",
        "clip_range": "ppo: how far the policy may move in one update",
        "entropy": "ppo and sac: reward for spread-out actions",
        "noise": "standard deviation added to actions while learning; ppo begins with it",
        "learning_starts": "not ppo: random decisions before learning starts",
        "gradient_steps": "not ppo: steps of the optimiser after each decision of all windows",
        "buffer": "not ppo: decisions that are remembered",
        "tau": "not ppo: share by which the target networks follow",
        "seeds": "agents trained from different seeds; their mean is stored",
        "seed": "the first one; further seeds count up from it",
        "seeds_at_once": "seeds that learn at the same time, each in a process; 0 chooses; changes nothing they learn",
        "evaluations": "passes over the validation part, spread over the steps",
        "patience": "passes without a better result before a seed stops",
    },
    "evaluation": {
        "resamples": "of each bootstrap",
        "draws": "of the agent's positions at random times",
    },
}
