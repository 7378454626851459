"""Tasks with imperfections, for tests."""

import numpy as np

from warmstart.core.plain import read
from warmstart.envs.vector import make_vec
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.paths import perturbations

ARM = "Pusher-v5"
"""Seven actuators from -2 to 2, every 0.05 s; no episode ends early."""


SWIMMER = "Swimmer-v5:time_limit=40"
"""Eight sensors, read every 0.04 s; no episode ends early."""


EVERY_KIND = {
    "bias": 0.1,
    "drift": 0.1,
    "noise": 0.1,
    "quantisation": 0.1,
    "stuck": [{"probability": 0.5}, {"probability": 0.2, "steps": 3, "sensors": ["*.velocity"]}],
    "dropout": {"probability": 0.1, "steps": 2},
    "observation_delay": {"low": 1, "high": 3, "hold": 0.5},
    "observation_loss": 0.2,
    "action_repeat": 2,
    "action_loss": 0.2,
    "action_delay": [0, 3],
    "action_noise": 0.1,
    "dead_band": 0.2,
    "backlash": 0.1,
    "rate_limit": 5.0,
    "action_lag": 0.05,
    "motor_strength": [0.7, 0.9],
    "saturation": 0.5,
}


def make(written, task=SWIMMER, n=1, seed=7):
    flaws = read(Imperfections, written) if not isinstance(written, Imperfections) else written
    return make_vec(task, n, seed=0, n_threads=1, perturbations=perturbations(flaws, seed))


def carried_out(written, actions):
    """What an actuator gets when all are given an episode's actions. Shapes: (steps,)."""
    env = make(written, ARM)
    env.reset(seed=0)
    found = []
    for action in actions:
        env.step(np.full(env.action_space.shape, action))
        found.append(env.sim.ctrl[0, 0])
    env.close()
    return np.array(found)


def signals(written, steps=30, n=1):
    """True and seen observations of an episode, the final ones too. Shapes: (steps + 1, n, k)."""
    envs = [make(what, n=n) for what in ({}, written)]
    seen = [[env.reset(seed=0)[0]] for env in envs]
    for step in range(steps):
        for env, found in zip(envs, seen, strict=True):
            action = np.full(env.action_space.shape, (-1) ** (step // 3))
            obs, _, terminations, truncations, infos = env.step(action)
            ended = terminations | truncations
            if ended.any():
                obs[ended] = np.stack(list(infos["final_obs"][ended]))
            found.append(obs)
    for env in envs:
        env.close()
    return tuple(np.array(found) for found in seen)


def roll(env, steps, start=0, width=1.0):
    """Everything that a step returns, for actions that depend on the step only."""
    out = []
    low, high = env.single_action_space.low, env.single_action_space.high
    for step in range(start, start + steps):
        share = np.random.default_rng(step).uniform(0, 1, len(low)) * width
        action = np.tile((low + share * (high - low)).astype(np.float32), (env.num_envs, 1))
        observations, rewards, terminations, truncations, _ = env.step(action)
        out.append(np.column_stack([observations, rewards, terminations, truncations]))
    return np.array(out)
