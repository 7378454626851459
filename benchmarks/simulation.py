"""Simulation speed against the peers, measured in the same process with the same resets and random actions.

Run: ``python benchmarks/simulation.py [--rounds 5] [--seconds 1.5] [--tasks HalfCheetah-v5 ...]``. Peers take
turns; the printed numbers are medians over the rounds. Every warmstart environment has a mass and friction of
its own.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from warmstart.envs.batched import BatchedEnv
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.simulation.models import send_engine_messages_to_logging
from warmstart.envs.vector import make_vec

TASKS = ("HalfCheetah-v5", "Hopper-v5", "Ant-v5")
LOOP_BAR, GYMNASIUM_BAR, ENVPOOL_BAR, HOPPER_ENVPOOL_BAR = 0.85, 2.5, 1.0, 0.9
N_ENVS, THREADS = 64, 2
N_PROCESSES = 4  # environments of SubprocVecEnv; more processes than processors make it slower


@dataclass
class Peer:
    """One way to simulate: what it is called, a step, how many environments it steps, how to end it."""

    name: str
    step: Callable[[int], Any]
    n_envs: int
    close: Callable[[], Any]


def randomized(task: str) -> BatchedEnv:
    """The batched environment, every environment with a mass and friction of its own."""
    env = make_vec(task, N_ENVS, 0, n_threads=THREADS)
    assert isinstance(env, BatchedEnv)
    factors = np.random.default_rng(0).uniform(0.7, 1.3, (N_ENVS, 2))
    env.set_context([f"mass=x{mass:.6f},friction=x{friction:.6f}" for mass, friction in factors])
    env.reset(seed=0)
    return env


def bare_loop(task: str, actions: np.ndarray) -> Peer:
    """The limit: the same stepper with nothing around it but the resets that keep the robots upright."""
    env = randomized(task)
    stepper, sim, robot = env._stepper, env.sim, env.robot
    rng = np.random.default_rng(0)
    starts = [robot.reset_state(sim, rng) for _ in range(1000)]
    positions = np.array([qpos for qpos, _ in starts])
    velocities = np.array([qvel for _, qvel in starts])
    elapsed = np.zeros(N_ENVS, dtype=int)
    substeps, limit = robot.frame_skip, robot.time_limit or 2**62

    def step(k: int) -> None:
        sim.ctrl[...] = actions[k % len(actions)]
        stepper.step(None, substeps)
        elapsed[...] += 1
        ended = robot.terminated(sim) | (elapsed >= limit)
        if ended.any():
            ids = np.flatnonzero(ended).astype(np.int32)
            elapsed[ids] = 0
            draws = rng.integers(0, len(positions), len(ids))
            stepper.reset(ids)
            sim.qpos[ids], sim.qvel[ids] = positions[draws], velocities[draws]
            stepper.forward(ids)

    return Peer("bare loop", step, N_ENVS, env.close)


def peers_of(task: str) -> list[Peer]:
    """All peers of a task, started."""
    example = gymnasium.make(task)
    space: Any = example.action_space
    example.close()
    rng = np.random.default_rng(0)
    shape = (64, N_ENVS, *space.shape)
    actions: np.ndarray = rng.uniform(space.low, space.high, shape).astype(np.float32)

    def action(k: int) -> Any:
        return actions[k % len(actions)]

    ours = randomized(task)
    adapted = as_sb3(randomized(task))
    adapted.reset()
    sync = SyncVectorEnv([lambda: gymnasium.make(task)] * N_ENVS, autoreset_mode=AutoresetMode.SAME_STEP)
    sync.reset(seed=0)
    dummy = DummyVecEnv([lambda: gymnasium.make(task)] * N_ENVS)
    dummy.reset()
    subproc = SubprocVecEnv([lambda: gymnasium.make(task)] * N_PROCESSES, start_method="fork")
    subproc.reset()
    found = [
        Peer("warmstart", lambda k: ours.step(action(k)), N_ENVS, ours.close),
        bare_loop(task, actions),
        Peer("warmstart as SB3 VecEnv", lambda k: adapted.step(action(k)), N_ENVS, adapted.close),
        Peer("Gymnasium SyncVectorEnv", lambda k: sync.step(action(k)), N_ENVS, sync.close),
        Peer("SB3 DummyVecEnv", lambda k: dummy.step(action(k)), N_ENVS, dummy.close),
        Peer(
            "SB3 SubprocVecEnv", lambda k: subproc.step(action(k)[:N_PROCESSES]), N_PROCESSES, subproc.close
        ),
    ]
    pool = envpool_of(task)
    if pool is not None:
        found.append(Peer("EnvPool", lambda k: pool.step(action(k).astype(np.float64)), N_ENVS, pool.close))
    return found


def envpool_of(task: str) -> Any:
    """EnvPool's environments on the same number of threads; None where it isn't installed."""
    try:
        import envpool
    except ImportError:
        print("EnvPool isn't installed (pip install 'warmstart[bench]'); it is left out.")
        return None
    name = task if task in envpool.list_all_envs() else task.replace("-v5", "-v4")
    pool = envpool.make_gymnasium(name, num_envs=N_ENVS, num_threads=THREADS, seed=0)
    pool.reset()
    return pool


def measure(peer: Peer, seconds: float) -> tuple[float, float]:
    """Environment steps per second, and this process's CPU time per environment step in microseconds."""
    steps = 0
    begin, cpu = time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - begin) < seconds:
        peer.step(steps)
        steps += 1
    steps *= peer.n_envs
    return steps / spent, (time.process_time() - cpu) / steps * 1e6


def compare(task: str, rounds: int, seconds: float) -> None:
    """Measure a task's peers in turns and print medians and ratios."""
    peers = peers_of(task)
    speeds: dict[str, list[float]] = {peer.name: [] for peer in peers}
    cpu: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for round_index in range(-1, rounds):
        for peer in peers:
            speed, microseconds = measure(peer, seconds if round_index >= 0 else seconds / 2)
            if round_index >= 0:
                speeds[peer.name].append(speed)
                cpu[peer.name].append(microseconds)
    for peer in peers:
        peer.close()
    print(f"\n{task}: environment steps per second, {N_ENVS} environments, {THREADS} threads")
    for name, values in speeds.items():
        spread = f"{min(values):9,.0f} to {max(values):9,.0f}"
        own = "" if "Subproc" in name else f"   CPU {statistics.median(cpu[name]):6.1f} us per step"
        print(f"  {name:26s} {statistics.median(values):9,.0f}   ({spread}){own}")
    ours = speeds["warmstart"]
    slower = ("Gymnasium SyncVectorEnv", "SB3 DummyVecEnv", "SB3 SubprocVecEnv")
    best = max(slower, key=lambda name: statistics.median(speeds[name]))
    ratio("bare loop", ours, speeds["bare loop"], LOOP_BAR)
    ratio(f"best of Gymnasium and SB3 ({best})", ours, speeds[best], GYMNASIUM_BAR)
    if "EnvPool" in speeds:
        bar = HOPPER_ENVPOOL_BAR if task == "Hopper-v5" else ENVPOOL_BAR
        ratio("EnvPool", ours, speeds["EnvPool"], bar)
    adapter = [a - b for a, b in zip(cpu["warmstart as SB3 VecEnv"], cpu["warmstart"], strict=True)]
    print(f"  the SB3 adapter costs {statistics.median(adapter):.1f} us of CPU time per environment step")


def ratio(name: str, ours: list[float], theirs: list[float], bar: float) -> None:
    """Print the median over rounds of a ratio, and whether it reaches its bar."""
    value = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(f"  warmstart / {name}: {value:.2f} (at least {bar}: {'yes' if value >= bar else 'NO'})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="per peer and round")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    send_engine_messages_to_logging()
    for task in arguments.tasks:
        compare(task, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
