"""Named randomizations for the tasks: ``light``, ``medium`` and ``heavy``. May import envs.

Where the ranges come from:

- ``light`` is what a carefully measured robot leaves open: link masses ±10% (mujoco_playground's locomotion
  tasks), friction and damping ±20%, motors ±5%.
- ``medium`` is what an unmeasured one leaves open: masses −25% to +30%, friction ±40% (the spans of
  mujoco_playground's and IsaacLab's locomotion tasks around their nominal), damping by up to 1.5 either way,
  motors from −20% to +10% as batteries sag, contacts softer or harder by half.
- ``heavy`` has the masses of the Robust RL suite (RRLS, 2406.08406, table 2), as absolute values where it
  gives some, friction from a third to twice, gravity ±10%.
"""

from collections.abc import Mapping
from typing import Any

from warmstart.envs.errors import WarmstartError, unknown_name
from warmstart.envs.tasks import Task
from warmstart.sim2real.randomization import Correlation, read_terms
from warmstart.sim2real.terms import Term

LEVELS = ("light", "medium", "heavy")
Terms = Mapping[str, Any]


def _each(text: str) -> dict[str, Any]:
    return {"range": text, "each": True}


def _log(text: str) -> dict[str, Any]:
    return {"range": text, "distribution": "log_uniform"}


_TOUCHING: Mapping[str, Terms] = {
    "light": {"friction": "x0.8:x1.2"},
    "medium": {"friction": "x0.6:x1.4", "solref": "x0.7:x1.5"},
    "heavy": {"friction": _log("x0.33:x2"), "solref": "x0.6:x2", "gravity": "x0.9:x1.1"},
}
"""Of robots that touch the ground."""
_DRIVEN: Mapping[str, Terms] = {
    "light": {"body.*.mass": _each("x0.9:x1.1"), "gear": "x0.95:x1.05"},
    "medium": {"body.*.mass": _each("x0.75:x1.3"), "gear": "x0.8:x1.1"},
    "heavy": {"body.*.mass": _each("x0.6:x1.5"), "gear": "x0.7:x1.2"},
}
"""Of every robot."""
_DAMPED: Mapping[str, Terms] = {
    "light": {"damping": "x0.8:x1.2"},
    "medium": {"damping": _log("x0.67:x1.5")},
    "heavy": {"damping": _log("x0.5:x2")},
}
"""Of robots whose model has joint damping."""
_ARMATURE: Mapping[str, Terms] = {
    "light": {"armature": "x0.9:x1.1"},
    "medium": {"armature": "x0.7:x1.3"},
    "heavy": {"armature": _log("x0.5:x2")},
}
_RRLS: Mapping[str, Terms] = {
    "HalfCheetah-v5": {"torso.mass": "0.1:7", "bthigh.mass": "0.1:3"},
    "Hopper-v5": {"torso.mass": "0.1:3", "thigh.mass": "0.1:4"},
    "Walker2d-v5": {"torso.mass": "0.1:5", "thigh.mass": "0.1:6"},
    "Ant-v5": {"torso.mass": "0.1:3"},
    "InvertedPendulum-v5": {"pole.mass": "1:31", "cart.mass": "1:11"},
}
"""Masses of the Robust RL suite, kg; for the others the spread of `_DRIVEN` stands."""

_PARTS: Mapping[str, tuple[Mapping[str, Terms], ...]] = {
    "HalfCheetah-v5": (_DRIVEN, _TOUCHING, _DAMPED),
    "Hopper-v5": (_DRIVEN, _TOUCHING, _DAMPED, _ARMATURE),
    "Walker2d-v5": (_DRIVEN, _TOUCHING, _DAMPED, _ARMATURE),
    "Ant-v5": (_DRIVEN, _TOUCHING, _DAMPED, _ARMATURE),
    "Humanoid-v5": (_DRIVEN, _TOUCHING, _DAMPED, _ARMATURE),
    "HumanoidStandup-v5": (_DRIVEN, _TOUCHING, _DAMPED, _ARMATURE),
    "InvertedPendulum-v5": (_DRIVEN, _DAMPED),
    "InvertedDoublePendulum-v5": (_DRIVEN, _DAMPED),
    "Swimmer-v5": (
        _DRIVEN,
        {
            "light": {"viscosity": "x0.8:x1.2"},
            "medium": {"viscosity": "x0.6:x1.4"},
            "heavy": {"viscosity": _log("x0.33:x2")},
        },
    ),
    "Reacher-v5": (
        {
            "light": {"body*.mass": _each("x0.9:x1.1"), "gear": "x0.95:x1.05"},
            "medium": {"body*.mass": _each("x0.75:x1.3"), "gear": "x0.8:x1.1"},
            "heavy": {"body*.mass": _each("x0.6:x1.5"), "gear": "x0.7:x1.2"},
        },
        {
            "light": {"joint.joint*.damping": "x0.8:x1.2"},
            "medium": {"joint.joint*.damping": _log("x0.67:x1.5")},
            "heavy": {"joint.joint*.damping": _log("x0.5:x2")},
        },
    ),
    "Pusher-v5": (_DRIVEN, _DAMPED),
}


def recipe(task: Task, level: str) -> dict[str, Any]:
    """A named randomization of a task's physics, as `read_terms` takes it.

    Args:
        task: One of Gymnasium's MuJoCo tasks; its own context is what the terms act on.
        level: ``light``, ``medium`` or ``heavy``.

    Raises:
        WarmstartError: There is no such level, or no recipe for the task.
    """
    if level not in LEVELS:
        raise unknown_name("recipe", level, LEVELS)
    task_id = task.id.removeprefix("warmstart/")
    if task_id not in _PARTS:
        raise WarmstartError(
            f"There is no recipe for {task.id}: write terms such as {{torso.mass: x0.8:x1.2}} instead. "
            f"Recipes exist for {', '.join(_PARTS)}."
        )
    terms: dict[str, Any] = {}
    for part in _PARTS[task_id]:
        terms |= part[level]
    return {**terms, **_RRLS.get(task_id, {})} if level == "heavy" else terms


def randomize_terms(
    written: str | Mapping[str, Any], task: Task
) -> tuple[tuple[Term, ...], tuple[Correlation, ...]]:
    """Read a randomization: a recipe's name, or terms, on top of a recipe where they name one.

    ``medium``, ``{torso.mass: x0.5:x2}`` and ``{recipe: light, torso.mass: x0.5:x2}`` are such.

    Raises:
        WarmstartError: It is none of these.
    """
    if isinstance(written, str):
        return read_terms(recipe(task, written))
    own = {name: value for name, value in written.items() if name != "recipe"}
    if "recipe" in written:
        own = {**recipe(task, str(written["recipe"])), **own}
    return read_terms(own)
