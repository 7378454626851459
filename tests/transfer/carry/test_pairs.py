"""Different observation and action spaces, on real pairs: the same physical action at step 0."""

import numpy as np
import pytest
import torch

from tests.transfer.conftest import build, corresponding, disturb, torques
from warmstart.agents.extractors.simba import SIMBA_POLICIES
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.carry.source import environment_layouts
from warmstart.transfer.warm_start import warm_start

PENDULUM = {"hinge.sin": "hinge.angle"}
ANT = "Ant-v5:without=[hip_4,ankle_4]"
CHEETAH = "HalfCheetah-v5:exclude_current_positions_from_observation=false"
PAIRS = {
    # source, target, map, observations in common, actions in common, new observations, new actions
    "hopper-walker": ("Hopper-v5", "Walker2d-v5", None, 11, 3, 6, 3),
    "pendulum": ("InvertedPendulum-v5", "InvertedDoublePendulum-v5", PENDULUM, 4, 1, 5, 0),
    "ant": ("Ant-v5", ANT, None, 105, 6, 0, 0),
    "cheetah-x": ("HalfCheetah-v5", CHEETAH, None, 17, 6, 1, 0),
    "cheetah-no-x": (CHEETAH, "HalfCheetah-v5", None, 17, 6, 0, 0),
}


KINDS = [(algorithm, "plain") for algorithm in ("ppo", "sac", "td3", "tqc", "crossq")]
KINDS += [(algorithm, "simba") for algorithm in SIMBA_POLICIES]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(("algorithm", "network"), KINDS)
def test_step_0_acts_alike(pair, algorithm, network, envs):
    task, target_task, mapping, n_observations, n_actions, new_observations, new_actions = PAIRS[pair]
    normalize, settings = algorithm == "ppo" or network == "simba", {}
    if network == "simba":
        settings = {"policy": SIMBA_POLICIES[algorithm], "widths": (16,)}
    size = 0.1 if network == "simba" else 0.3
    source = disturb(build(algorithm, envs(task, normalize=normalize), seed=1, **settings), size=size)
    target = build(algorithm, envs(target_task, normalize=normalize), seed=2, **settings)
    report = warm_start(target, source, critic_fit_steps=0, observation_map=mapping)

    draws = np.random.default_rng(3)
    observations = draws.normal(size=(50, len(environment_layouts(target.env)[0])))
    theirs, common = corresponding(source, target, observations, mapping)
    expected, found = torques(source, theirs), torques(target, observations)
    assert common == n_observations
    shared = expected.keys() & found.keys()
    assert len(shared) == n_actions
    limits, source_limits = (
        {d.name: d.high * d.scale for d in environment_layouts(model.env)[1].dimensions}
        for model in (target, source)
    )
    exact = algorithm == "ppo" or not any("first order" in note for note in report.notes)
    assert exact == (algorithm == "ppo" or all(limits[name] == source_limits[name] for name in shared))
    for name in shared:
        reachable = np.clip(expected[name], -limits[name], limits[name])
        assert np.abs(reachable).max() > 1e-3 * limits[name]
        if exact:
            np.testing.assert_allclose(found[name], reachable, rtol=1e-4, atol=1e-4 * limits[name])
        else:
            ratio = source_limits[name] / limits[name]
            squashed = np.arctanh(found[name] / limits[name])
            expected_squashed = ratio * np.arctanh(expected[name] / source_limits[name])
            np.testing.assert_allclose(squashed, expected_squashed, rtol=1e-3, atol=1e-6)
            gentle = np.abs(reachable) < 0.1 * limits[name]
            assert gentle.any()
            np.testing.assert_allclose(
                found[name][gentle], reachable[gentle], rtol=0.02, atol=1e-6 * limits[name]
            )
    fresh = found.keys() - expected.keys()
    assert len(fresh) == new_actions
    for name in fresh:
        assert np.abs(found[name]).max() < 0.1 * limits[name]

    observed = {"ppo": "mlp_extractor.policy_net.0.weight", "td3": "actor.mu.0.weight"}
    observed["crossq"] = "actor.latent_pi.1.weight"
    first = observed.get(algorithm, "actor.latent_pi.0.weight")
    reason = report.entry(first).reason
    assert f"{n_observations} of {n_observations + new_observations} observations by name" in reason or (
        reason == "same dimensions"
    )
    assert ("zero columns" in reason) == bool(new_observations)
    columns = dict(target.policy.named_parameters())[first]
    assert int((columns == 0).all(dim=0).sum()) == new_observations
    assert TransferReport.from_json(report.to_json()) == report
    assert report.counts.get("reinitialised", 0) == 0


def test_hopper_to_walker_report_in_full(envs):
    source = disturb(build("ppo", envs("Hopper-v5"), seed=1))
    target = build("ppo", envs("Walker2d-v5"), seed=2)
    own_log_std = target.policy.log_std.detach().clone() + 0.5
    with torch.no_grad():
        target.policy.log_std.add_(0.5)
    report = warm_start(target, source, critic_fit_steps=0)
    log_std = dict(zip(environment_layouts(target.env)[1].names, target.policy.log_std.tolist(), strict=True))
    theirs = dict(zip(environment_layouts(source.env)[1].names, source.policy.log_std.tolist(), strict=True))
    for name, value in theirs.items():
        assert log_std[name] == pytest.approx(value + np.log(200 / 100), abs=1e-6)
    assert log_std["thigh_left_joint.torque"] == pytest.approx(own_log_std[3].item())
    assert {entry.name for entry in report.entries} >= set(target.policy.state_dict()) | {
        "normalizer.mean", "normalizer.var", "normalizer.count", "normalizer.return_var"
    }  # fmt: skip
    actions = report.entry("action_net.weight")
    assert (actions.source_shape, actions.target_shape, actions.action) == ((3, 16), (6, 16), "aligned")
    assert "3 of 6 actions by name, 3 new (small fresh rows)" in actions.reason
    assert "rescaled to equal torque" in actions.reason
    assert report.entry("mlp_extractor.policy_net.2.weight").action == "copied"
    mean = report.entry("normalizer.mean")
    assert (mean.source_shape, mean.target_shape, mean.action) == ((11,), (17,), "aligned")
    assert any("thigh_left_joint.torque" in note for note in report.notes)
    assert any("±200 → ±100" in note for note in report.notes)


def test_statistics_follow_the_names(envs):
    source = disturb(build("ppo", envs("Hopper-v5"), seed=1))
    target = build("ppo", envs("Walker2d-v5"), seed=2)
    warm_start(target, source, critic_fit_steps=0, normalizer_count=5_000)
    theirs, ours = environment_layouts(source.env)[0], environment_layouts(target.env)[0]
    before, after = source.get_vec_normalize_env().obs_rms, target.get_vec_normalize_env().obs_rms
    for index, name in enumerate(ours.names):
        if name in theirs.names:
            assert after.mean[index] == before.mean[theirs.index(name)]
            assert after.var[index] == before.var[theirs.index(name)]
        else:
            assert (after.mean[index], after.var[index]) == (0.0, 1.0)
    assert after.count == 5_000


def test_value_and_q_agree_where_both_do(envs):
    for algorithm in ("ppo", "sac"):
        source = disturb(build(algorithm, envs("Hopper-v5", normalize=False), seed=1))
        target = build(algorithm, envs("Walker2d-v5", normalize=False), seed=2)
        warm_start(target, source, critic_fit_steps=0)
        observations = np.random.default_rng(0).normal(size=(20, 17))
        theirs, _ = corresponding(source, target, observations)
        ours, theirs = (torch.as_tensor(x, dtype=torch.float32) for x in (observations, theirs))
        with torch.no_grad():
            if algorithm == "ppo":
                torch.testing.assert_close(
                    target.policy.predict_values(ours),
                    source.policy.predict_values(theirs),
                    rtol=1e-4,
                    atol=1e-4,
                )
                continue
            actions = torch.rand(20, 6) * 2 - 1
            names = environment_layouts(target.env)[1].names
            columns = [names.index(name) for name in environment_layouts(source.env)[1].names]
            expected = source.critic(theirs, actions[:, columns] * 100 / 200)
            for found, value in zip(target.critic(ours, actions), expected, strict=True):
                torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-4)
            for name, value in target.critic.state_dict().items():
                assert torch.equal(value, target.critic_target.state_dict()[name])


@pytest.mark.parametrize("algorithm", ["sac", "tqc", "crossq"])
def test_exploration_is_shifted_by_the_log_of_the_strength(algorithm, envs):
    source = disturb(build(algorithm, envs("InvertedPendulum-v5", normalize=False), seed=1))
    target = build(algorithm, envs("InvertedDoublePendulum-v5", normalize=False), seed=2)
    warm_start(target, source, critic_fit_steps=0, observation_map=PENDULUM)
    ours, theirs = (dict(model.policy.actor.log_std.named_parameters()) for model in (target, source))
    torch.testing.assert_close(ours["weight"], theirs["weight"])
    strengths = [
        environment_layouts(m.env)[1].dimensions[0].scale * m.action_space.high[0] for m in (source, target)
    ]
    factor = np.log(strengths[0] / strengths[1])
    assert factor != 0
    torch.testing.assert_close(ours["bias"], theirs["bias"] + float(factor))
