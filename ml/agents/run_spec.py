"""What defines the training run of an agent: data, encoder, environment, algorithm. Any thread; torch-free."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from core.errors import UserError
from ml.agents.defaults import OFF_POLICY
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.universe import UniverseSpec
from ml.api import (
    MAX_SEEDS,
    DataRange,
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    SplitSpec,
    TrainingSpec,
)
from ml.checks import in_range, one_of, require
from ml.device_report import MPS
from ml.jsonvalues import JsonValue, decode, encode
from ml.spec import overlaid

PPO, DDPG, TD3, SAC = "ppo", "ddpg", "td3", "sac"
ALGORITHMS = (PPO, DDPG, TD3, SAC)
SCHEDULES = ("constant", "linear")

_MODEL_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class EncoderSpec(JsonValue):
    """The frozen forecaster whose view of each bar the agent sees beside the features.

    Attributes:
        model: id of a stored forecaster for the same market and bar length; "" for none.
        train_first: train one on the same bars, features and split before the agent, see `AgentSpec.forecaster`.
        seeds: networks of that one.
        embedding: append its recurrent state.
        quantiles: append its forecast quantiles, in units of recent volatility.
    """

    model: str = ""
    train_first: bool = False
    seeds: int = 3
    embedding: bool = True
    quantiles: bool = True

    @property
    def is_used(self) -> bool:
        """Whether there is an encoder."""
        return bool(self.model) or self.train_first

    def validate(self) -> None:
        """Raise `UserError` for an encoder that cannot be, or that would add nothing."""
        require(
            not self.model or bool(_MODEL_ID.fullmatch(self.model)),
            "The encoder is no stored model.",
            "Give the id of one.",
        )
        if self.model and self.train_first:
            raise UserError("An encoder is named, and one is to be trained first.", "Choose one of the two.")
        in_range(self.seeds, 1, MAX_SEEDS, "number of seeds", "seeds")
        if self.is_used and not (self.embedding or self.quantiles):
            raise UserError("Nothing of the encoder is used.", "Use its embedding, its quantiles, or no encoder.")


@dataclass(frozen=True, slots=True)
class AlgorithmSpec(JsonValue):
    """How the agent learns; defaults are those of `ppo`, see `of` for the others.

    Attributes:
        kind: "ppo", "ddpg", "td3" or "sac".
        steps: decisions of all windows together that each seed learns from, at most.
        windows: accounts that trade at once.
        hidden: units of each layer of the actor and of the critic.
        learning_rate: of Adam.
        schedule: of the learning rate: "constant" or "linear" (down to 0 at the last step).
        batch: decisions per step of the optimiser.
        gamma: discount of a reward one bar later.
        n_steps: "ppo": decisions of each window between two updates; otherwise rewards that are summed up before the
            critic's estimate.
        gae_lambda / epochs / clip_range: of "ppo": of the advantage, passes over what was collected, and how far a
            policy may move in one update.
        entropy: of "ppo" and "sac": the reward for spread-out actions.
        noise: standard deviation added to actions between -1 and 1 while learning; "ppo" begins with it where any
            weight may be chosen, and then learns it.
        learning_starts: but for "ppo": random decisions before learning starts.
        gradient_steps: but for "ppo": steps of the optimiser after each decision of all windows.
        buffer: but for "ppo": decisions that are remembered.
        tau: but for "ppo": share by which the target networks follow.
        seeds: agents trained from different seeds; their mean target weight is what is stored.
        seed: of networks, exploration and episodes, each with a stream of its own (`ml.agents.streams`); further seeds
            count up from it.
        seeds_at_once: seeds that learn at the same time, each in a process; 0 chooses by cores and memory. It changes
            how long a run takes, never what is learned.
        evaluations: passes over the validation part, spread evenly over the steps.
        patience: passes without a better result before a seed stops.
    """

    kind: str = PPO
    steps: int = 3_000_000
    windows: int = 256
    hidden: tuple[int, ...] = (64, 64)
    learning_rate: float = 1e-3
    schedule: str = "linear"
    batch: int = 4_096
    gamma: float = 0.98
    n_steps: int = 64
    gae_lambda: float = 0.95
    epochs: int = 4
    clip_range: float = 0.2
    entropy: float = 0.001
    noise: float = 0.3
    learning_starts: int = 50_000
    gradient_steps: int = 4
    buffer: int = 1_000_000
    tau: float = 0.005
    seeds: int = 5
    seed: int = 1
    seeds_at_once: int = 0
    evaluations: int = 20
    patience: int = 8

    @classmethod
    def of(cls, kind: str) -> Self:
        """Return the defaults of an algorithm.

        Raises:
            UserError: there is none of that name.
        """
        one_of(kind, ALGORITHMS, "algorithm")
        if kind == PPO:
            return cls()
        known = OFF_POLICY[kind]
        return cls(kind=kind, **{each.name: getattr(known, each.name) for each in fields(known)})

    @property
    def is_off_policy(self) -> bool:
        """Whether it learns from what earlier policies did."""
        return self.kind != PPO

    def validate(self) -> None:
        """Raise `UserError` for settings that cannot learn."""
        one_of(self.kind, ALGORITHMS, "algorithm")
        in_range(self.windows, 1, 1 << 20, "number of windows", "windows")
        in_range(self.steps, 1_000, 1e12, "number of steps", "steps")
        if not 1 <= len(self.hidden) <= 8:
            raise UserError("The networks of an agent have 1 to 8 hidden layers.", "Example: 64, 64.")
        for units in self.hidden:
            in_range(units, 2, 4_096, "size of a hidden layer", "units")
        in_range(self.learning_rate, 1e-7, 1.0, "learning rate", "")
        one_of(self.schedule, SCHEDULES, "learning rate schedule")
        in_range(self.batch, 2, 1 << 24, "batch size", "decisions")
        in_range(self.gamma, 0.0, 1.0, "discount", "")
        in_range(self.n_steps, 1, 100_000, "number of steps between updates", "steps")
        in_range(self.seeds, 1, MAX_SEEDS, "number of seeds", "seeds")
        in_range(self.seed, 0, 2**31 - 1 - MAX_SEEDS, "seed", "")
        in_range(self.seeds_at_once, 0, MAX_SEEDS, "number of seeds at a time", "seeds")
        in_range(self.evaluations, 1, 10_000, "number of validations", "")
        in_range(self.patience, 1, 10_000, "patience", "validations")
        in_range(self.entropy, 0.0, 10.0, "reward for entropy", "")
        if self.is_off_policy:
            self._check_off_policy()
        else:
            self._check_on_policy()

    def _check_on_policy(self) -> None:
        in_range(self.gae_lambda, 0.0, 1.0, "lambda of the advantage", "")
        in_range(self.epochs, 1, 1_000, "number of epochs", "epochs")
        in_range(self.clip_range, 1e-3, 10.0, "clip range", "")
        in_range(self.noise, 0.01, 2.0, "exploration noise", "")
        collected = self.windows * self.n_steps
        if collected > self.steps or self.batch > collected:
            raise UserError(
                f"{self.windows:,} windows collect {collected:,} decisions between two updates: "
                f"that must be at least a batch of {self.batch:,} and at most the {self.steps:,} steps of the run.",
                "Change the batch, the windows or the steps.",
            )

    def _check_off_policy(self) -> None:
        in_range(self.noise, 0.0, 2.0, "exploration noise", "")
        in_range(self.gradient_steps, 1, 100_000, "number of gradient steps", "")
        in_range(self.buffer, 1_000, 100_000_000, "size of the memory", "decisions")
        in_range(self.tau, 1e-6, 1.0, "share by which targets follow", "")
        if not self.windows <= self.learning_starts < self.steps or self.batch > self.buffer:
            raise UserError(
                "The random decisions before learning must be at least one of each window and fewer than all steps.",
                "Change learning_starts, the windows or the steps.",
            )


@dataclass(frozen=True, slots=True)
class AgentEvaluationSpec(JsonValue):
    """How the agent is judged on the test part.

    Attributes:
        resamples: of each bootstrap.
        draws: of the agent's positions at random times.
    """

    resamples: int = 2_000
    draws: int = 400

    def validate(self) -> None:
        """Raise `UserError` for settings that cannot be run."""
        in_range(self.resamples, 100, 100_000, "number of resamples", "")
        in_range(self.draws, 39, 100_000, "number of random timings", "")  # fewer could show nothing


@dataclass(frozen=True, slots=True)
class AgentSpec(JsonValue):
    """Everything that defines the training run of an agent.

    Attributes:
        universe: markets beside that of `data`.
        forecaster / fitting: network and training of the forecaster that `encoder.train_first` asks for.
    """

    data: DataRange = field(default_factory=DataRange)
    universe: UniverseSpec = field(default_factory=UniverseSpec)
    features: FeatureSpec = field(default_factory=FeatureSpec)
    split: SplitSpec = field(default_factory=SplitSpec)
    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    forecaster: ModelSpec = field(default_factory=ModelSpec)
    fitting: TrainingSpec = field(default_factory=TrainingSpec)
    environment: EnvironmentSpec = field(default_factory=EnvironmentSpec)
    algorithm: AlgorithmSpec = field(default_factory=AlgorithmSpec)
    evaluation: AgentEvaluationSpec = field(default_factory=AgentEvaluationSpec)
    resources: ResourceSpec = field(default_factory=ResourceSpec)

    @property
    def bars(self) -> ForecastSpec:
        """How the bars are prepared: as for a forecast of the next one, without a burn-in."""
        return ForecastSpec(
            data=self.data,
            features=self.features,
            model=ModelSpec(horizons=(1,)),
            split=self.split,
            training=TrainingSpec(burn_in=0, seed=self.algorithm.seed),
            evaluation=EvaluationSpec(seeds=self.algorithm.seeds),
            resources=self.resources,
        )

    @property
    def encoder_run(self) -> ForecastSpec:
        """The run that trains the encoder first."""
        return ForecastSpec(
            data=self.data,
            features=self.features,
            model=self.forecaster,
            split=self.split,
            training=self.fitting,
            evaluation=EvaluationSpec(seeds=self.encoder.seeds, permutation_repeats=0),
            resources=self.resources,
        )

    @property
    def ranges(self) -> tuple[DataRange, ...]:
        """The bars of each market, those of `data` first."""
        return tuple(replace(self.data, symbol=symbol) for symbol in self.universe.markets(self.data))

    def with_encoder(self, model_id: str) -> Self:
        """Return the same run with an encoder that is there."""
        encoder = replace(self.encoder, model=model_id, train_first=False)
        return replace(self, encoder=encoder, forecaster=ModelSpec(), fitting=TrainingSpec())

    def validate(self) -> Self:
        """Check every part and return self.

        Raises:
            UserError: one sentence naming the first thing that is wrong.
        """
        self.bars.validate()
        self.universe.validate(self.data)
        self.encoder_run.validate()
        self.encoder.validate()
        self.environment.validate()
        self.algorithm.validate()
        self.evaluation.validate()
        if self.environment.is_discrete and self.algorithm.is_off_policy:
            raise UserError(
                f"The algorithm {self.algorithm.kind} knows no discrete actions.",
                'Choose continuous actions or "ppo".',
            )
        if self.resources.device == MPS:
            raise UserError(
                "Agents cannot learn on MPS: it has no numbers of the precision that accounts need.",
                "Choose the device auto or cpu.",
            )
        if self.universe.symbols and self.encoder.is_used:
            raise UserError(
                "An encoder knows one market, and this agent learns on several.",
                "Leave out the encoder, or the further markets in [universe].",
            )
        if self.environment.close_out:
            raise UserError("A market has no end at which everything is sold.", "Set close_out to false.")
        return self

    def with_used_data(self) -> Self:
        """Return the same run without markets and series that no feature column looks at."""
        return replace(self, data=self.bars.with_used_data().data)

    def without_folders(self) -> Self:
        """Return the same run with the names of files only, see `DataRange.without_folders`."""
        return replace(self, data=self.data.without_folders(), universe=self.universe.without_folders())


def agent_from_mapping(values: Mapping[str, Any], base: AgentSpec | None = None) -> AgentSpec:
    """Return `base` (or the defaults of the algorithm that is named) overlaid with a partial nested mapping.

    Raises:
        UserError: an unknown key or a value of the wrong type.
    """
    usual = base or AgentSpec(algorithm=AlgorithmSpec.of(_kind(values)))
    return decode(AgentSpec, overlaid(encode(usual), values))


def agent_hash(spec: AgentSpec) -> str:
    """Return the identity of what is tried: the specification without seed and resources, wherever its files lie."""
    algorithm = replace(spec.algorithm, seed=0, seeds_at_once=0)
    same = replace(spec.without_folders(), algorithm=algorithm, resources=ResourceSpec()).to_json()
    if spec.universe == UniverseSpec():
        del same["universe"]  # a run on one market is what it was before there could be several
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def _kind(values: Mapping[str, Any]) -> str:
    """Return which algorithm a configuration names; of any other value the decoder says what is wrong with it."""
    algorithm = values.get("algorithm")
    kind = algorithm.get("kind", PPO) if isinstance(algorithm, Mapping) else PPO
    return kind if isinstance(kind, str) else PPO
