"""Each physical parameter against what MuJoCo computes from a model that was made that way."""

import gymnasium
import mujoco
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.catalogue import catalogue
from warmstart.envs.physics.changes import SET_CONST_INPUTS
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.names import PartNames
from warmstart.envs.tasks.contexts import parse_context

ROBOT = """
<mujoco>
  <option timestep="0.002"/>
  <default><geom density="{density}"/></default>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 1" friction="0.7 0.02 0.001"/>
    <body name="trunk" pos="0 0 0.5">
      <freejoint name="root"/>
      <geom type="capsule" fromto="-.2 0 0 .2 0 0" size=".05" friction="1.9 0.005 0.0001"/>
      <geom type="sphere" size=".04" pos="0.3 0 0"/>
      <body pos="0.2 0 0">
        <joint name="knee" axis="0 1 0" range="-60 60" damping="0.4" stiffness="2"/>
        <geom name="shin" type="capsule" fromto="0 0 0 0 0 -.3" size=".03"/>
        <site name="tip" pos="0 0 -.3"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="servo" joint="knee" kp="30" kv="2" ctrlrange="-1 1"/>
    <motor joint="knee" gear="5" ctrlrange="-1 1" ctrllimited="true"/>
    <motor joint="knee" gear="7" forcerange="-0.5 0.5"/>
    <general site="tip" gear="0 0 1 0 0 0"/>
  </actuator>
</mujoco>
"""


def robot(density: float = 1000.0) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(ROBOT.format(density=density))


def changed(text: str) -> mujoco.MjModel:
    model = robot()
    Parameters(model).apply(model, parse_context(text))
    return model


def trajectory(model: mujoco.MjModel, steps: int = 300) -> np.ndarray:
    data = mujoco.MjData(model)
    data.qpos[3:7] = [0.9, 0.1, 0.3, 0.2]
    data.ctrl[:] = 0.3
    states = []
    for _ in range(steps):
        mujoco.mj_step(model, data)
        states.append(data.qpos.copy())
    return np.array(states)


def test_scaled_mass_is_the_model_compiled_with_that_density() -> None:
    scaled, compiled = changed("mass=x2"), robot(density=2000.0)
    for field in (
        "body_mass",
        "body_inertia",
        "body_subtreemass",
        "dof_M0",
        "dof_invweight0",
        "body_invweight0",
    ):
        np.testing.assert_allclose(
            getattr(scaled, field), getattr(compiled, field), rtol=1e-12, err_msg=field
        )
    np.testing.assert_allclose(trajectory(scaled), trajectory(compiled), rtol=0, atol=1e-8)


def test_friction_changes_that_of_a_live_contact() -> None:
    def sliding(text: str) -> float:
        model = changed(text)
        data = mujoco.MjData(model)
        data.qpos[2] = 0.04
        mujoco.mj_forward(model, data)
        assert data.ncon
        return float(data.contact[0].friction[0])

    assert sliding("") == 1.9
    assert sliding("friction=x0.5") == 0.95
    assert sliding("trunk_0.friction=0.8") == 0.8
    assert sliding("trunk_0.friction=0.1") == 0.7
    assert sliding("floor.friction=3") == 3.0


def test_centre_of_mass_moves_and_shapes_stay() -> None:
    model, shifted = robot(), changed("trunk.com+=[0.1,-0.02,0.05]")
    data, moved = mujoco.MjData(model), mujoco.MjData(shifted)
    mujoco.mj_forward(model, data)
    mujoco.mj_forward(shifted, moved)
    np.testing.assert_allclose(moved.xipos[1] - data.xipos[1], [0.1, -0.02, 0.05], atol=1e-12)
    np.testing.assert_allclose(moved.geom_xpos, data.geom_xpos, atol=1e-12)
    spec = mujoco.MjSpec.from_string(ROBOT.format(density=1000))
    body = spec.body("trunk")
    body.explicitinertial = True
    body.mass, body.ipos = model.body_mass[1], model.body_ipos[1] + [0.1, -0.02, 0.05]
    body.iquat, body.inertia = model.body_iquat[1], model.body_inertia[1]
    np.testing.assert_allclose(trajectory(shifted), trajectory(spec.compile()), rtol=0, atol=1e-8)


def test_geom_size_is_the_model_compiled_with_it_but_for_the_mass() -> None:
    resized = changed("shin.size=[0.06,0.2]")
    assert resized.geom("shin").size[:2].tolist() == [0.06, 0.2]
    assert resized.geom("shin").rbound[0] == pytest.approx(0.26)
    np.testing.assert_allclose(resized.geom_aabb[resized.geom("shin").id, 3:], [0.06, 0.06, 0.26])
    assert np.array_equal(resized.body_mass, robot().body_mass)
    data, before = mujoco.MjData(resized), mujoco.MjData(robot())
    for model, state in ((resized, data), (robot(), before)):
        state.qpos[2] = 0.36  # only the longer shin reaches the floor
        mujoco.mj_forward(model, state)
    assert (data.ncon, before.ncon) == (1, 0)


def test_gain_of_a_servo_moves_its_bias() -> None:
    servo = changed("servo.gain=x2").actuator("servo")
    assert servo.gainprm[0] == 60
    assert servo.biasprm[:3].tolist() == [0, -60, -2]


def test_force_range_limits_the_force() -> None:
    model = changed("servo.forcerange=[-0.3,0.2]")
    assert model.actuator_forcelimited.tolist() == [True, False, True, False]
    data = mujoco.MjData(model)
    data.ctrl[0] = 1.0
    mujoco.mj_forward(model, data)
    assert data.actuator_force[0] == pytest.approx(0.2)
    Parameters(robot()).apply(model, ())
    assert model.actuator_forcelimited.tolist() == [False, False, True, False]
    assert model.actuator_forcerange[0].tolist() == [0, 0]


def test_range_scales_about_the_rest_position_or_the_nearest_limit() -> None:
    half = changed("knee.range=x0.5").joint("knee").range
    np.testing.assert_allclose(half, np.radians([-30, 30]))
    ant = gymnasium.make("Ant-v5").unwrapped.model  # rests at 0, outside of [30, 70] degrees
    Parameters(ant).apply(ant, parse_context("ankle_1.range=x0.5"))
    np.testing.assert_allclose(ant.joint("ankle_1").range, np.radians([30, 50]))


def test_reference_and_spring_reference_shift_the_pose_and_the_spring() -> None:
    model = changed("knee.ref=0.2,knee.springref=0.5")
    assert model.qpos0[7] == 0.2
    assert model.qpos_spring[7] == 0.5
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert data.qfrc_passive[6] == pytest.approx(-2 * (0.2 - 0.5))


def test_options() -> None:
    model = changed("gravity=-3,wind=[1,2,3],density=1.2,viscosity=2e-5,timestep=0.001")
    assert model.opt.gravity.tolist() == [0, 0, -3]
    assert model.opt.wind.tolist() == [1, 2, 3]
    assert (model.opt.density, model.opt.viscosity, model.opt.timestep) == (1.2, 2e-5, 0.001)


def test_joint_quantities_of_a_free_joint_have_six_components() -> None:
    model = changed("root.damping=[1,2,3,4,5,6],knee.frictionloss=0.1,knee.armature=0.2")
    assert model.dof_damping[:6].tolist() == [1, 2, 3, 4, 5, 6]
    assert (model.dof_frictionloss[6], model.dof_armature[6]) == (0.1, 0.2)
    assert changed("root.damping=2").dof_damping[:6].tolist() == [2] * 6


def test_gear_of_a_joint_is_one_number_and_that_of_a_site_six() -> None:
    parameters = Parameters(robot())
    assert parameters.select("knee.gear")[0].nominal == (5.0,)
    assert parameters.select("tip.gear")[0].size == 6


def test_unnamed_parts_have_stable_names() -> None:
    names = PartNames(robot())
    assert names.bodies == ["world", "trunk", "trunk_0"]
    assert names.geoms == ["floor", "trunk_0", "trunk_1", "shin"]
    assert names.actuators == ["servo", "knee", "knee_1", "tip"]
    for task_id, expected in (
        ("Hopper-v5", ["thigh_joint", "leg_joint", "foot_joint"]),
        ("Swimmer-v5", None),
    ):
        model = gymnasium.make(task_id).unwrapped.model
        names = PartNames(model)
        assert names.actuators == (expected or ["motor1_rot", "motor2_rot"])
        for group in (names.bodies, names.geoms, names.joints, names.actuators):
            assert len(set(group)) == len(group)
            assert all(group)


def test_a_taken_name_gets_an_underscore() -> None:
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body name='a'><freejoint/><geom size='1'/><geom name='a_0' size='1'/></body>"
        "</worldbody></mujoco>"
    )
    assert PartNames(model).geoms == ["a_0_", "a_0"]


def test_contact_pairs_have_friction_of_their_own() -> None:
    xml = ROBOT.format(density=1000).replace(
        "<actuator>",
        '<contact><pair geom1="floor" geom2="shin" friction="1 1 .1 .1 .1"/></contact><actuator>',
    )
    model = mujoco.MjModel.from_xml_string(xml)
    parameters = Parameters(model)
    parameters.apply(model, parse_context("friction=x0.5"))
    assert model.pair_friction[0, :2].tolist() == [0.5, 0.5]
    parameters.apply(model, parse_context("floor_shin.friction=0.3"))
    assert model.pair_friction[0].tolist() == [0.3, 0.3, 0.1, 0.1, 0.1]
    with pytest.raises(WarmstartError, match="can touch anything"):
        parameters.check(parse_context("shin.friction=4"))


def test_fields_that_others_are_derived_from_are_known() -> None:
    model = robot()
    entries = catalogue(model, PartNames(model)).entries.values()
    written = {write.field for entry in entries for write in entry.writes}
    assert written & set(mujoco.MjModel._setconst_inputs) == SET_CONST_INPUTS & written
    assert set(mujoco.MjModel._setconst_inputs) >= SET_CONST_INPUTS


def test_simple_bodies_refuse_another_centre_of_mass() -> None:
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body name='ball'><freejoint/><geom size='.1'/></body></worldbody></mujoco>"
    )
    assert model.body_simple[1] == 1
    with pytest.raises(WarmstartError, match="diagonal inertia matrix"):
        Parameters(model).check(parse_context("ball.com=[.1,0,0]"))
