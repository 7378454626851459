"""Layer normalisation behind gates: nothing changes at first, the gates open, and files keep them."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.transfer.conftest import build, disturb, tensors
from tests.transfer.methods.test_every_method import OURS
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.extractors.normed import NormedReLU, NormedTanh
from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.table import make_method
from warmstart.transfer.warm_start import warm_start

TASK = "Reacher-v5"


def normed(algorithm, envs, source=None):
    source = source or disturb(build(algorithm, envs(TASK), seed=1, classes=OURS))
    method = make_method("layer_norm", critic_fit_steps=0, warm_up_steps=0)
    seams = Seams(policy_kwargs=method.seams(read_source(source)).policy_kwargs)
    settings = {"learning_starts": 16} if algorithm != "ppo" else {}
    model = build(algorithm, envs(TASK), seed=2, classes=OURS, seams=seams, **settings)
    return source, model, warm_start(model, source, method, seed=0)


def gates(model):
    return {name: value for name, value in tensors(model).items() if name.endswith(".gate")}


def test_half_open_it_is_half_normalised():
    layer = NormedReLU()
    with torch.no_grad():
        layer.gate.fill_(0.5)
    # mean 2, standard deviation √2 (and 1e-5 in the variance)
    found = layer(torch.tensor([[1.0, 1.0, 4.0]]))
    expected = torch.tensor([[0.5 - 0.25 * 2**0.5, 0.5 - 0.25 * 2**0.5, 2 + 0.5 * 2**0.5]]).clamp(min=0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    closed, x = NormedTanh(), torch.randn(3, 5)
    assert torch.equal(closed(x), nn.Tanh()(x))


@pytest.mark.parametrize("algorithm", OURS)
def test_it_begins_as_the_source_and_the_gates_move(algorithm, envs):
    source, model, report = normed(algorithm, envs)
    observations = np.random.default_rng(0).normal(size=(32, 10))
    expected = Policy.from_model(source).predict(observations)
    assert np.array_equal(Policy.from_model(model).predict(observations), expected)
    assert gates(model)
    assert not any(gate.any() for gate in gates(model).values())
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
    assert any(gate.any() for name, gate in gates(model).items() if "target" not in name)


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_files_keep_the_gates_and_another_start_takes_them(algorithm, envs, tmp_path):
    _, model, report = normed(algorithm, envs)
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
    model.save(tmp_path / "zip")
    save_checkpoint(model, tmp_path / "checkpoint")
    observations = torch.randn(8, 10)
    for path in ("zip.zip", "checkpoint"):
        loaded = load_checkpoint(tmp_path / path)
        assert loaded.policy_kwargs["activation"].startswith("normed_")
        found = loaded.policy().module._predict(observations, deterministic=True)
        torch.testing.assert_close(found, model.policy._predict(observations, deterministic=True))
    _, again, _ = normed(algorithm, envs, load_checkpoint(tmp_path / "checkpoint"))
    online = {name: gate for name, gate in gates(again).items() if "target" not in name}
    assert all(torch.equal(gate, gates(model)[name]) for name, gate in online.items())


def test_activations_that_it_does_not_know_are_refused(envs):
    source = build("ppo", envs(TASK), classes=OURS, policy_kwargs={"activation_fn": nn.ELU})
    with pytest.raises(WarmstartError, match="stands before tanh or relu; the source has elu"):
        normed("ppo", envs, source)


def test_a_network_that_normalises_already_is_refused(envs):
    from warmstart.agents.extractors.simba import SimbaSACPolicy

    source = build("sac", envs(TASK), classes=OURS, policy=SimbaSACPolicy)
    with pytest.raises(WarmstartError, match="simba, normalises its layers already"):
        normed("sac", envs, source)
