"""What pixels cost, against the usual ways: frames, a SAC gradient step, replay memory, steps from pixels.

python benchmarks/vision.py            all of it, a few minutes on two cores
WARMSTART_WEIGHTS=FOLDER               takes SqueezeNet's ImageNet weights from there; random ones otherwise
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv

from warmstart.agents.build import build_agent
from warmstart.agents.checkpoints.normalization import vec_normalize
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder
from warmstart.agents.encoders.fast_encoding import FastEncoder, feature_error, native_bfloat16
from warmstart.agents.observing.frames import EncodedVectorEnv
from warmstart.agents.settings.defaults import default_config
from warmstart.core.threads import available_cores
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.trial.observing import fit_readout
from warmstart.transfer.encoders.pretrained import pretrained_encoder

SIZE, ENVS = 84, 16
ROUNDS = 7
TASKS = ("HalfCheetah-v5", "InvertedPendulum-v5", "Reacher-v5")

PEER = """
import os, sys, time
os.environ["MUJOCO_GL"] = "egl"
import gymnasium
env = gymnasium.make(sys.argv[1], render_mode="rgb_array", width=84, height=84)
env.reset(seed=0)
env.render()
n, start = 0, time.perf_counter()
while time.perf_counter() - start < 3:
    env.render()
    n += 1
print(n / (time.perf_counter() - start))
"""


def main() -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    weights = "imagenet" if os.environ.get("WARMSTART_WEIGHTS") else "random"
    print(f"{available_cores()} cores, SqueezeNet 1.1 features[:5], weights: {weights}\n")
    frames()
    encoder = make_encoder(weights)
    features(encoder)
    steps_from_pixels(encoder)
    gradient_steps(encoder)


def frames() -> None:
    print("Frames at 84 × 84, one core, frames/s (Gymnasium's renderer: the faster of one and all threads)")
    for task in TASKS:
        env = make_vec(f"{task}:obs=pixels,size={SIZE}", ENVS, seed=0, n_threads=1)
        env.reset(seed=0)
        out = np.empty((ENVS, SIZE, SIZE, 3), dtype=np.uint8)
        ids = np.arange(ENVS, dtype=np.int32)
        lean = ENVS / median(lambda e=env, i=ids, o=out: e._drawer.draw(i, o), 40)
        env.close()
        peer = max(default_renderer(task, threads) for threads in (None, "0"))
        bars = "bars 50 and 2,500" if task == "HalfCheetah-v5" else ""
        print(f"  {task:20} {lean:8,.0f} against {peer:6,.0f}: {lean / peer:6.1f} times  {bars}")
    print()


def default_renderer(task: str, threads: str | None) -> float:
    env = {key: value for key, value in os.environ.items() if key != "LP_NUM_THREADS"}
    if threads is not None:
        env["LP_NUM_THREADS"] = threads
    done = subprocess.run(
        [sys.executable, "-c", PEER, task], env=env, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def make_encoder(weights: str) -> Encoder:
    config = EncoderConfig.parse(f"squeezenet1_1:weights={weights},features=64")
    encoder, _ = pretrained_encoder(config, (SIZE, SIZE))
    fit_readout(encoder, Task.parse(f"HalfCheetah-v5:obs=pixels,size={SIZE}"), seed=0)
    return encoder


def features(encoder: Encoder) -> None:
    env = make_vec(f"HalfCheetah-v5:obs=pixels,size={SIZE}", 64, seed=1)
    seen, _ = env.reset(seed=1)
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen, *_ = env.step(rng.uniform(-1, 1, (64, 6)).astype(np.float32))
    env.close()
    print("Encoding, one thread, batches of 16")
    for precision in ("float32", "bfloat16"):
        if precision == "bfloat16" and not native_bfloat16():
            continue
        fast = FastEncoder(encoder, precision)
        rate = 16 / median(lambda f=fast: f(seen[:16]), 40)
        error = feature_error(encoder, seen, precision)
        print(
            f"  {precision:9} {rate:8,.0f} frames/s, relative error of the features {100 * error:.3f}% "
            "(bar 1%)"
        )
    kept = 2 * encoder.n_features
    print(f"  float32 kept per observation, history included: {kept} (bar 635)\n")


def steps_from_pixels(encoder: Encoder) -> None:
    task = f"HalfCheetah-v5:obs=pixels,size={SIZE}"
    cores = available_cores()
    config = default_config("ppo", task)
    pixel = make_vec(task, ENVS, seed=0, n_threads=cores)
    fast = FastEncoder(encoder, "auto", n_threads=cores)
    encoded = EncodedVectorEnv(pixel, fast, encoder.n_features)
    env = vec_normalize(as_sb3(encoded), gamma=config.gamma)
    model = build_agent(config, env, 0, "cpu")
    plain = make_vec("HalfCheetah-v5", ENVS, seed=0, n_threads=cores)
    plain.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (ENVS, 6)).astype(np.float32)
    seen = pixel.reset(seed=0)[0]
    moments = []  # a scene that stands still is drawn and encoded faster than one that moves
    for _ in range(8):
        for _ in range(5):
            seen, *_ = pixel.step(rng.uniform(-1, 1, (ENVS, 6)).astype(np.float32))
        moments.append((pixel.env.state_dict(), seen))
    out, ids = np.empty_like(seen), np.arange(ENVS, dtype=np.int32)
    state = {"obs": env.reset(), "moment": 0, "seen": seen}

    def move() -> None:
        state["moment"] = (state["moment"] + 1) % len(moments)
        simulations, state["seen"] = moments[state["moment"]]
        pixel.env.load_state_dict(simulations)

    def act() -> None:
        with torch.no_grad():
            taken, _, _ = model.policy(torch.as_tensor(state["obs"]))
        clipped = np.clip(taken.numpy(), env.action_space.low, env.action_space.high)
        state["obs"] = env.step(clipped)[0]

    parts: dict[str, Callable[[], object]] = {
        "simulate": lambda: plain.step(actions),
        "draw": lambda: pixel._drawer.draw(ids, out),
        "encode": lambda: fast(state["seen"]),
        "all": act,
    }
    times = alternate(parts, 60, before={"draw": move, "encode": move})
    alone = sum(times[name] for name in ("simulate", "draw", "encode"))
    print(f"Steps from pixels to PPO's action, {ENVS} environments, {cores} threads, no action repeat")
    print("  " + ", ".join(f"{name} {1e6 * t / ENVS:.0f} µs" for name, t in times.items()) + " per step")
    share = f"{100 * alone / times['all']:.0f}% of the parts' (bar 80%)"
    print(f"  {ENVS / times['all']:,.0f} steps/s (bar 1,200), {share}\n")
    env.close()
    plain.close()


class FrozenInPolicy(BaseFeaturesExtractor):
    """The usual way to reuse an encoder in SB3: frozen, inside the policy, every frame of the stack."""

    def __init__(self, observation_space: spaces.Box, encoder: Encoder) -> None:
        super().__init__(observation_space, 3 * encoder.n_features)
        self.encoder = encoder

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        images = (observations * 255).byte() if observations.max() <= 1 else observations.byte()
        stacks = images.unflatten(1, (3, 3)).flatten(0, 1).permute(0, 2, 3, 1)
        with torch.no_grad():
            return self.encoder(stacks.contiguous()).unflatten(0, (len(observations), 3)).flatten(1)


def gradient_steps(encoder: Encoder) -> None:
    batch, actions = 128, spaces.Box(-1, 1, (6,), np.float32)
    images = spaces.Box(0, 255, (9, SIZE, SIZE), np.uint8)
    vectors = spaces.Box(-np.inf, np.inf, (2 * encoder.n_features,), np.float32)
    arms = {
        "SB3's CnnPolicy, end to end": agent("CnnPolicy", images, actions, batch),
        "the frozen encoder inside the policy": agent(
            "CnnPolicy",
            images,
            actions,
            batch,
            features_extractor_class=FrozenInPolicy,
            features_extractor_kwargs={"encoder": encoder},
        ),
        "features cached by warmstart": agent("MlpPolicy", vectors, actions, batch),
    }
    runs = {
        name: (lambda m=model: m.train(gradient_steps=1, batch_size=batch)) for name, model in arms.items()
    }
    times = alternate(runs, 3, rounds=3)
    ours = times["features cached by warmstart"]
    print(f"A SAC gradient step, batch {batch}, one thread")
    for name, seconds in times.items():
        ratio = f"{seconds / ours:6.1f} times (bar 20)" if seconds is not ours else ""
        print(f"  {name:38} {1e3 * seconds:8.1f} ms {ratio}")
    big, small = (ReplayBuffer(64, space, actions) for space in (images, vectors))
    bytes_of = [sum(a.nbytes for a in (b.observations, b.next_observations)) / 64 for b in (big, small)]
    shared = bytes_of[0] / 2
    print(
        f"Replay memory of a transition's observations: {bytes_of[0]:,.0f} bytes in frames "
        f"({shared:,.0f} with optimize_memory_usage), {bytes_of[1]:,.0f} in features: "
        f"{bytes_of[0] / bytes_of[1]:.0f} times "
        f"({shared / bytes_of[1]:.0f} times) smaller (bar 25)"
    )


class Noise(gymnasium.Env[Any, Any]):
    """Random observations of a space: what a gradient step costs doesn't depend on them."""

    def __init__(self, observations: spaces.Box, actions: spaces.Box) -> None:
        self.observation_space, self.action_space = observations, actions

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


def agent(
    policy: str, observations: spaces.Box, actions: spaces.Box, batch: int, **policy_kwargs: Any
) -> SAC:
    env = DummyVecEnv([lambda: Noise(observations, actions)])
    model = SAC(
        policy, env, buffer_size=4 * batch, learning_starts=2 * batch, policy_kwargs=policy_kwargs, seed=0
    )
    model.learn(2 * batch)
    return model


def median(run: Callable[[], object], times: int) -> float:
    run()
    return statistics.median(timed(run) for _ in range(times))


def alternate(
    runs: dict[str, Callable[[], object]],
    repeats: int,
    rounds: int = ROUNDS,
    before: dict[str, Callable[[], object]] | None = None,
) -> dict[str, float]:
    """Median seconds of each, taken in turn; what is done before each repetition isn't timed."""
    prepare = before or {}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            for _ in range(repeats):
                prepare.get(name, int)()
                found[name].append(timed(run))
    return {name: statistics.median(values) for name, values in found.items()}


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
