"""Trains agents with PPO, DDPG, TD3 and SAC. Runs in the training child only (imports torch).

One seed learns after the other. At fixed numbers of steps its deterministic policy walks through the validation part;
the best weights are kept, and everything the learner is goes into a checkpoint, from which it goes on to the bit on the
same machine. The test part is not looked at here.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from core.errors import UserError
from core.jobs import JobStopped
from ml.agents.bars import AgentBars
from ml.agents.checkpoint import AgentState, load_agent_checkpoint, load_agent_member, save_agent_state
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.export import AgentNetwork, WeightRange
from ml.agents.fast_off_policy import LearnerState
from ml.agents.learner import Learner, build_learner, deterministic, learner_state, learning_figures, restore_learner
from ml.agents.pass_curves import ValidationRules, save_curves
from ml.agents.progress import AgentProgress, ValidationRecord
from ml.agents.run_spec import AgentSpec
from ml.agents.walks import ValidationWalk, test_environment
from ml.environment import BatchedTradingEnv
from ml.gpu_utils import DeviceChoice, choose_device, memory_reader
from ml.telemetry import ResourceMonitor, require_disk

_PROGRESS_SECONDS = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class TrainedAgent:
    """The result of `train_rl_model`.

    Attributes:
        network: all seeds as one, each with its best weights, on the CPU.
        states: how each seed's training went.
        device: what computed.
    """

    network: AgentNetwork
    states: tuple[AgentState, ...]
    device: DeviceChoice

    @property
    def history(self) -> tuple[ValidationRecord, ...]:
        """Every pass over the validation part."""
        return tuple(record for state in self.states for record in state.history)

    @property
    def steps(self) -> int:
        """Decisions that all seeds together learned from."""
        return sum(state.history[-1].step for state in self.states)

    @property
    def seconds(self) -> float:
        """Spent on learning."""
        return sum(state.seconds for state in self.states)


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
    resume: bool = False,
) -> TrainedAgent:
    """Train one agent per seed, each with early stopping on the validation part.

    Args:
        bars: from `ml.agents.bars.agent_bars`.
        spec: the run.
        run_id: put into every progress message.
        run_dir: where checkpoints go.
        on_progress: called before a seed learns anything, at most a few times per second, and after each validation.
        should_stop: polled before every step; may wait inside while the run is paused.
        clock: seconds without such waits.
        resume: continue from the checkpoint in `run_dir`.

    Raises:
        JobStopped: `should_stop` returned true; finished seeds and the last checkpoint stay.
        UserError: the numbers diverged, the GPU cannot be used, or the checkpoint does not fit.
    """
    choice = choose_device(spec.resources, max(spec.algorithm.hidden))
    monitor = ResourceMonitor(run_dir, gpu_uuid=choice.uuid, torch_memory=memory_reader(torch.device(choice.name)))
    hooks = AgentHooks(on_progress, should_stop, clock)
    identity = agent_fingerprint(bars, spec)
    algorithm = spec.algorithm
    start = AgentProgress(run_id, "training", steps=algorithm.steps, seeds=algorithm.seeds, device=choice.title)
    rules = ValidationRules(bars, test_environment(bars, spec.environment))
    policies, states = [], []
    try:
        for index in range(algorithm.seeds):
            own = replace(start, seed_index=index)
            trainer = _Trainer(bars, spec, choice, identity, run_dir, hooks, monitor, own, rules)
            policy, state = trainer.run(resume)
            policies.append(policy)
            states.append(state)
    finally:
        monitor.close()
    network = AgentNetwork(policies, weight_range(spec.environment)).eval()
    return TrainedAgent(network, tuple(states), choice)


def weight_range(spec: EnvironmentSpec) -> WeightRange:
    """Return which weights an agent of this environment may choose from."""
    return WeightRange(spec.lowest, spec.highest, spec.levels if spec.is_discrete else 0)


def agent_fingerprint(bars: AgentBars, spec: AgentSpec) -> str:
    """Return a hash of what determines a run apart from the machine."""
    digest = hashlib.sha256(json.dumps(replace(spec, resources=type(spec.resources)()).to_json()).encode())
    for tensor in (bars.market.features, bars.market.prices, bars.market.volatility):
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    for part in (bars.train, bars.valid, bars.test):
        digest.update(repr(part).encode())
    return digest.hexdigest()


class _Trainer:
    """One seed: owns environment, learner and bookkeeping."""

    def __init__(
        self,
        bars: AgentBars,
        spec: AgentSpec,
        choice: DeviceChoice,
        identity: str,
        run_dir: Path,
        hooks: AgentHooks,
        monitor: ResourceMonitor,
        progress: AgentProgress,
        rules: ValidationRules,
    ) -> None:
        self._rules = rules
        self._spec, self._run_dir, self._hooks = spec.algorithm, run_dir, hooks
        self._monitor, self._progress = monitor, progress
        seed = spec.algorithm.seed + progress.seed_index
        self._env = BatchedTradingEnv(
            bars.market,
            spec.environment,
            windows=spec.algorithm.windows,
            seed=seed,
            stretches=bars.train,
            device=choice.name,
        )
        self._learner: Learner = build_learner(spec.algorithm, self._env, seed)
        self._validation = ValidationWalk(bars.valid, spec.environment.window)
        self._state = AgentState(identity, seed, (), 0, None)
        self._best: dict[str, Tensor] = {}
        self._began, self._began_step = hooks.clock(), 0
        self._shown_at = 0.0

    def run(self, resume: bool) -> tuple[BasePolicy, AgentState]:
        """Learn to the end; return the policy with its best weights, on the CPU, and how it went."""
        if resume and (done := load_agent_member(self._run_dir, self._state.fingerprint, self._state.seed)):
            self._state, self._best = done
            return self._finished()
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
        return self._finished()

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

    def _finished(self) -> tuple[BasePolicy, AgentState]:
        policy = copy.deepcopy(self._learner.policy)
        policy.load_state_dict(self._best)
        policy.to("cpu").set_training_mode(False)
        return policy, self._state

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
        if not math.isfinite(walked.log_return) or not _are_finite(self._learner.policy):
            raise UserError(f"The numbers of the agent diverged after {step:,} steps.", "Use a lower learning rate.")
        record = ValidationRecord(
            seed=self._state.seed,
            step=step,
            log_return=walked.log_return,
            turnover=walked.turnover,
            exposure=walked.exposure,
            seconds=self._hooks.clock() - self._began,
            steps_per_s=(step - self._began_step) / max(learned_until - self._began, 1e-9),
            learning=learning_figures(self._learner),
        )
        self._began, self._began_step = self._hooks.clock(), step
        best = self._state.best_return
        state = replace(
            self._state, history=(*self._state.history, record), seconds=self._state.seconds + record.seconds
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
        """Return the time to the end if every step of every seed is used."""
        seeds_left = self._progress.seeds - self._progress.seed_index - 1
        # The last round may go beyond the steps asked for.
        return max(0.0, seconds_per_step * (self._spec.steps * (1 + seeds_left) - step))

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
        self._monitor.sample()
        sample = self._monitor.latest
        if sample is not None:
            gpu = sample.gpu
            self._progress = replace(
                self._progress,
                cpu_percent=sample.cpu_percent,
                rss_bytes=sample.rss_bytes,
                gpu_percent=None if gpu is None else gpu.utilisation_percent,
                gpu_memory_bytes=None if gpu is None else gpu.memory_used,
            )
        self._hooks.on_progress(self._progress)


class _Watch(BaseCallback):
    """Tells the trainer where the library is in its loop."""

    def __init__(self, trainer: _Trainer) -> None:
        super().__init__()
        self._trainer = trainer

    def _on_rollout_start(self) -> None:
        self._trainer.between()

    def _on_step(self) -> bool:
        return self._trainer.step()


def _are_finite(policy: BasePolicy) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in policy.state_dict().values())
