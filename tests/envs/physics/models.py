"""Models and what is compared of them, for tests."""

from typing import Any

import gymnasium
import mujoco
import numpy as np

CONTEXTS = (
    "",
    "gravity=x0.5,torso.mass=x1.5,friction=x2",
    "mass=x0.7,thigh.com+=[0.01,0,0.02],damping=x3,armature+=0.1,gear=x0.8",
    "range=x0.6,stiffness=5,thigh_joint.ref=-0.2,foot_joint.springref=0.1",
    "foot_geom.size=x1.2,forcerange=[-0.5,0.4],gain=x0.9,frictionloss=0.2,viscosity=0.01,density=2,wind=[1,0,0]",
)


def hopper() -> mujoco.MjModel:
    return gymnasium.make("Hopper-v5").unwrapped.model


def everything(model: mujoco.MjModel) -> dict[str, Any]:
    """All arrays and options of a model."""
    fields = {name: getattr(model, name, None) for name in dir(model) if not name.startswith("_")}
    found = {name: value.copy() for name, value in fields.items() if isinstance(value, np.ndarray)}
    for owner in (model.opt, model.stat):
        names = (name for name in dir(owner) if not name.startswith("_"))
        found |= {
            f"{name}": np.array(getattr(owner, name)) for name in names if not callable(getattr(owner, name))
        }
    return found


def same(one: mujoco.MjModel, other: mujoco.MjModel) -> bool:
    mine, yours = everything(one), everything(other)
    return all(np.array_equal(mine[name], yours[name]) for name in mine)


def states(model: mujoco.MjModel, steps: int = 100) -> np.ndarray:
    data = mujoco.MjData(model)
    data.qpos[:] = [0, 1.2, 0.1, -0.2, -0.3, 0.1]
    data.ctrl[:] = [0.3, -0.4, 0.5]
    found = []
    for _ in range(steps):
        mujoco.mj_step(model, data)
        found.append(np.concatenate((data.qpos, data.qvel)))
    return np.array(found)
