"""What PPO learns from pixels alone with frozen encoders, against the bars.

One seed each, stopped at the bar.

    python benchmarks/vision_learning.py              ImageNet's SqueezeNet; one pretrained in the task
    python benchmarks/vision_learning.py --readouts   every readout of the ImageNet map, InvertedPendulum-v5
    python benchmarks/vision_learning.py --shift      a changed camera, light and colours, without retraining

WARMSTART_WEIGHTS names the folder of the ImageNet weights; their rows are left out without it.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from warmstart.core.threads import available_cores, decide_threads

decide_threads(1)

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder
from warmstart.agents.encoders.readouts import READOUTS
from warmstart.agents.evaluation import Evaluator, evaluate
from warmstart.agents.extractors.seams import encoder_seams
from warmstart.agents.observing.base import EncodedFrames, Observing, StackedFrames
from warmstart.agents.settings.config import PPOConfig
from warmstart.agents.settings.defaults import default_config
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.trial.observing import fit_readout
from warmstart.sim2real.randomization.randomization import Randomization, read_terms
from warmstart.transfer.encoders.pretrained import pretrained_encoder
from warmstart.transfer.frames.acting import frame_size, pixel_task
from warmstart.transfer.pretraining.pretraining import PretrainingConfig, pretrain
from warmstart.transfer.pretraining.tasks import SourceTasks

CORES = available_cores()
EPISODES = 16
CHECK_EVERY = 16_384
"""Environment steps between evaluations, whose time doesn't count."""


@dataclass(frozen=True)
class Bar:
    """A task and what has to be reached."""

    task: str
    minutes: float
    target: float
    features: int = 64


@dataclass(frozen=True)
class Outcome:
    """What a training reached."""

    policy: Policy
    best: float
    steps: int
    minutes: float
    curve: tuple[tuple[int, float], ...]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="*", default=["InvertedPendulum-v5", "Reacher-v5", "HalfCheetah-v5"])
    parser.add_argument("--encoders", nargs="*", default=["imagenet", "in-domain"])
    parser.add_argument("--readouts", action="store_true")
    parser.add_argument("--shift", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if "WARMSTART_WEIGHTS" not in os.environ and "imagenet" in arguments.encoders:
        print("WARMSTART_WEIGHTS names no folder with squeezenet1_1.safetensors: no ImageNet rows.")
        arguments.encoders.remove("imagenet")
    if arguments.readouts:
        compare_readouts(arguments.seed)
    elif arguments.shift:
        visual_shift(arguments.seed)
    else:
        for task in arguments.tasks:
            learn_bars(bar_of(task), arguments.encoders, arguments.seed)


def bar_of(task: str) -> Bar:
    if task == "Reacher-v5":
        low, high = random_return(task), oracle_return(task)
        bar = low + 0.8 * (high - low)
        print(f"{task}: random {low:.1f}, state oracle {high:.1f}, 80% of the way {bar:.1f}")
        return Bar(task, 30, bar, 128)
    return {
        "InvertedPendulum-v5": Bar("InvertedPendulum-v5", 15, 900),
        "HalfCheetah-v5": Bar("HalfCheetah-v5", 30, 1000, 128),
    }[task]


def learn_bars(bar: Bar, encoders: list[str], seed: int) -> None:
    for name in encoders:
        encoder, before = make(name, bar, seed)
        found = train(f"{bar.task}:obs=pixels", encoder, seed, bar.minutes - before, bar.target)
        verdict = "reached" if found.best >= bar.target else "MISSED"
        print(
            f"{bar.task:20} {name:10} {encoder.config}: return {found.best:,.1f} "
            f"(bar {bar.target:,.1f}, {verdict}) after {found.steps:,} steps, "
            f"{found.minutes + before:.1f} min of {bar.minutes:g}"
            + (f" ({before:.1f} of them pretraining)" if before else ""),
            flush=True,
        )


def make(name: str, bar: Bar, seed: int) -> tuple[Encoder, float]:
    """An encoder fitted on a task's frames, and the minutes that making it took."""
    task = Task.parse(f"{bar.task}:obs=pixels")
    start = time.perf_counter()
    if name == "imagenet":
        config = EncoderConfig(architecture="squeezenet1_1", weights="imagenet", features=bar.features)
        encoder, _ = pretrained_encoder(config, frame_size(task))
        fit_readout(encoder, task, seed, n_threads=CORES)
        return encoder, 0.0
    config = EncoderConfig(architecture="drq", features=bar.features)
    encoder, _ = pretrained_encoder(config, frame_size(task))
    settings = PretrainingConfig(seed=seed)
    sources = SourceTasks([pixel_task(task)], settings, n_threads=CORES)
    trained = pretrain(encoder, sources.training_frames(quiet), settings).encoder
    minutes = (time.perf_counter() - start) / 60
    (found,) = sources.probe({"after": trained}, 3_000, quiet).values()
    print(f"{bar.task}: {settings.objective} in {minutes:.1f} min, probe R² {found['after']:.3f}")
    return trained, minutes


def quiet(_: str) -> Callable[[int, int], None]:
    """A stage without a progress bar."""
    return lambda *_: None


class Until(BaseCallback):
    """Evaluates on its own clock and stops at the bar or when the time is up."""

    def __init__(self, task: Task, minutes: float, target: float) -> None:
        super().__init__()
        self.evaluator = Evaluator(task, EPISODES, seed=77, n_threads=CORES)
        self.minutes, self.target = minutes, target
        self.curve: list[tuple[int, float]] = []
        self.next, self.aside, self.start = CHECK_EVERY, 0.0, time.perf_counter()

    @property
    def spent(self) -> float:
        return (time.perf_counter() - self.start - self.aside) / 60

    def _on_step(self) -> bool:
        if self.num_timesteps < self.next:
            return True
        self.next += CHECK_EVERY
        begun = time.perf_counter()
        modes = self.model.policy.training
        self.curve.append((self.num_timesteps, self.evaluator.run(Policy.from_model(self.model)).mean))
        self.model.policy.set_training_mode(modes)
        self.aside += time.perf_counter() - begun
        return self.curve[-1][1] < self.target and self.spent < self.minutes


def train(
    text: str,
    encoder: Encoder,
    seed: int,
    minutes: float,
    target: float,
    looks: Any = None,
    frozen: bool = True,
) -> Outcome:
    """Train PPO on a frozen encoder's features, or the encoder with it."""
    task = Task.parse(text)
    config = default_config("ppo", task)
    assert isinstance(config, PPOConfig)
    vision: Observing = EncodedFrames(encoder, n_threads=CORES)
    if not frozen:
        vision, config = StackedFrames(encoder.config.frames), replace(config, n_epochs=4)
    env = make_training_env(config, task, seed, n_threads=CORES, vision=vision, context_source=looks)
    settings = EncoderTraining(train="frozen" if frozen else "fine_tuned")
    seams = encoder_seams(settings, encoder, "ppo", env.observation_space)
    model = build_agent(config, env, seed, "cpu", seams)
    until = Until(task, minutes, target)
    model.learn(100_000_000, callback=until)
    policy, steps, spent = Policy.from_model(model), model.num_timesteps, until.spent
    until.evaluator.close()
    env.close()
    best = max(value for _, value in until.curve)
    return Outcome(policy, best, steps, spent, tuple(until.curve))


def random_return(task: str) -> float:
    space = make_vec(task, 1, n_threads=1).single_action_space
    space.seed(0)
    return evaluate(lambda o: np.stack([space.sample() for _ in o]), task, episodes=64, seed=77).mean


def oracle_return(task: str, steps: int = 600_000) -> float:
    """Return of PPO with the task's own hyperparameters from states."""
    config = default_config("ppo", task)
    env = make_training_env(config, task, 0, n_threads=CORES)
    model = build_agent(config, env, 0, "cpu")
    model.learn(steps)
    result = evaluate(Policy.from_model(model), task, episodes=64, seed=77).mean
    env.close()
    return result


def compare_readouts(seed: int, minutes: float = 4.0) -> None:
    task = Task.parse("InvertedPendulum-v5:obs=pixels")
    print(f"InvertedPendulum-v5, SqueezeNet features[:5] with ImageNet's weights, {minutes:g} min each")
    for readout in READOUTS:
        if readout == "flatten":
            continue  # 51,200 numbers a frame
        config = EncoderConfig(architecture="squeezenet1_1", weights="imagenet", readout=readout)
        encoder, _ = pretrained_encoder(config, frame_size(task))
        fit_readout(encoder, task, seed, n_threads=CORES)
        found = train(str(task), encoder, seed, minutes, 990.0)
        print(
            f"  {readout:16} {encoder.n_features:4} features: return {found.best:7.1f} after "
            f"{found.steps:,} steps, {found.minutes:.1f} min",
            flush=True,
        )


SHIFT = "@light=x[0.8,0.7,0.6],color=x[0.9,1,0.8],camera.azimuth+=4,camera.distance=x1.05"
LOOKS = {
    "light": "x0.4:x1.6",
    "color": "x0.6:x1",
    "camera.azimuth": "-=8:+=8",
    "camera.elevation": "-=3:+=3",
    "camera.distance": "x0.92:x1.12",
}


def visual_shift(seed: int, minutes: float = 8.0) -> None:
    """Frozen features under randomized looks, frozen features of the nominal look, against a scratch CNN."""
    base = "InvertedPendulum-v5:obs=pixels"
    print(f"Nominal return, and return under {SHIFT[1:]} without retraining")
    for name, looks in (("nominal looks", {}), ("randomized looks", LOOKS)):
        for kind in ("imagenet", "random"):
            source = Randomization(read_terms(looks)[0], seed) if looks else None
            config = EncoderConfig(architecture="squeezenet1_1", weights=kind)
            encoder, _ = pretrained_encoder(config, frame_size(Task.parse(base)))
            fit_readout(encoder, Task.parse(base), seed, source, n_threads=CORES)
            found = train(base, encoder, seed, minutes, 990.0, source)
            report_shift(f"frozen {kind}, {name}", found, base)
    encoder, _ = pretrained_encoder("nature_cnn:frames=3", frame_size(Task.parse(base)))
    found = train(base, encoder, seed, 2 * minutes, 990.0, frozen=False)
    report_shift("NatureCNN from scratch", found, base)


def report_shift(name: str, found: Outcome, base: str) -> None:
    nominal, shifted = (
        evaluate(found.policy, base + context, episodes=32, seed=99, n_threads=CORES).mean
        for context in ("", SHIFT)
    )
    print(
        f"  {name:36} {nominal:7.1f} {shifted:7.1f}: {100 * shifted / nominal:3.0f}% kept "
        f"({found.steps:,} steps, {found.minutes:.1f} min)",
        flush=True,
    )


if __name__ == "__main__":
    main()
