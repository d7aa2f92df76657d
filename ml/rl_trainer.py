"""Trains agents with PPO, DDPG, TD3 and SAC. Runs in the training child only (imports torch).

Seeds learn one after the other, or several at once in processes of their own (`ml.agents.seed_crew`), which changes
nothing in what they learn. At fixed numbers of steps the deterministic policy of a seed walks through the validation
part; the best weights are kept, and everything the learner is goes into a checkpoint, from which it goes on to the bit
on the same machine. The test part is not looked at here.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from core.diagnostics.probes import memory_bytes
from core.errors import UserError
from core.jobs import JobStopped
from ml.agents.bars import AgentBars
from ml.agents.checkpoint import (
    AgentState,
    kept_agent_seconds,
    load_agent_checkpoint,
    load_agent_member,
    save_agent_state,
)
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.export import AgentNetwork, WeightRange
from ml.agents.fast_off_policy import LearnerState
from ml.agents.learner import Learner, build_learner, deterministic, learner_state, learning_figures, restore_learner
from ml.agents.pass_curves import ValidationRules, save_curves
from ml.agents.progress import AgentProgress, ValidationRecord
from ml.agents.run_spec import AgentSpec
from ml.agents.seed_crew import SeedCrew
from ml.agents.seed_progress import SeedProgress
from ml.agents.seed_tasks import Room, SeedJob, seeds_at_once
from ml.agents.shared_bars import LearningBars, remove_shared, shared
from ml.agents.streams import Streams
from ml.agents.walks import ValidationWalk, test_environment
from ml.environment import BatchedTradingEnv
from ml.gpu_utils import DeviceChoice, choose_device, gpu_budget, memory_reader, usable_cores
from ml.telemetry import ResourceMonitor, require_disk

_PROGRESS_SECONDS = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class TrainedAgent:
    """The result of `train_rl_model`.

    Attributes:
        network: all seeds as one, each with its best weights, on the CPU.
        states: how each seed's training went.
        device: what computed.
        seconds: that the run learned, of earlier sessions up to the last checkpoint; without pauses.
    """

    network: AgentNetwork
    states: tuple[AgentState, ...]
    device: DeviceChoice
    seconds: float

    @property
    def history(self) -> tuple[ValidationRecord, ...]:
        """Every pass over the validation part, one seed after the other."""
        return tuple(record for state in self.states for record in state.history)

    @property
    def steps(self) -> int:
        """Decisions that all seeds together learned from."""
        return sum(state.history[-1].step for state in self.states)


@dataclass(frozen=True, slots=True)
class AgentHooks:
    """How a run speaks to its surroundings; see `ml.lstm_trainer.RunHooks`."""

    on_progress: Callable[[AgentProgress], None]
    should_stop: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic


def train_rl_model(
    bars: AgentBars,
    spec: AgentSpec,
    *,
    run_id: str,
    run_dir: Path,
    on_progress: Callable[[AgentProgress], None],
    should_stop: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    log: Callable[[str, str], None] = lambda *_: None,
    resume: bool = False,
) -> TrainedAgent:
    """Train one agent per seed, each with early stopping on the validation part.

    Args:
        bars: from `ml.agents.bars.agent_bars`.
        spec: the run.
        run_id: put into every progress message.
        run_dir: where checkpoints go.
        on_progress: called before a seed learns anything, at most a few times per second, and after each validation.
        should_stop: polled before every step, or often by another thread where several seeds learn at once; may wait
            inside while the run is paused.
        clock: seconds without such waits.
        log: gets level and text of what processes of seeds log.
        resume: continue from the checkpoints in `run_dir`.

    Raises:
        JobStopped: `should_stop` returned true; finished seeds and the last checkpoints stay.
        UserError: the numbers diverged, the GPU cannot be used, a checkpoint does not fit, or a seed's process died.
    """
    began, earlier = clock(), kept_agent_seconds(run_dir) if resume else 0.0
    choice = choose_device(spec.resources, max(spec.algorithm.hidden))
    run = _Run(LearningBars.of(bars), spec, choice, agent_fingerprint(bars, spec), run_id, run_dir, resume)
    run.train(AgentHooks(on_progress, should_stop, clock), log, lambda: earlier + clock() - began)
    network, states = run.trained()
    return TrainedAgent(network, states, choice, earlier + clock() - began)


def first_progress(run_id: str, spec: AgentSpec, choice: DeviceChoice) -> AgentProgress:
    """Return what is said before anything is learned."""
    algorithm = spec.algorithm
    return AgentProgress(run_id, "training", steps=algorithm.steps, seeds=algorithm.seeds, device=choice.title)


def weight_range(spec: EnvironmentSpec) -> WeightRange:
    """Return which weights an agent of this environment may choose from."""
    return WeightRange(spec.lowest, spec.highest, spec.levels if spec.is_discrete else 0)


def agent_fingerprint(bars: AgentBars, spec: AgentSpec) -> str:
    """Return a hash of what determines a run apart from the machine."""
    same = replace(spec, algorithm=replace(spec.algorithm, seeds_at_once=0), resources=type(spec.resources)())
    digest = hashlib.sha256(json.dumps(same.to_json()).encode())
    for tensor in (bars.market.features, bars.market.prices, bars.market.volatility):
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    for part in (bars.train, bars.valid, bars.test):
        digest.update(repr(part).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One session of a run."""

    bars: LearningBars
    spec: AgentSpec
    choice: DeviceChoice
    identity: str
    run_id: str
    run_dir: Path
    resume: bool

    def train(self, hooks: AgentHooks, log: Callable[[str, str], None], elapsed: Callable[[], float]) -> None:
        """Train the seeds that are not done; each leaves a file."""
        first, start = self.spec.algorithm.seed, first_progress(self.run_id, self.spec, self.choice)
        left = [
            replace(start, seed_index=index)
            for index in range(self.spec.algorithm.seeds)
            if not (self.resume and load_agent_member(self.run_dir, self.identity, first + index))
        ]
        at_once = self._at_once(len(left))
        crew = SeedCrew(self._job(at_once), at_once, log)
        monitor = ResourceMonitor(
            self.run_dir,
            gpu_uuid=self.choice.uuid,
            torch_memory=memory_reader(torch.device(self.choice.name)),
            others=lambda: crew.pids,
        )
        told = SeedProgress(hooks.on_progress, monitor, [each.seed_index for each in left], at_once)
        with closing(monitor):
            if at_once == 1:
                remove_shared(self._bars_dir)  # it may have been killed while several learned
                self._one_by_one(left, replace(hooks, on_progress=told.take_and_flush), told, elapsed)
                return
            with shared(self.bars, self._bars_dir):
                crew.train(left, told, hooks.should_stop, elapsed)

    def _one_by_one(
        self, left: list[AgentProgress], hooks: AgentHooks, told: SeedProgress, elapsed: Callable[[], float]
    ) -> None:
        rules = ValidationRules(self.bars, test_environment(self.bars, self.spec.environment))
        for start in left:
            trainer = SeedTrainer(
                self.bars, self.spec, self.choice.name, self.identity, self.run_dir, hooks, start, elapsed(), rules
            )
            trainer.run(self.resume)
            told.end(start.seed_index)

    def trained(self) -> tuple[AgentNetwork, tuple[AgentState, ...]]:
        """Return all seeds as one network, and how each went."""
        algorithm, environment = self.spec.algorithm, self.spec.environment
        # Only its networks are wanted: as small a memory as there may be.
        small = replace(algorithm, windows=2, n_steps=1, batch=2, buffer=2)
        env = BatchedTradingEnv(self.bars.market, environment, windows=2, seed=0, stretches=self.bars.train)
        blank, policies, states = build_learner(small, env, algorithm.seed).policy, [], []
        for seed in range(algorithm.seed, algorithm.seed + algorithm.seeds):
            found = load_agent_member(self.run_dir, self.identity, seed)
            if found is None:
                raise UserError("There is no usable checkpoint of this run.", "Start the training anew.")
            state, best = found
            policy = copy.deepcopy(blank)
            policy.load_state_dict(best)
            policy.set_training_mode(False)
            policies.append(policy)
            states.append(state)
        return AgentNetwork(policies, weight_range(environment)).eval(), tuple(states)

    @property
    def _bars_dir(self) -> Path:
        return self.run_dir / "bars"

    def _at_once(self, seeds: int) -> int:
        market, choice = self.bars.market, self.choice
        memory = memory_bytes()
        room = Room(
            cores=usable_cores(),
            threads=choice.threads,
            memory=None if memory is None else memory[1],
            gpu_memory=gpu_budget(choice, self.spec.resources),
        )
        size = sum(each.numel() * each.element_size() for each in (market.features, market.prices, market.volatility))
        observed = self.spec.environment.window * market.features.shape[1]
        return seeds_at_once(self.spec.algorithm, seeds, room, observed=observed, bars_bytes=size)

    def _job(self, at_once: int) -> SeedJob:
        own = replace(
            self.spec.resources,
            device=self.choice.name,
            threads=self.choice.threads,
            memory_share=self.spec.resources.memory_share / at_once,
        )
        return SeedJob(
            run_id=self.run_id,
            run_dir=str(self.run_dir),
            spec=replace(self.spec, resources=own),
            identity=self.identity,
            bars_dir=str(self._bars_dir),
            resume=self.resume,
        )


class SeedTrainer:
    """One seed: owns environment, learner and bookkeeping."""

    def __init__(
        self,
        bars: LearningBars,
        spec: AgentSpec,
        device: str,
        identity: str,
        run_dir: Path,
        hooks: AgentHooks,
        start: AgentProgress,
        elapsed: float,
        rules: ValidationRules,
    ) -> None:
        """Build what learns.

        Args:
            bars: to learn and to choose by.
            spec: of the run.
            device: that computes.
            identity: of the run, see `agent_fingerprint`.
            run_dir: where checkpoints go.
            hooks: to the surroundings; the time left that is told is that of this seed.
            start: first message; says which seed.
            elapsed: seconds that the run has learned before.
            rules: shown beside each pass over the validation part.
        """
        self._rules = rules
        self._spec, self._run_dir, self._hooks = spec.algorithm, run_dir, hooks
        self._progress, self._elapsed_before = start, elapsed - hooks.clock()
        seed = spec.algorithm.seed + start.seed_index
        self._env = BatchedTradingEnv(
            bars.market,
            spec.environment,
            windows=spec.algorithm.windows,
            seed=Streams.of(seed).environment,
            stretches=bars.train,
            device=device,
        )
        self._learner: Learner = build_learner(spec.algorithm, self._env, seed)
        self._validation = ValidationWalk(bars.valid, spec.environment.window)
        self._state = AgentState(identity, seed, (), 0, None)
        self._best: dict[str, Tensor] = {}
        self._began, self._began_step = hooks.clock(), 0
        self._shown_at = 0.0

    def run(self, resume: bool) -> None:
        """Learn to the end and leave the best weights and how it went in a file.

        Raises:
            JobStopped: asked to stop; the last checkpoint stays.
            UserError: the numbers diverged, the checkpoint does not fit, or the disk is full.
        """
        found = load_agent_checkpoint(self._run_dir, self._state.fingerprint, self._state.seed) if resume else None
        if found is not None:
            self._go_on_from(*found)
        self._tell()
        self._began, self._began_step = self._hooks.clock(), self._learner.num_timesteps
        if not self._is_over():
            left = self._spec.steps - self._learner.num_timesteps
            self._learner.learn(
                left,
                callback=_Watch(self),
                log_interval=None,  # type: ignore[arg-type]  # the library knows None: nobody reads its logs
                reset_num_timesteps=self._learner.num_timesteps == 0,
            )
            if self._hooks.should_stop() and not self._is_over():
                raise JobStopped
            if not self._is_over():
                self.validate()
        save_agent_state(self._run_dir, self._state, self._best)

    def _go_on_from(self, state: AgentState, tensors: LearnerState, best: dict[str, Tensor]) -> None:
        try:
            restore_learner(self._learner, tensors)
        except (RuntimeError, ValueError, KeyError) as exc:
            raise UserError("There is no usable checkpoint of this run.", "Start the training anew.") from exc
        self._state, self._best = state, best
        last = state.history[-1]
        self._progress = replace(
            self._progress, step=last.step, last=last, best_return=state.best_return, best_step=state.best_step
        )

    def _is_over(self) -> bool:
        """Whether the planned steps, or patience, are used up."""
        history = self._state.history
        if not history:
            return False
        waited = len(history) - 1 - next(n for n, record in enumerate(history) if record.step == self._state.best_step)
        return history[-1].step >= self._spec.steps or waited >= self._spec.patience

    def step(self) -> bool:
        """Take notice of a step of all windows; return whether to go on."""
        if self._hooks.should_stop():
            return False
        now = self._hooks.clock()
        if now - self._shown_at >= _PROGRESS_SECONDS:
            self._shown_at = now
            self._show(now)
        return not self._is_over()

    def between(self) -> None:
        """Take notice of the moment between two updates: the learner can be put aside there."""
        due = (len(self._state.history) + 1) * self._spec.steps / self._spec.evaluations
        if self._learner.num_timesteps >= due and not self._is_over():
            self.validate()

    def validate(self) -> None:
        """Walk through the validation part, keep the best weights and put the learner aside."""
        learned_until, step = self._hooks.clock(), self._learner.num_timesteps
        self._learner.policy.set_training_mode(False)
        act = deterministic(self._learner.policy)

        def ask(observations: Tensor) -> Tensor:
            if self._hooks.should_stop():
                raise JobStopped
            return act(observations)

        walked = self._validation.run(self._env, ask)
        earned = self._rules.log_return(walked)
        if not math.isfinite(earned) or not _are_finite(self._learner.policy):
            raise UserError(f"The numbers of the agent diverged after {step:,} steps.", "Use a lower learning rate.")
        record = ValidationRecord(
            seed=self._state.seed,
            step=step,
            log_return=earned,
            turnover=walked.turnover,
            exposure=walked.exposure,
            seconds=self._hooks.clock() - self._began,
            steps_per_s=(step - self._began_step) / max(learned_until - self._began, 1e-9),
            learning=learning_figures(self._learner),
        )
        self._began, self._began_step = self._hooks.clock(), step
        best = self._state.best_return
        state = replace(
            self._state,
            history=(*self._state.history, record),
            seconds=self._state.seconds + record.seconds,
            elapsed=self._elapsed_before + self._hooks.clock(),
        )
        if best is None or record.log_return > best:
            state = replace(state, best_return=record.log_return, best_step=step)
            self._best = {name: value.detach().clone() for name, value in self._learner.policy.state_dict().items()}
        self._state = state
        self._save()
        curves = self._rules.curves(state.seed, step, walked.path)
        save_curves(self._run_dir, curves)
        self._progress = replace(
            self._progress,
            step=step,
            last=record,
            best_return=state.best_return,
            best_step=state.best_step,
            steps_per_s=record.steps_per_s,
            eta_s=self._seconds_left(step, record.seconds / max(1, record.step - self._former_step())),
            curves=curves,
        )
        self._tell()
        self._progress = replace(self._progress, curves=None)

    def _former_step(self) -> int:
        history = self._state.history
        return history[-2].step if len(history) > 1 else 0

    def _save(self) -> None:
        tensors = learner_state(self._learner)
        require_disk(self._run_dir, sum(each.numel() * each.element_size() for each in tensors.tensors.values()))
        save_agent_state(self._run_dir, self._state, self._best, tensors)

    def _seconds_left(self, step: int, seconds_per_step: float) -> float:
        """Return the time to the end of this seed if every step is used."""
        # The last round may go beyond the steps asked for.
        return max(0.0, seconds_per_step * (self._spec.steps - step))

    def _show(self, now: float) -> None:
        step = self._learner.num_timesteps
        took, done = now - self._began, step - self._began_step
        if done > 0:
            self._progress = replace(
                self._progress,
                step=step,
                steps_per_s=done / max(took, 1e-9),
                eta_s=self._seconds_left(step, took / done),
            )
        self._tell()

    def _tell(self) -> None:
        self._hooks.on_progress(self._progress)


class _Watch(BaseCallback):
    """Tells the trainer where the library is in its loop."""

    def __init__(self, trainer: SeedTrainer) -> None:
        super().__init__()
        self._trainer = trainer

    def _on_rollout_start(self) -> None:
        self._trainer.between()

    def _on_step(self) -> bool:
        return self._trainer.step()


def _are_finite(policy: BasePolicy) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in policy.state_dict().values())
