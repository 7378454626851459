"""Training speed and memory of PPO against stable-baselines3's, at two fixed settings.

64 environments with minibatches of 1024, and the defaults of Hopper and Walker2d, 16 with 64; VecNormalize,
128 steps, 10 epochs, 64×64, one torch thread, two simulation threads. The peer is SB3's PPO with its
VecNormalize on the same Gymnasium task, in DummyVecEnv and SubprocVecEnv; its faster one counts. All agents
live in one process and take turns, rollout by rollout; medians are compared.
"""

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from warmstart.core.threads import decide_threads

EPOCHS, SIM_THREADS = 10, 2


@dataclass(frozen=True)
class Setting:
    """What a round is."""

    n_envs: int = 64
    n_steps: int = 128
    batch: int = 1024

    @property
    def steps(self) -> int:
        """Environment steps of a round."""
        return self.n_envs * self.n_steps

    @property
    def kwargs(self) -> dict[str, Any]:
        """Arguments of PPO."""
        return {
            "n_steps": self.n_steps,
            "batch_size": self.batch,
            "n_epochs": EPOCHS,
            "seed": 0,
            "device": "cpu",
        }


LARGE, SMALL = Setting(), Setting(n_envs=16, batch=64)


@dataclass
class Contender:
    """An agent and the seconds of its rounds."""

    name: str
    model: Any
    setting: Setting
    simulate: list[float] = field(default_factory=list)
    collect: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)

    def round(self) -> None:
        """One rollout and one update, timed."""
        env, model = self.model.env, self.model
        inner = env.venv
        stepping = 0.0
        step_wait, step_async = inner.step_wait, inner.step_async

        def timed(call: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any) -> Any:
                nonlocal stepping
                start = time.perf_counter()
                result = call(*args)
                stepping += time.perf_counter() - start
                return result

            return run

        inner.step_wait, inner.step_async = timed(step_wait), timed(step_async)
        start = time.perf_counter()
        _, callback = model._setup_learn(self.setting.steps, None, reset_num_timesteps=False)
        callback.on_training_start({}, {})
        model.collect_rollouts(env, callback, model.rollout_buffer, n_rollout_steps=self.setting.n_steps)
        middle = time.perf_counter()
        model.train()
        self.update.append(time.perf_counter() - middle)
        self.collect.append(middle - start - stepping)
        self.simulate.append(stepping)
        inner.step_wait, inner.step_async = step_wait, step_async

    @property
    def seconds(self) -> float:
        """Median seconds of a round."""
        return median(a + b + c for a, b, c in zip(self.simulate, self.collect, self.update, strict=True))

    def row(self, best_peer: float) -> str:
        """Microseconds per environment step by phase, steps per second, ratio to the peer."""
        parts = [
            median(values) / self.setting.steps * 1e6 for values in (self.simulate, self.collect, self.update)
        ]
        speed = self.setting.steps / self.seconds
        columns = "".join(f"{part:10.1f}" for part in parts)
        return f"  {self.name:28s}{columns}{speed:12,.0f}{best_peer / self.seconds:8.2f}"


def build(task: str, setting: Setting, peers: bool) -> list[Contender]:
    import gymnasium
    import stable_baselines3
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

    from warmstart.agents.algorithms.ppo import PPO
    from warmstart.agents.checkpoints.normalization import vec_normalize
    from warmstart.envs.sb3 import as_sb3
    from warmstart.envs.vector import make_vec

    def ours() -> Any:
        return vec_normalize(as_sb3(make_vec(task, setting.n_envs, 0, n_threads=SIM_THREADS)))

    def make() -> Any:
        from warmstart.envs.simulation.models import send_engine_messages_to_logging

        send_engine_messages_to_logging()
        return Monitor(gymnasium.make(task))

    contenders = [Contender("warmstart", PPO("MlpPolicy", ours(), **setting.kwargs), setting)]
    if peers:
        kinds: list[tuple[str, Callable[[], Any]]] = [
            ("SB3, DummyVecEnv", lambda: DummyVecEnv([make] * setting.n_envs)),
            ("SB3, SubprocVecEnv", lambda: SubprocVecEnv([make] * setting.n_envs)),
        ]
        for name, env in kinds:
            model = stable_baselines3.PPO("MlpPolicy", VecNormalize(env()), **setting.kwargs)
            contenders.append(Contender(name, model, setting))
    return contenders


def limit(task: str, setting: Setting, n_inputs: int, n_actions: int) -> Callable[[], tuple[float, float]]:
    """A function that measures the seconds of a round's bare simulation and bare arithmetic.

    Simulation: the same stepper with zero actions and nothing else. Arithmetic: the matrix products and
    nonlinearities of both networks, forward for the rollout, forward and backward for the update, in buffers.
    """
    import numpy as np
    import torch

    from warmstart.envs.vector import make_vec

    env = make_vec(task, setting.n_envs, 0, n_threads=SIM_THREADS)
    env.reset(seed=0)
    actions = (
        np.random.default_rng(0)
        .uniform(-1, 1, (setting.n_steps, setting.n_envs, n_actions))
        .astype(np.float32)
    )

    def simulate() -> None:
        for t in range(setting.n_steps):
            env.step(actions[t])

    def products(rows: int, backward: bool) -> Callable[[], None]:
        widths = [(n_inputs, 64), (64, 64)]
        weights = [torch.randn(b, a) for a, b in widths]
        inputs = [torch.randn(rows, a) for a, _ in widths] + [torch.empty(rows, 64)]
        sums = [torch.empty_like(w) for w in weights]
        heads = [torch.randn(n, 64) for n in (n_actions, 1)]
        outs = [torch.empty(rows, n) for n in (n_actions, 1)]

        def run() -> None:
            for head, out in zip(heads, outs, strict=True):
                for i, weight in enumerate(weights):
                    torch.tanh_(torch.mm(inputs[i], weight.t(), out=inputs[i + 1]))
                torch.mm(inputs[2], head.t(), out=out)
                if not backward:
                    continue
                torch.mm(out.t(), inputs[2])
                torch.mm(out, head, out=inputs[2])
                for i in (1, 0):
                    torch.mm(inputs[i + 1].t(), inputs[i], out=sums[i])
                    if i:
                        torch.mm(inputs[i + 1], weights[i], out=inputs[i])

        return run

    infer, update = products(setting.n_envs, False), products(setting.batch, True)

    def compute() -> None:
        for _ in range(setting.n_steps):
            infer()
        for _ in range(EPOCHS * setting.steps // setting.batch):
            update()

    def measure() -> tuple[float, float]:
        start = time.perf_counter()
        simulate()
        middle = time.perf_counter()
        compute()
        return middle - start, time.perf_counter() - middle

    return measure


def compare(task: str, rounds: int, setting: Setting) -> None:
    contenders = build(task, setting, True)
    start = time.perf_counter()
    for contender in contenders:
        contender.round()
    for contender in contenders:
        for times in (contender.simulate, contender.collect, contender.update):
            times.clear()
    env = contenders[0].model.env
    measure = limit(task, setting, env.observation_space.shape[0], env.action_space.shape[0])
    limits = []
    for _ in range(rounds):
        for contender in contenders:
            contender.round()
        limits.append(measure())
    peers = [c for c in contenders if c.name.startswith("SB3")]
    best = min(c.seconds for c in peers)
    took = time.perf_counter() - start
    print(
        f"\n{task}, {setting.n_envs} environments, batch {setting.batch}: {rounds} alternating rounds of "
        f"{setting.steps} steps ({took:.0f} s)"
    )
    print(f"  {'µs per step':28s}{'simulate':>10s}{'infer':>10s}{'update':>10s}{'steps/s':>12s}{'ratio':>8s}")
    for contender in contenders:
        print(contender.row(best))
    simulation, arithmetic = (median(seconds) for seconds in zip(*limits, strict=True))
    bare, steps = simulation + arithmetic, setting.steps
    print(
        f"  limit: {steps / bare:,.0f} steps/s (simulation {simulation / steps * 1e6:.1f} µs, arithmetic "
        f"{arithmetic / steps * 1e6:.1f} µs); reached: {bare / contenders[0].seconds:.0%}"
    )
    for contender in contenders:
        contender.model.env.close()


def memory() -> None:
    """Resident memory of a process of its own that trains on 64 HalfCheetahs."""
    [contender] = build("HalfCheetah-v5", LARGE, False)
    contender.round()
    contender.round()
    fields = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    peak = int(fields["VmHWM"].split()[0]) / 1024
    print(f"\nMemory: 64 HalfCheetah-v5 environments and PPO, peak resident: {peak:.0f} MiB (bar: 1024 MiB)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tasks", nargs="+", default=["HalfCheetah-v5", "Ant-v5"])
    parser.add_argument("--memory", action="store_true", help="only the memory, in this process")
    arguments = parser.parse_args()
    decide_threads(1)
    import torch

    torch.set_num_threads(1)
    logging.getLogger("mujoco").setLevel(logging.ERROR)
    if arguments.memory:
        memory()
        return
    for task in arguments.tasks:
        for setting in (LARGE, SMALL):
            compare(task, arguments.rounds, setting)
    subprocess.run([sys.executable, __file__, "--memory"], check=True)


if __name__ == "__main__":
    main()
