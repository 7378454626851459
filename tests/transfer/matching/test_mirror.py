"""Mirrored limbs and turned signs: names, signs by the joints' axes, and what the agent then does."""

import numpy as np
import pytest
import torch

from tests.transfer.conftest import build, disturb
from tests.transfer.methods.test_every_method import OURS
from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.envs.robots.table import robots
from warmstart.transfer.matching.mirror import other_side, reflected
from warmstart.transfer.warm_start import warm_start

MIRRORED = {"observation_map": {"*": "mirror"}, "action_map": {"*": "mirror"}}


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("left_knee.angle", {"right_knee.angle"}, "right_knee.angle"),
        ("thigh_left_joint.torque", {"thigh_joint.torque"}, "thigh_joint.torque"),
        ("left_knee.angle", {"left_hip.angle"}, None),
        ("thigh_joint.torque", {"thigh_left_joint.torque"}, None),
        ("cleft.angle", {"cright.angle"}, None),
    ],
)
def test_names_of_the_other_side(name, known, expected):
    assert other_side(name, known) == expected


def humanoid():
    return robots()["Humanoid-v5"]().model()


@pytest.mark.parametrize(
    ("joint", "sign"),
    [
        ("hip_x", 1),
        ("hip_y", 1),
        ("hip_z", 1),
        ("knee", 1),
        ("shoulder1", -1),
        ("shoulder2", -1),
        ("elbow", 1),
    ],
)
def test_signs_are_those_of_a_mirror_image(joint, sign):
    model = humanoid()
    assert reflected(model, f"left_{joint}.angle", f"right_{joint}.angle") == sign
    assert reflected(model, f"right_{joint}.torque", f"left_{joint}.torque") == sign


def test_what_is_no_mirror_image_has_no_sign():
    model = humanoid()
    assert reflected(model, "left_knee.angle", "right_knee.velocity") is None
    assert reflected(model, "left_knee.angle", "right_hip_x.angle") is None
    assert reflected(model, "left_knee.angle", "nothing.angle") is None


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_a_hopper_s_leg_becomes_both_of_a_walker(algorithm, envs):
    source = disturb(build(algorithm, envs("Hopper-v5"), seed=1, classes=OURS))
    model = build(algorithm, envs("Walker2d-v5"), seed=2, classes=OURS)
    report = warm_start(model, source, "zero_shot", seed=0, **MIRRORED)
    told = " ".join(report.notes)
    assert "From the other side of the source's body: thigh_left_joint.angle (thigh_joint.angle)" in told
    hopper = np.random.default_rng(0).normal(size=(16, 11))
    leg, moving = hopper[:, 2:5], hopper[:, 8:11]
    walker = np.concatenate([hopper[:, :5], leg, hopper[:, 5:8], moving, moving], axis=1)
    expected = Policy.from_model(source).predict(hopper)
    found = Policy.from_model(model).predict(walker)
    # the hopper's motors have twice the gear; squashed policies are matched to first order
    np.testing.assert_allclose(found[:, :3], 2 * expected, atol=1e-4 if algorithm == "ppo" else 0.01)
    np.testing.assert_allclose(found[:, 3:], found[:, :3], atol=1e-6)


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3", "tqc", "crossq"])
def test_turned_signs_turn_what_is_seen_and_done(algorithm, envs):
    source = disturb(build(algorithm, envs("Reacher-v5"), seed=1, classes=OURS))
    model = build(algorithm, envs("Reacher-v5"), seed=2, classes=OURS)
    names, torque = ("joint0.velocity", "joint0.sin"), "joint0.torque"
    maps = {"observation_map": {name: f"-{name}" for name in names}, "action_map": {torque: f"-{torque}"}}
    report = warm_start(model, source, "zero_shot", seed=0, **maps)
    assert "With the sign turned round: joint0.sin, joint0.velocity." in report.notes
    observations = np.random.default_rng(0).normal(size=(16, 10))
    turned = observations.copy()
    turned[:, [2, 6]] *= -1
    expected = Policy.from_model(source).predict(observations)
    expected[:, 0] *= -1
    np.testing.assert_allclose(Policy.from_model(model).predict(turned), expected, atol=1e-4)
    if algorithm != "ppo":
        with torch.no_grad():
            values = [
                torch.cat(tuple(each.critic(*inputs)), 1).flatten()
                for each, inputs in ((source, seen(source, observations)), (model, seen(model, turned, -1)))
            ]
        torch.testing.assert_close(*values, atol=1e-3, rtol=1e-3)


def seen(model, observations, sign=1):
    """Standardised observations and an action, whose first entry is turned, for a critic."""
    wrapper = model.get_vec_normalize_env()
    action = torch.tensor([[0.3 * sign, -0.2]]).expand(len(observations), 2)
    return torch.as_tensor(wrapper.normalize_obs(observations)).float(), action


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({"observation_map": {"*": "twin"}}, "a map can only say 'mirror', found 'twin'"),
        ({"observation_map": {"joint0.sin": "-joint9.sin"}}, "-joint9.sin"),
        ({"observation_map": {"joint0.sin": "-joint1.sin"}}, "taken by joint0.sin, joint1.sin"),
    ],
)
def test_maps_that_make_no_sense_are_refused(maps, message, envs):
    source, model = (build("ppo", envs("Reacher-v5"), classes=OURS) for _ in range(2))
    with pytest.raises(WarmstartError, match=message):
        warm_start(model, source, "zero_shot", seed=0, **maps)


def test_without_a_model_nothing_tells_what_mirrors_what(envs):
    source = build("ppo", envs("Hopper-v5"), classes=OURS)
    model = build("ppo", envs("Pendulum-v1"), classes=OURS)
    with pytest.raises(WarmstartError, match="no MuJoCo model that would tell"):
        warm_start(model, source, "zero_shot", seed=0, **MIRRORED)


def test_a_reacher_becomes_a_pusher_by_the_user_s_map(envs):
    source = disturb(build("ppo", envs("Reacher-v5"), seed=1, classes=OURS))
    model = build("ppo", envs("Pusher-v5"), seed=2, classes=OURS)
    pan, flex = "r_shoulder_pan_joint", "r_elbow_flex_joint"
    seen = {f"{pan}.velocity": "joint0.velocity", f"{flex}.velocity": "joint1.velocity"}
    seen |= {f"goal.{axis}": f"target_{axis}.position" for axis in "xy"}
    done = {f"{pan}.torque": "joint0.torque", f"{flex}.torque": "joint1.torque"}
    maps = {"observation_map": seen, "action_map": done}
    report = warm_start(model, source, "fine_tune", seed=0, critic_fit_steps=64, **maps)
    assert report.entry("action_net.weight").action == "aligned"
    first = model.policy.mlp_extractor.policy_net[0].weight
    names = model.env.venv.vector_env.observation_layout.names
    assert {names[i] for i in range(23) if first[:, i].any()} == set(seen)
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
