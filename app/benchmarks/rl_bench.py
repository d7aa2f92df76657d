"""Speed of agents beside other environments under stock learners. Qt-free and torch-free; children do the work."""

from __future__ import annotations

from pathlib import Path

from app.benchmarks.figures import Measurement, Peer
from app.benchmarks.learning_bench import run_job
from app.benchmarks.peer_runs import PeerRun, PeersMissing, ensure_peers
from app.benchmarks.peers.problem import Problem, best_score, mean_reverting

_JOBS = "app.benchmarks.rl_job:"
_TRAINING_BARS, _VALIDATION_BARS = 100_000, 4_000
_FEATURES, _WINDOW, _SEED = 16, 32, 7
_SECONDS = 8.0  # of processor time for each pace
_PEER_TIMEOUT_S = 900.0
_USUAL_ENVS = 8
_PEER_EPOCHS = 10  # the default of stable-baselines3
# Two fifths of what the best band earns: a third is to be had without knowing one's own position.
_SHARE_OF_BEST = 0.4
_SCORE_SECONDS = 120.0
_ENV_WINDOWS, _ENV_STEPS = 4_096, 200
_MEMORY = {"windows": 1_024, "bars": 1_000_000, "features": 30, "window": 32, "rollouts": 3}
_GPU = {"windows": 4_096, "batch": 32_768, "seconds": 30.0}
_NAMES = ("gym-anytrading", "gym-trading-env")


def run_ppo(folder: Path) -> dict[str, Measurement]:
    """Measure learning by PPO, with the program's settings and with as many epochs as the peers, and the peers."""
    problem = _problem_file(folder)
    job = {"problem": str(problem), "seconds": _SECONDS, "epochs": [None, _PEER_EPOCHS]}
    ours, equal = (run["cpu_per_s"] for run in run_job(_JOBS + "paces", job, threads=1)["runs"])
    try:
        ensure_peers()
        single, usual = (
            [_peer(PeerRun(name, envs), "cpu_per_s", problem) for name in _NAMES] for envs in (1, _USUAL_ENVS)
        )
    except PeersMissing as error:
        missing = Measurement(skipped=str(error))
        rates = {"rl.ppo_steps_per_s": Measurement(ours), "rl.ppo_equal_epochs_steps_per_s": Measurement(equal)}
        return rates | {"rl.ppo_ratio": missing, "rl.ppo_default_ratio": missing}
    everybody = (*single, *usual)
    return {
        "rl.ppo_steps_per_s": Measurement(ours, everybody),
        "rl.ppo_equal_epochs_steps_per_s": Measurement(equal, everybody),
        "rl.ppo_ratio": Measurement(ours / max(peer.value for peer in usual)),
        "rl.ppo_default_ratio": Measurement(ours / max(peer.value for peer in single)),
    }


def run_score(folder: Path) -> dict[str, Measurement]:
    """Measure the processor time of learning until a score is reached and kept, beside the peers in one environment.

    With eight they are later: as many updates for each step, from older rollouts. A peer that does not get there within
    its time counts as if it had at the end of it.
    """
    problem = _problem_file(folder)
    threshold = _SHARE_OF_BEST * best_score(_problem().validation())
    limits = {"seconds": _SCORE_SECONDS, "threshold": threshold}
    told = run_job(_JOBS + "time_to_score", {"problem": str(problem), **limits}, threads=1)
    if told["to_score"] is None:
        unreached = Measurement(skipped=f"the score was not reached in {_SCORE_SECONDS:g} s of processor time")
        return {"rl.time_to_score_s": unreached, "rl.time_to_score_ratio": unreached}
    ours = told["to_score"]["cpu_s"]
    try:
        ensure_peers()
        peers = tuple(_score_peer(PeerRun(name, 1), problem, threshold) for name in _NAMES)
    except PeersMissing as error:
        return {
            "rl.time_to_score_s": Measurement(ours),
            "rl.time_to_score_ratio": Measurement(skipped=str(error)),
        }
    return {
        "rl.time_to_score_s": Measurement(ours, peers),
        "rl.time_to_score_ratio": Measurement(min(peer.value for peer in peers) / ours),
    }


def run_ddpg(folder: Path) -> dict[str, Measurement]:
    """Measure learning by DDPG beside stock DDPG with the same networks in one environment."""
    problem = _problem_file(folder)
    told = run_job(_JOBS + "ddpg_pace", {"problem": str(problem), "seconds": _SECONDS}, threads=1)
    ours, samples = told["cpu_per_s"], Measurement(told["samples_per_step"])
    try:
        ensure_peers()
        run = PeerRun("gym-trading-env", 1, "DDPG")
        rate = _peer(run, "cpu_per_s", problem)
    except PeersMissing as error:
        ratio = Measurement(skipped=str(error))
        return {"rl.ddpg_steps_per_s": Measurement(ours), "rl.ddpg_ratio": ratio, "rl.ddpg_samples_per_step": samples}
    return {
        "rl.ddpg_steps_per_s": Measurement(ours, (rate,)),
        "rl.ddpg_ratio": Measurement(ours / rate.value),
        "rl.ddpg_samples_per_step": samples,
    }


def run_env(folder: Path) -> dict[str, Measurement]:
    """Measure the environment alone, seeing the newest bar and seeing the window of the other figures."""
    job = {"problem": str(_problem_file(folder)), "windows": _ENV_WINDOWS, "steps": _ENV_STEPS, "bars": [1, _WINDOW]}
    newest, window = run_job(_JOBS + "env_pace", job, threads=1)["rates"]
    return {"rl.env_steps_per_s": Measurement(newest), "rl.env_window_steps_per_s": Measurement(window)}


def run_memory(folder: Path) -> dict[str, Measurement]:
    """Measure the memory of learning on a million bars beyond that of the libraries."""
    return {"rl.rss_mb": Measurement(run_job(_JOBS + "memory", _MEMORY, threads=1)["rss_mb"])}


def run_gpu(folder: Path) -> dict[str, Measurement]:
    """Measure learning by PPO on a GPU, where there is one."""
    told = run_job(_JOBS + "on_gpu", {"problem": str(_problem_file(folder)), "device": "cuda", **_GPU}, threads=0)
    if told["skipped"]:
        return {"rl.gpu_ppo_steps_per_s": Measurement(skipped=told["skipped"])}
    return {"rl.gpu_ppo_steps_per_s": Measurement(told["wall_per_s"])}


def _problem() -> Problem:
    return mean_reverting(
        training=_TRAINING_BARS, validation=_VALIDATION_BARS, features=_FEATURES, window=_WINDOW, seed=_SEED
    )


def _problem_file(folder: Path) -> Path:
    file = folder / "problem.npz"
    _problem().save(file)
    return file


def _peer(run: PeerRun, figure: str, problem: Path) -> Peer:
    return Peer(run.title, run.measure(problem, seconds=_SECONDS, timeout_s=_PEER_TIMEOUT_S)[figure])


def _score_peer(run: PeerRun, problem: Path, threshold: float) -> Peer:
    told = run.measure(problem, seconds=_SCORE_SECONDS, timeout_s=_PEER_TIMEOUT_S, threshold=threshold)
    if told["to_score"] is None:
        return Peer(f"{run.title} (not reached)", told["cpu_s"])
    return Peer(run.title, told["to_score"]["cpu_s"])
