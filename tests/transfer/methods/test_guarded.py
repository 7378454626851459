"""The guard: a source that acts worse than nobody is dropped, all steps count, and a good one is kept."""

import numpy as np
import pytest
import torch

from tests.transfer.conftest import assert_tensors, build, disturb, tensors
from tests.transfer.methods.test_every_method import OURS
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.transfer.warm_start import warm_start

TASK = "InvertedPendulum-v5"
OPTIONS = {
    "critic_fit_steps": 64,
    "least_trial": 60,
    "trial_share": 0.0,
    "warm_up_steps": 0,
    "critic_updates": 2,
}


def source_of(algorithm, envs, gain):
    """An agent that pushes with the pole's fall (it catches it) or against it."""
    model = build(algorithm, envs(TASK, normalize=False), seed=1, classes=OURS, widths=(8,))
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.zero_()
        if algorithm == "ppo":
            hidden, head = model.policy.mlp_extractor.policy_net[0], model.policy.action_net
        else:
            hidden, head = model.actor.latent_pi[0], model.actor.mu
        feedback = torch.tensor([0.1, 1.0, 0.1, 0.2])  # cart's place, pole's angle, and how fast both change
        hidden.weight[0], hidden.weight[1] = feedback, -feedback
        head.weight[0, 0], head.weight[0, 1] = gain, -gain
    return model


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
@pytest.mark.parametrize(("gain", "kept"), [(4.0, True), (-4.0, False)])
def test_it_keeps_what_acts_better_and_drops_the_rest(algorithm, gain, kept, envs):
    source = source_of(algorithm, envs, gain)
    settings = {"n_steps": 16, "batch_size": 16} if algorithm == "ppo" else {}
    env = envs(TASK, n_envs=8, normalize=False)
    model = build(algorithm, env, seed=2, classes=OURS, widths=(8,), **settings)
    fresh = tensors(model)
    report = warm_start(model, source, "guarded", seed=0, max_steps=5_000, **OPTIONS)
    told = " ".join(report.notes)
    assert ("it is fine-tuned" if kept else "the agent starts cold") in told
    fit = {"ppo": 128, "sac": 64}[algorithm] if kept else 0
    tried = report.steps - fit  # a trial ends with the last of the first episodes
    assert report.steps == model.num_timesteps
    assert tried % 8 == 0
    assert tried == 60 * 8 if kept else tried <= 60 * 8
    if not kept:
        assert_tensors(tensors(model), fresh)
    else:
        weight = "mlp_extractor.policy_net.0.weight" if algorithm == "ppo" else "actor.latent_pi.0.weight"
        assert tensors(model)[weight][0, 1] == 1.0
    model.learn(256, reset_num_timesteps=False, callback=report.callback)


def test_a_cold_start_off_policy_begins_with_its_random_steps(envs):
    source = source_of("sac", envs, -4.0)
    model = build(
        "sac", envs(TASK, n_envs=8, normalize=False), seed=2, classes=OURS, widths=(8,), random_steps=40
    )
    report = warm_start(model, source, "guarded", seed=0, max_steps=5_000, **OPTIONS)
    assert (model.learning_starts, model.random_steps) == (100 + report.steps, 40 + report.steps)
    assert {entry.reason for entry in report.entries} == {"dropped: as the target drew it"}


def test_a_single_environment_is_played_again_and_again_within_the_budget(envs):
    source = source_of("ppo", envs, 4.0)
    model = build("ppo", envs(TASK, normalize=False), seed=2, classes=OURS, widths=(8,), n_steps=16)
    report = warm_start(model, source, "guarded", seed=0, max_steps=400, **{**OPTIONS, "least_trial": 1_000})
    assert report.steps <= 400


def test_a_dropped_source_leaves_the_run_of_a_cold_one(envs):
    """After the trial, the same seeds give the same steps as an agent that never heard of a source."""
    source = disturb(build("ppo", envs(TASK), seed=1, classes=OURS))
    model = build("ppo", envs(TASK, n_envs=4), seed=2, classes=OURS, n_steps=16)
    statistics = model.get_vec_normalize_env().obs_rms
    before = np.array(statistics.mean)
    warm_start(model, source, "guarded", seed=0, level=0.0, max_steps=5_000, **OPTIONS)
    np.testing.assert_array_equal(model.get_vec_normalize_env().obs_rms.mean, before)
    assert float(model.lr_schedule(1.0)) == model.learning_rate


def test_the_best_of_several_sources_is_fine_tuned(envs, tmp_path):
    wrong, right = source_of("ppo", envs, -4.0), source_of("ppo", envs, 4.0)
    save_checkpoint(right, tmp_path / "right", task=TASK)
    env = envs(TASK, n_envs=8, normalize=False)
    model = build("ppo", env, seed=2, classes=OURS, widths=(8,), n_steps=16, batch_size=16)
    options = {**OPTIONS, "sources": (str(tmp_path / "right"),)}
    report = warm_start(model, wrong, "best_source", seed=0, max_steps=5_000, **options)
    assert 60 * 8 + 128 < report.steps < 2 * 60 * 8 + 128
    assert any("It goes on from InvertedPendulum-v5, number 2" in note for note in report.notes)
    assert torch.equal(tensors(model)["action_net.weight"], tensors(right)["action_net.weight"])
    model.learn(128, reset_num_timesteps=False, callback=report.callback)


def test_plain_sb3_is_told_what_to_build(envs):
    source, model = (build("ppo", envs(TASK)) for _ in range(2))
    with pytest.raises(Exception, match=r"Build the model with warmstart\.PPO"):
        warm_start(model, source, "guarded", seed=0)
