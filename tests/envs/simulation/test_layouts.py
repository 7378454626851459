"""Layout names against what the Gymnasium environments put at these places."""

import itertools
import json

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium import spaces

from warmstart.core.errors import WarmstartError
from warmstart.envs.robots.table import observation_layout
from warmstart.envs.simulation.dimensions import action_layout
from warmstart.envs.simulation.layouts import Dimension, Layout, generic_layout, opaque_block

POSITIONS = "exclude_current_positions_from_observation"
HUMANOID = (
    POSITIONS,
    "include_cinert_in_observation",
    "include_cvel_in_observation",
    "include_qfrc_actuator_in_observation",
    "include_cfrc_ext_in_observation",
)
OPTIONS = {
    "Ant-v5": (POSITIONS, "include_cfrc_ext_in_observation"),
    "HalfCheetah-v5": (POSITIONS,),
    "Hopper-v5": (POSITIONS,),
    "Humanoid-v5": HUMANOID,
    "HumanoidStandup-v5": HUMANOID,
    "InvertedDoublePendulum-v5": (),
    "InvertedPendulum-v5": (),
    "Pusher-v5": (),
    "Reacher-v5": (),
    "Swimmer-v5": (POSITIONS,),
    "Walker2d-v5": (POSITIONS,),
}
CASES = [
    (task_id, dict(zip(names, choice, strict=True)))
    for task_id, names in OPTIONS.items()
    for choice in itertools.product((True, False), repeat=len(names))
]


def observe(environment, qpos: np.ndarray, qvel: np.ndarray) -> dict[str, float]:
    environment.set_state(qpos, qvel)
    layout = observation_layout(environment.spec.id, environment.model, environment.spec.kwargs)
    return dict(zip(layout.names, environment._get_obs(), strict=True))


@pytest.mark.parametrize(("task_id", "options"), CASES)
def test_the_layout_is_as_long_as_the_observation(task_id: str, options: dict[str, bool]) -> None:
    environment = gymnasium.make(task_id, **options).unwrapped
    layout = observation_layout(task_id, environment.model, options)
    assert environment.observation_space.shape == (len(layout),)
    assert observation_layout(f"warmstart/{task_id}", environment.model, options) == layout
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@pytest.mark.parametrize("task_id", OPTIONS)
def test_joint_dimensions_show_their_joint(task_id: str) -> None:
    options = dict.fromkeys(OPTIONS[task_id][:1], False)
    environment = gymnasium.make(task_id, **options).unwrapped
    environment.reset(seed=0)
    model, rng = environment.model, np.random.default_rng(0)
    qpos, qvel = model.qpos0.copy(), rng.normal(size=model.nv)
    shown = 0
    for index in range(model.njnt):
        name, kind = model.joint(index).name, model.jnt_type[index]
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            continue
        place, dof = model.jnt_qposadr[index], model.jnt_dofadr[index]
        moved, faster = qpos.copy(), qvel.copy()
        moved[place] += 0.3
        faster[dof] += 0.7
        before, after = observe(environment, qpos, qvel), observe(environment, moved, faster)
        for key, value in (
            (f"{name}.angle", moved[place]),
            (f"{name}.position", moved[place]),
            (f"{name}.sin", np.sin(moved[place])),
            (f"{name}.cos", np.cos(moved[place])),
            (f"{name}.velocity", faster[dof]),
        ):
            if key in before:
                assert after[key] == pytest.approx(value)
                assert before[key] != after[key]
                shown += 1
        others = {key for key in before if key.endswith((".angle", ".position", ".velocity", ".sin", ".cos"))}
        changed = {key.rpartition(".")[0] for key in others if before[key] != after[key]}
        assert changed <= {name}
    assert shown >= model.nv - 4


@pytest.mark.parametrize("task_id", ["Ant-v5", "Humanoid-v5"])
def test_free_joint_and_body_blocks(task_id: str) -> None:
    environment = gymnasium.make(task_id, **{POSITIONS: False}).unwrapped
    environment.reset(seed=0)
    for _ in range(20):
        environment.step(environment.action_space.sample() * 0 + 0.1)
    data, model = environment.data, environment.model
    layout = observation_layout(task_id, model, {POSITIONS: False})
    found = dict(zip(layout.names, environment._get_obs(), strict=True))
    root = ["root.x", "root.y", "root.z", "root.qw", "root.qx", "root.qy", "root.qz"]
    assert [found[name] for name in root] == data.qpos[:7].tolist()
    assert found["root.velocity_y"] == data.qvel[1]
    assert found["root.angular_velocity_z"] == data.qvel[5]
    assert found["torso.contact.torque_x"] == np.clip(data.body("torso").cfrc_ext[0], -1, 1)
    if task_id == "Humanoid-v5":
        foot = model.body("left_foot").id
        assert found["left_foot.inertia.xx"] == data.cinert[foot, 0]
        assert found["left_foot.inertia.mass"] == data.cinert[foot, 9] == model.body_mass[foot]
        assert found["left_foot.com.angular_velocity_z"] == data.cvel[foot, 2]
        assert found["left_foot.com.velocity_x"] == data.cvel[foot, 3]
        assert found["left_foot.contact.force_z"] == data.cfrc_ext[foot, 5]
        dof = model.joint("left_knee").dofadr[0]
        assert found["left_knee.actuator_torque"] == data.qfrc_actuator[dof] != 0


def test_bodies_of_the_arms() -> None:
    pusher = gymnasium.make("Pusher-v5").unwrapped
    pusher.reset(seed=0)
    found = dict(zip(observation_layout("Pusher-v5", pusher.model, {}).names, pusher._get_obs(), strict=True))
    assert found["object.y"] == pusher.data.body("object").xpos[1]
    assert found["tips_arm.z"] == pusher.data.body("tips_arm").xpos[2]
    reacher = gymnasium.make("Reacher-v5").unwrapped
    reacher.reset(seed=0)
    found = dict(
        zip(observation_layout("Reacher-v5", reacher.model, {}).names, reacher._get_obs(), strict=True)
    )
    gap = reacher.data.body("fingertip").xpos - reacher.data.body("target").xpos
    assert [found["fingertip.from_target_x"], found["fingertip.from_target_y"]] == gap[:2].tolist()


def test_ranges_and_units() -> None:
    model = gymnasium.make("Walker2d-v5").unwrapped.model
    layout = observation_layout("Walker2d-v5", model, {})
    assert layout.dimensions[layout.index("foot_joint.angle")].unit == "rad"
    assert layout.dimensions[layout.index("foot_joint.velocity")] == Dimension(
        "foot_joint.velocity", "rad/s", -10.0, 10.0
    )
    assert layout.dimensions[layout.index("rootx.velocity")].unit == "m/s"
    ant = observation_layout(
        "Ant-v5", gymnasium.make("Ant-v5").unwrapped.model, {"contact_force_range": (-2, 3)}
    )
    assert ant.dimensions[-1] == Dimension("aux_4_0.contact.force_z", "N", -2.0, 3.0)


@pytest.mark.parametrize("task_id", OPTIONS)
def test_actions_act_on_the_joint_they_are_named_after(task_id: str) -> None:
    environment = gymnasium.make(task_id).unwrapped
    model, space = environment.model, environment.action_space
    layout = action_layout(model)
    np.testing.assert_array_equal(np.float32([d.low for d in layout.dimensions]), space.low)
    np.testing.assert_array_equal(np.float32([d.high for d in layout.dimensions]), space.high)
    for index, dimension in enumerate(layout.dimensions):
        data = mujoco.MjData(model)
        data.ctrl[index] = 0.2
        mujoco.mj_forward(model, data)
        dof = model.joint(dimension.name.rpartition(".")[0]).dofadr[0]
        assert data.qfrc_actuator[dof] == pytest.approx(0.2 * dimension.scale)
        assert np.count_nonzero(data.qfrc_actuator) == 1
        assert dimension.unit == ("N" if dimension.name.endswith(".force") else "N m")


def test_pendulum_actions_differ_in_range_and_scale() -> None:
    single, double = (
        action_layout(gymnasium.make(f"Inverted{name}Pendulum-v5").unwrapped.model).dimensions[0]
        for name in ("", "Double")
    )
    assert single == Dimension("slider.force", "N", -3.0, 3.0, 100.0)
    assert double == Dimension("slider.force", "N", -1.0, 1.0, 500.0)


def test_servos_and_actuators_that_share_a_joint() -> None:
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><worldbody><body><joint name="a"/><joint name="b" type="slide"/><geom size=".1"/>
        <site name="s"/></body></worldbody><actuator>
        <position joint="a" kp="3" gear="2"/><velocity joint="b"/>
        <motor joint="a" name="one"/><motor joint="a" name="two" gear="4"/>
        <general site="s"/></actuator></mujoco>"""
    )
    layout = action_layout(model)
    assert layout.names == ("a.target_angle", "b.target_velocity", "one.torque", "two.torque", "s.control")
    assert [d.unit for d in layout.dimensions] == ["rad", "m/s", "N m", "N m", ""]
    assert [d.scale for d in layout.dimensions] == [0.5, 1.0, 1.0, 4.0, 1.0]
    assert layout.dimensions[0].low == -np.inf


def test_generic_layouts() -> None:
    box = spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, np.inf]), dtype=np.float64)
    assert generic_layout(box, "obs").dimensions == (
        Dimension("obs[0]", "", -1.0, 1.0),
        Dimension("obs[1]", "", 0.0),
    )
    assert generic_layout(spaces.Box(0, 1, (2, 2)), "obs").names == (
        "obs[0,0]",
        "obs[0,1]",
        "obs[1,0]",
        "obs[1,1]",
    )
    nested = spaces.Dict({"position": box, "on": spaces.MultiBinary(2)})
    assert generic_layout(nested, "obs").names == ("on[0]", "on[1]", "position[0]", "position[1]")
    assert generic_layout(spaces.Discrete(2), "action").names == ("choice[0]", "choice[1]")
    assert generic_layout(spaces.MultiDiscrete([1, 2]), "a").names == (
        "a[0].choice[0]",
        "a[1].choice[0]",
        "a[1].choice[1]",
    )
    with pytest.raises(WarmstartError, match="found Text"):
        generic_layout(spaces.Text(3), "obs")


def test_opaque_features_only_match_the_same_encoder() -> None:
    one, same, other = (opaque_block("pixels", 2, encoder) for encoder in ("abc", "abc", "def"))
    assert one == same
    assert one.dimensions[1].matches(same.dimensions[1])
    assert not one.dimensions[1].matches(other.dimensions[1])
    assert not one.dimensions[0].matches(Dimension("pixels[0]"))
    joined = one + Layout((Dimension("a.angle", "rad"),))
    assert Layout.from_json(joined.to_json()) == joined
    assert joined.index("a.angle") == 2


def test_errors() -> None:
    with pytest.raises(WarmstartError, match="found more than once: a"):
        Layout((Dimension("a"), Dimension("a")))
    with pytest.raises(WarmstartError, match=r"Unknown dimension 'knee.angel'. Did you mean 'knee.angle'"):
        Layout((Dimension("knee.angle"),)).index("knee.angel")
    with pytest.raises(WarmstartError, match=r"Unknown MuJoCo v5 task 'Hoper-v5'. Did you mean 'Hopper-v5'"):
        observation_layout("Hoper-v5", gymnasium.make("Hopper-v5").unwrapped.model, {})
    with pytest.raises(WarmstartError, match="Unknown setting 'nam'"):
        Layout.from_json([{"nam": "a"}])
