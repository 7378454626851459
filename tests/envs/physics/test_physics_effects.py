"""Every parameter of every Gymnasium v5 MuJoCo model changes a trajectory or is refused with a reason."""

import gymnasium
import mujoco
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.batch import BatchParameters
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.physics.quantity import Parameter
from warmstart.envs.registration import TASK_IDS as TASKS
from warmstart.envs.simulation.steppers import BatchStepper
from warmstart.envs.tasks.contexts import Context, parse_context

CHANGES = {
    "gravity": "+=[1,1,-1]",
    "wind": "=[5,5,5]",
    "density": "+=500",
    "viscosity": "+=0.5",
    "timestep": "=x0.5",
    "mass": "=x1.5",
    "com": "+=[0.03,0.03,0.03]",
    "friction": "=x8",
    "size": "=x1.3",
    "solref": "=x3",
    "damping": "+=1",
    "armature": "+=0.5",
    "frictionloss": "+=0.5",
    "stiffness": "+=50",
    "range": "=x0.3",
    "ref": "+=0.3",
    "springref": "+=0.3",
    "gear": "=x0.5",
    "gain": "=x0.5",
    "forcerange": "=[-0.1,0.1]",
}
# what a parameter needs to act at all; both sides of the comparison get it
NEEDS = {"wind": "density=500", "springref": "joint.*.stiffness+=50"}
STARTS, STEPS = 100, 60


def contexts(parameter: Parameter) -> tuple[Context, Context]:
    """The context without and with a change of the parameter."""
    quantity = parameter.name.rpartition(".")[2]
    without = parse_context(NEEDS.get(quantity, ""))
    return without, without + parse_context(parameter.name + CHANGES[quantity])


def why_refused(parameters: Parameters, context: Context) -> str | None:
    try:
        parameters.check(context)
    except WarmstartError as error:
        return str(error)
    return None


@pytest.mark.parametrize("task_id", TASKS)
def test_every_parameter_changes_a_trajectory_or_is_refused_with_a_reason(task_id: str) -> None:
    model = gymnasium.make(task_id).unwrapped.model
    parameters = Parameters(model)
    changed: dict[str, tuple[Context, Context]] = {}
    for name in parameters.names:
        without, change = contexts(parameters.select(name)[0])
        if (refusal := why_refused(parameters, change)) is None:
            changed[name] = (without, change)
        else:
            assert "no effect" in refusal
    assert len(changed) > len(parameters.names) / 3
    unmoved = changed
    for seed in range(STARTS):
        if not unmoved:
            break
        unmoved = _without_effect(parameters, model, unmoved, np.random.default_rng(seed))
    assert not unmoved, list(unmoved)


def _without_effect(
    parameters: Parameters,
    model: mujoco.MjModel,
    pairs: dict[str, tuple[Context, Context]],
    rng: np.random.Generator,
) -> dict[str, tuple[Context, Context]]:
    """Return those of the changes that make no difference to an episode from one random start."""
    names, rows = list(pairs), [context for pair in pairs.values() for context in pair]
    distinct = sorted(set(rows), key=str)
    batch = BatchStepper(model, len(distinct))
    BatchParameters(parameters, batch).apply(np.arange(len(distinct)), distinct)
    xpos, qpos = batch.bind("xpos"), batch.bind("qpos")
    before, after = (np.array([distinct.index(pairs[name][k]) for name in names], dtype=int) for k in (0, 1))
    _start(batch, model, rng)
    for _ in range(STEPS):
        if not names:
            return {}
        batch.step(np.unique(np.concatenate((before, after))), nstep=4)
        same = (qpos[before] == qpos[after]).all(axis=1) & (xpos[before] == xpos[after]).all(axis=(1, 2))
        names = [name for name, it in zip(names, same, strict=True) if it]
        before, after = before[same], after[same]
    return {name: pairs[name] for name in names}


def _start(batch: BatchStepper, model: mujoco.MjModel, rng: np.random.Generator) -> None:
    """One random pose within the limits, low above the floor, turning and pushed by its motors."""
    batch.reset()
    qpos = model.qpos0.copy()
    mujoco.mj_integratePos(model, qpos, rng.normal(size=model.nv), 1.0)
    for joint in range(model.njnt):
        place, kind = model.jnt_qposadr[joint], model.jnt_type[joint]
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            qpos[place + 2] = rng.uniform(0.1, 0.8)
        elif model.jnt_limited[joint]:
            qpos[place] = rng.uniform(*model.jnt_range[joint])
        elif model.joint(joint).name == "rootz":
            qpos[place] = model.qpos0[place] + rng.uniform(-1.2, 0.0)
    if model.nu == 7 and rng.random() < 0.5:
        _put_object_at_fingers(model, qpos, rng)
    batch.bind("qpos")[...] = qpos
    batch.bind("qvel")[...] = rng.normal(size=model.nv)
    batch.bind("ctrl")[...] = rng.uniform(-1, 1, model.nu)
    batch.forward()


def _put_object_at_fingers(model: mujoco.MjModel, qpos: np.ndarray, rng: np.random.Generator) -> None:
    """Lower the Pusher's arm and move the object to its fingers; they don't meet by chance."""
    data = mujoco.MjData(model)
    qpos[: model.nu] = rng.uniform(-0.1, 0.1, model.nu) + 0.35 * np.eye(model.nu)[1]
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    gap = data.body("tips_arm").xpos - data.body("object").xpos
    for axis, name in enumerate(("obj_slidex", "obj_slidey")):
        qpos[model.joint(name).qposadr[0]] += gap[axis]


def test_refusals_are_the_expected_ones() -> None:
    parameters = Parameters(gymnasium.make("Reacher-v5").unwrapped.model)
    refused = {
        name for name in parameters.names if why_refused(parameters, contexts(parameters.select(name)[0])[1])
    }
    frictions = {name for name in parameters.names if name.endswith((".friction", ".size", ".solref"))}
    target = {f"body.target.{q}" for q in ("mass", "com")} | {f"joint.target_{a}.armature" for a in "xy"}
    assert refused == frictions | target
