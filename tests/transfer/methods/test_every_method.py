"""What every method keeps: bits, save and load, seams with effect, and nothing at a coefficient of zero.

By default every method meets PPO, SAC and TD3, and what reaches into networks TQC and CrossQ as well; the
other pairs are `make slow`'s.
"""

from dataclasses import fields
from functools import cache

import pytest
import torch
from stable_baselines3.common.vec_env import VecNormalize

from tests.transfer.conftest import assert_tensors, build, disturb, tensors
from warmstart.agents.algorithms.crossq import CrossQ
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.sac import SAC
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.td3 import TD3
from warmstart.agents.algorithms.tqc import TQC
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import checkpoint_of
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec
from warmstart.transfer.carry.freezing import frozen_names
from warmstart.transfer.table import METHODS, make_method
from warmstart.transfer.warm_start import warm_start

OURS = {"ppo": PPO, "sac": SAC, "td3": TD3, "tqc": TQC, "crossq": CrossQ}
TASK = "InvertedPendulum-v5"
SHORT = {
    "critic_fit_steps": 32,
    "critic_updates": 2,
    "updates": 3,
    "warm_up_steps": 16,
    "fisher_steps": 24,
    "unfreeze_steps": 32,
    "stages": 2,
    "data_steps": 64,
    "least_trial": 4,
    "trial_share": 0.0,
}
NEUTRAL = {
    "l2_sp": {"coefficient": 0.0},
    "ewc": {"coefficient": 0.0},
    "gradual_unfreezing": {"unfreeze_steps": 0, "rate_decay": 1.0},
    "partial_reset": {"reset": "nothing"},
    "shrink_perturb": {"shrink": 1.0},
    "kickstart": {"coefficient": 0.0, "start": "carried"},
    "rlpd": {"share": 0.0, "start": "carried"},
    "best_source": {"sources": ()},
}
"""Options with which a method is plain fine-tuning."""
EVERY = [(name, algorithm) for name in METHODS for algorithm in METHODS[name].algorithms]
REACHING = (
    "fine_tune", "feature_extraction", "partial_reset", "shrink_perturb", "layer_norm", "residual",
    "progressive", "lora", "input_adapter", "qdagger", "rlpd",
)  # fmt: skip
"""Methods that depend on how an algorithm's networks or updates are built."""


def marked(pairs, algorithms=("ppo", "sac", "td3")):
    """Pairs of which the default run takes these algorithms', and all of the methods that reach further."""
    return [
        pytest.param(
            name, algorithm, marks=() if algorithm in algorithms or name in REACHING else pytest.mark.slow
        )
        for name, algorithm in pairs
    ]


def options_of(name, given):
    if name in ("kickstart", "rlpd") and given.get("start") != "carried":
        return {"data_steps": 64} if name == "rlpd" else {}
    known = {item.name for item in fields(METHODS[name])} - ({"critic_updates"} if name == "wsrl" else set())
    return {key: value for key, value in SHORT.items() if key in known}


@cache
def source_of(algorithm):
    """A source's checkpoint, which nothing changes."""
    env = as_sb3(make_vec(TASK, 1, seed=0, n_threads=1))
    checkpoint = checkpoint_of(disturb(build(algorithm, VecNormalize(env), seed=1, classes=OURS)))
    env.close()
    return checkpoint


def run(name, algorithm, envs, steps=64, **options):
    """Warm-start a small agent by a method, and train it; returns model and report."""
    source = source_of(algorithm)
    method = make_method(name, **{**options_of(name, options), **options})
    kwargs = method.seams(source).policy_kwargs
    built = {"learning_starts": 16, "train_freq": (4, "step")} if algorithm != "ppo" else {}
    built |= {"seams": Seams(policy_kwargs=kwargs)} if kwargs else {}
    target = build(algorithm, envs(TASK), seed=2, classes=OURS, **built)
    report = warm_start(target, source, method, seed=0)
    if steps:
        target.learn(steps, reset_num_timesteps=False, callback=report.callback)
    return target, report


RUNS = {}


def trained(name, algorithm, envs):
    """Tensors of a trained agent, the same for all tests that compare with it."""
    if (name, algorithm) not in RUNS:
        RUNS[name, algorithm] = tensors(run(name, algorithm, envs)[0])
    return RUNS[name, algorithm]


def test_every_method_says_what_it_is():
    for name, method in METHODS.items():
        assert method.title, name
        assert method.fills, name
        assert set(method.fills) <= {
            "initialise",
            "policy_kwargs",
            "trainability",
            "loss terms",
            "experience",
            "feedback",
        }
        assert set(method.serves) <= {"inductive", "transductive", "unsupervised"}
    teaching = {"kickstart", "distill", "qdagger", "clone"}
    assert not any("unsupervised" in METHODS[name].serves for name in teaching), (
        "it teaches what earns nothing"
    )


@pytest.mark.parametrize(("name", "algorithm"), marked(EVERY))
def test_it_trains_the_same_twice_and_survives_save_and_load(name, algorithm, envs, tmp_path):
    model, report = run(name, algorithm, envs)
    assert report.method == name
    assert {entry.name for entry in report.entries} >= set(model.policy.state_dict())
    assert all(torch.isfinite(value).all() for value in model.policy.state_dict().values())
    assert_tensors(trained(name, algorithm, envs), tensors(model))
    model.save(tmp_path / "model")
    loaded = OURS[algorithm].load(tmp_path / "model", env=model.env)
    assert_tensors(tensors(loaded), tensors(model))
    loaded.learn(32, reset_num_timesteps=False)


@pytest.mark.parametrize(
    ("name", "algorithm"), marked([pair for pair in EVERY if METHODS[pair[0]].trains], ("ppo", "sac"))
)
def test_what_is_frozen_stays_and_the_rest_moves(name, algorithm, envs):
    late = {"unfreeze_steps": 10_000} if name == "gradual_unfreezing" else {}
    model, _ = run(name, algorithm, envs, steps=0, **late)
    before, frozen = tensors(model), frozen_names(model)
    model.learn(32, reset_num_timesteps=False)
    moved = {key for key, value in tensors(model).items() if not torch.equal(value, before[key])}
    assert not moved & frozen
    assert moved


@pytest.mark.parametrize(
    ("name", "algorithm"), [pair for pair in EVERY if pair[0] in NEUTRAL and pair[1] in ("ppo", "sac", "td3")]
)
def test_at_a_coefficient_of_zero_it_is_fine_tuning_bit_for_bit(name, algorithm, envs):
    found, _ = run(name, algorithm, envs, **NEUTRAL[name])
    assert_tensors(tensors(found), trained("fine_tune", algorithm, envs))


@pytest.mark.parametrize(
    "name", [name for name in METHODS if name not in ("scratch", "fine_tune", "best_source")]
)
def test_its_seam_has_effect(name, envs):
    algorithm = METHODS[name].algorithms[0]
    strong = {"l2_sp": {"coefficient": 10.0}, "ewc": {"coefficient": 10.0}}.get(name, {})
    ours = tensors(run(name, algorithm, envs, **strong)[0]) if strong else trained(name, algorithm, envs)
    theirs = trained("fine_tune", algorithm, envs)
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [(name, a) for name in METHODS for a in OURS if a not in METHODS[name].algorithms],
)
def test_an_algorithm_that_it_cannot_take_is_refused(name, algorithm, envs):
    with pytest.raises(WarmstartError, match=f"{name} works with .*; this agent is {algorithm}"):
        run(name, algorithm, envs, steps=0)


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].needs_source])
def test_without_a_source_it_is_refused(name, envs):
    model = build(METHODS[name].algorithms[0], envs(TASK), classes=OURS)
    with pytest.raises(WarmstartError, match="none was given"):
        warm_start(model, None, name, seed=0)
    assert algorithm_name(model) in METHODS[name].algorithms
