"""How each algorithm learns unless told otherwise. Any thread; torch-free.

PPO passes the known tasks with these; what DDPG reaches stands in Docs/benchmarks.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OffPolicySettings:
    """Settings of DDPG, TD3 and SAC.

    Attributes:
        steps: decisions of all windows together.
        windows: accounts that trade at once. A decision of one costs a hundredth of a step of the optimiser, and new
            decisions teach more than old ones seen again: many windows, few steps of the optimiser for each decision.
        hidden: units of each layer of actor and critic.
        learning_rate / schedule: of Adam; "linear" falls to 0 at the last step, without which the policy of the last
            step is that of a random moment.
        batch: decisions per step of the optimiser.
        gamma: discount of a reward one bar later. Beyond 0.95 the common part of all values drowns what tells them
            apart.
        n_steps: rewards that are summed up before the critic's estimate; more than 1 charges an action with the costs
            of the exploration after it.
        noise: standard deviation added to the actions while learning; its costs are in what the critic learns from.
        learning_starts: decisions of equal chance before learning starts.
        gradient_steps: steps of the optimiser after each decision of all windows.
        buffer: decisions that are remembered.
        tau: share by which the target networks follow.
        entropy: weight of the entropy, of SAC. One that is learnt holds the actions apart also where the best ones lie
            at the bounds.
    """

    steps: int = 1_000_000
    windows: int = 512
    hidden: tuple[int, ...] = (64, 64)
    learning_rate: float = 2e-3
    schedule: str = "linear"
    batch: int = 256
    gamma: float = 0.95
    n_steps: int = 1
    noise: float = 0.1
    learning_starts: int = 50_000
    gradient_steps: int = 4
    buffer: int = 1_000_000
    tau: float = 0.005
    entropy: float = 0.0


DDPG = OffPolicySettings()
TD3 = OffPolicySettings()
SAC = OffPolicySettings(noise=0.0, entropy=0.01)
OFF_POLICY = {"ddpg": DDPG, "td3": TD3, "sac": SAC}


@dataclass(frozen=True, slots=True)
class PPOSettings:
    """Settings of PPO; names are those of `ml.agents.run_spec.AlgorithmSpec`.

    Attributes:
        steps: decisions of all windows together.
        windows: accounts that trade at once.
        hidden: units of each layer of actor and critic.
        learning_rate / schedule: of Adam; "linear" falls to 0 at the last step.
        batch: decisions per step of the optimiser.
        gamma: discount of a reward one bar later.
        n_steps: decisions of each window between two updates.
        gae_lambda: of the advantage.
        epochs: passes over what was collected.
        clip_range: how far the policy may move in one update.
        entropy: reward for spread-out actions.
        noise: standard deviation of continuous actions, between -1 and 1, at first. A wide one is cut at the ends of
            the range, and what is best under such noise is not what is best without it.
    """

    steps: int = 500_000
    windows: int = 256
    hidden: tuple[int, ...] = (64, 64)
    learning_rate: float = 3e-3
    schedule: str = "linear"
    batch: int = 2_048
    gamma: float = 0.95
    n_steps: int = 32
    gae_lambda: float = 0.95
    epochs: int = 8
    clip_range: float = 0.2
    entropy: float = 0.0
    noise: float = 0.3


PPO_DISCRETE = PPOSettings()
PPO_CONTINUOUS = PPOSettings()
