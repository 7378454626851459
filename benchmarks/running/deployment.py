"""Exported policies: one step in onnxruntime against SB3's ``predict``, and int8 against float32 on images.

(a) A 256 x 256 policy at batch 1, the normaliser included on both sides: `Policy.predict`, SB3's own
    ``model.predict`` after ``VecNormalize.normalize_obs``, and the graph, by turns.
(b) A policy of 84 x 84 frames through SqueezeNet: the graph in float32 and int8, one thread, with the returns
    in closed loop. Weights are ImageNet's where ``WARMSTART_WEIGHTS`` names a folder with
    ``squeezenet1_1.safetensors``, random ones otherwise.

    python benchmarks/running/deployment.py [--steps 20000] [--episodes 16] [--only states|pixels]
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import Checkpoint, checkpoint_of
from warmstart.agents.observing.base import EncodedFrames
from warmstart.agents.settings.config import PPOConfig
from warmstart.envs.vector import make_vec
from warmstart.sim2real.export.export import export_policy
from warmstart.sim2real.export.judging import latencies, step_of
from warmstart.sim2real.export.variants import Wanted, prepare
from warmstart.transfer.encoders.pretrained import pretrained_encoder

STATES, PIXELS = "HalfCheetah-v5", "InvertedPendulum-v5:obs=pixels,size=84"


def states() -> None:
    """A 256 x 256 policy of states."""
    import gymnasium

    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make(STATES)]))
    kwargs = {"net_arch": [256, 256]}
    model = stable_baselines3.SAC(
        "MlpPolicy", env, policy_kwargs=kwargs, learning_starts=100, device="cpu", seed=0
    )
    model.learn(200)
    exported = export_policy(checkpoint_of(model), STATES, episodes=2)
    env.training = False
    rows = [np.asarray(row, np.float64)[None] for row in np.random.default_rng(0).normal(size=(64, 17))]
    feeds = [{"observation": row.astype(np.float32)} for row in rows]
    turn = iter(range(1 << 62))
    steps = [
        step_of(exported.graph, feeds),
        lambda: model.predict(env.normalize_obs(rows[next(turn) % 64]), deterministic=True),
    ]
    print(f"{STATES}, SAC 256 x 256, batch 1, one thread, normaliser included ({load()})")
    for name, row in (("20 in a row", 20), ("by turns, on caches that the other one left", 1)):
        graph, predict = latencies(steps, 5_000, row)
        print(f"  {name}:")
        print(f"    SB3's predict:  p50 {1e3 * predict.p50:7.1f} us   p99 {1e3 * predict.p99:7.1f} us")
        print(f"    the graph:      p50 {1e3 * graph.p50:7.1f} us   p99 {1e3 * graph.p99:7.1f} us")
        print(f"    ratio of medians {predict.p50 / graph.p50:.1f} (asked for: at least 10)")


def load() -> str:
    """What else the machine does."""
    return f"load {os.getloadavg()[0]:.1f}"


def pixels(steps: int, episodes: int) -> None:
    """A policy of frames, trained for a little, in float32 and int8."""
    checkpoint = seeing(steps)
    wanted = Wanted(quantize="int8", episodes=episodes, tolerance=1.0)
    prepared = prepare(checkpoint, None, wanted)
    rows = {each.name: each for each in prepared.table}
    print(f"{PIXELS}, PPO on SqueezeNet 1.1, batch 1, one thread ({load()})")
    for each in rows.values():
        print(
            f"  {each.name:9} {each.size / 2**20:5.1f} MiB   p50 {each.latency.p50:6.3f} ms   p99 "
            f"{each.latency.p99:6.3f} ms   return {each.mean:7.1f}, lost {each.lost:+.1%} "
            f"({each.low:+.1%} to {each.high:+.1%})"
        )
    ratio = rows["float32"].latency.p50 / rows["int8"].latency.p50
    print(f"  int8 is {ratio:.2f} times as fast (asked for: at least 1.5, below 5 ms)")


def seeing(steps: int) -> Checkpoint:
    """A policy of frames."""
    folder = os.environ.get("WARMSTART_WEIGHTS")
    found = None if folder is None else Path(folder) / "squeezenet1_1.safetensors"
    weights = "random" if found is None or not found.is_file() else str(found)
    config = PPOConfig(
        n_envs=8, n_steps=64, batch_size=128, n_epochs=10, net_arch=(64, 64), learning_rate=1e-3
    )
    encoder, _ = pretrained_encoder(f"squeezenet1_1:features=32,weights={weights}", (84, 84))
    encoder.fit(torch.from_numpy(frames()))
    env = make_training_env(config, PIXELS, 0, vision=EncodedFrames(encoder))
    print(f"training for {steps:,} steps, weights: {Path(weights).name}", flush=True)
    return checkpoint_of(build_agent(config, env, 0, device="cpu").learn(steps), task=PIXELS)


def frames() -> Any:
    """Frames of random states. Shape: (256, 84, 84, 3)."""
    env = make_vec(PIXELS, 8, 0, n_threads=1)
    env.reset(seed=0)
    env.action_space.seed(0)
    found = np.concatenate([env.step(env.action_space.sample())[0] for _ in range(32)])
    env.close()
    return found


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--only", choices=("states", "pixels"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.only != "pixels":
        states()
    if given.only != "states":
        pixels(given.steps, given.episodes)


if __name__ == "__main__":
    main()
