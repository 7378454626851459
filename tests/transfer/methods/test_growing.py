"""New units beside a frozen actor: it begins as the source, and the old part never moves."""

import numpy as np
import pytest
import torch

from tests.transfer.conftest import build, disturb, tensors
from tests.transfer.methods.test_every_method import OURS
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.checkpoint import checkpoint_of
from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.transfer.table import make_method
from warmstart.transfer.warm_start import warm_start

TASK = "Reacher-v5"


def grown(name, algorithm, envs, **options):
    source = disturb(build(algorithm, envs(TASK), seed=1, classes=OURS))
    method = make_method(name, new_units=8, critic_fit_steps=0, warm_up_steps=0, **options)
    seams = Seams(policy_kwargs=method.seams(checkpoint_of(source)).policy_kwargs)
    settings = {"learning_starts": 16} if algorithm != "ppo" else {}
    model = build(algorithm, envs(TASK), seed=2, classes=OURS, seams=seams, **settings)
    return source, model, warm_start(model, source, method, seed=0)


@pytest.mark.parametrize("name", ["residual", "progressive"])
@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3", "tqc"])
def test_it_begins_as_the_source_and_the_old_part_stays(name, algorithm, envs):
    source, model, report = grown(name, algorithm, envs)
    observations = np.random.default_rng(0).normal(size=(32, 10))
    expected = Policy.from_model(source).predict(observations)
    np.testing.assert_allclose(Policy.from_model(model).predict(observations), expected, atol=1e-5)
    before = tensors(model)
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
    after, moved = tensors(model), False
    for key, mask in model.trainability.masks.items():
        assert torch.equal(after[key][mask == 0], before[key][mask == 0]), key
        assert 0 < mask.mean() < 1 or (name == "progressive" and mask.mean() > 0)
        moved |= not torch.equal(after[key], before[key])
    assert moved
    assert model.policy.state_dict()[next(iter(model.trainability.masks))].shape[0] == 24


def test_the_update_of_ppo_is_the_fast_one(envs):
    _, model, report = grown("residual", "ppo", envs)
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
    assert model._update is not None


def test_a_mask_holds_after_save_and_load(envs, tmp_path):
    _, model, report = grown("residual", "ppo", envs)
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
    model.save(tmp_path / "m")
    loaded = OURS["ppo"].load(tmp_path / "m", env=model.env)
    before = tensors(loaded)
    loaded.learn(64, reset_num_timesteps=False)
    for key, mask in model.trainability.masks.items():
        assert torch.equal(tensors(loaded)[key][mask == 0], before[key][mask == 0]), key


def test_without_the_wider_network_it_says_how(envs):
    source, model = (build("ppo", envs(TASK), classes=OURS) for _ in range(2))
    with pytest.raises(WarmstartError, match=r"seams=make_method\('residual'\)"):
        warm_start(model, source, "residual", seed=0)
