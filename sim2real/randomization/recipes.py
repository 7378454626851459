"""Named randomizations for the tasks: ``light``, ``medium`` and ``heavy``.

Few of the ranges have a source, which is named beside them. The others are our own choice, since nobody has
measured how wrong Gymnasium's models are:

- ``light`` is what a carefully measured robot leaves open: what scales and data sheets are off by, 5 to 20%.
- ``medium`` is what an unmeasured one leaves open: about twice to three times as much, and not symmetrical
  where a robot errs in one direction (cables and payloads add mass, motors are weaker than they say).
- ``heavy`` asks how much a policy can bear: factors of about two, more than measuring anything would leave
  open. Five tasks have absolute masses of the Robust RL suite in it (`_RRLS`); nothing else is from there.
"""

from collections.abc import Mapping

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import Settings
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.randomization.correlations import Correlation
from warmstart.sim2real.randomization.randomization import read_terms
from warmstart.sim2real.randomization.terms import Term

LEVELS = ("light", "medium", "heavy")


def _each(text: str) -> Settings:
    return {"range": text, "each": True}


def _log(text: str) -> Settings:
    return {"range": text, "distribution": "log_uniform"}


# Medium's friction: mujoco_playground's Go1 tasks set it uniformly from 0.4 to 1.0, ±43% about the middle.
# The others are ours. Contacts (solref: the time constant) get softer by more than harder, since time
# constants of few timesteps make simulations unstable.
_TOUCHING: Mapping[str, Settings] = {
    "light": {"friction": "x0.8:x1.2"},
    "medium": {"friction": "x0.6:x1.4", "solref": "x0.7:x1.5"},
    "heavy": {"friction": _log("x0.33:x2"), "solref": "x0.6:x2", "gravity": "x0.9:x1.1"},
}
"""Of robots that touch the ground."""
# Light's masses: mujoco_playground's Go1 tasks scale every link's by 0.9 to 1.1. The others are ours; motors
# are weaker sooner than stronger, as batteries sag.
_DRIVEN: Mapping[str, Settings] = {
    "light": {"body.*.mass": _each("x0.9:x1.1"), "gear": "x0.95:x1.05"},
    "medium": {"body.*.mass": _each("x0.75:x1.3"), "gear": "x0.8:x1.1"},
    "heavy": {"body.*.mass": _each("x0.6:x1.5"), "gear": "x0.7:x1.2"},
}
"""Of every robot."""
# Light's: mujoco_playground's Leap hand tasks scale damping by 0.8 to 1.2. The others are ours.
_DAMPED: Mapping[str, Settings] = {
    "light": {"damping": "x0.8:x1.2"},
    "medium": {"damping": _log("x0.67:x1.5")},
    "heavy": {"damping": _log("x0.5:x2")},
}
"""Of robots whose model has joint damping."""
# All ours: the inertia of a rotor behind a gear is seldom on a data sheet. (mujoco_playground's Go1 tasks
# scale it by 1.0 to 1.05 only.)
_ARMATURE: Mapping[str, Settings] = {
    "light": {"armature": "x0.9:x1.1"},
    "medium": {"armature": "x0.7:x1.3"},
    "heavy": {"armature": _log("x0.5:x2")},
}
"""Of robots whose model has rotor inertia."""
# RRLS's masses of its three parameters for HalfCheetah, Hopper and Walker2d, of its two for InvertedPendulum
# and of its one for Ant (github.com/SuReLI/RRLS, rrls/envs). Not taken from there: friction (0.1 to 3 or 4,
# absolute), two legs of Ant (0.01 to 3 kg, where they have 0.04), HumanoidStandup's masses, and adversarial
# forces; for these the terms above stand. Hopper's own torso (3.67 kg) and thigh (4.06 kg) are heavier than
# any that is drawn, as they are there.
_RRLS: Mapping[str, Settings] = {
    "HalfCheetah-v5": {"torso.mass": "0.1:7", "bthigh.mass": "0.1:3"},
    "Hopper-v5": {"torso.mass": "0.1:3", "thigh.mass": "0.1:4"},
    "Walker2d-v5": {"torso.mass": "0.1:5", "thigh.mass": "0.1:6"},
    "Ant-v5": {"torso.mass": "0.1:3"},
    "InvertedPendulum-v5": {"pole.mass": "1:31", "cart.mass": "1:11"},
}
"""Masses of the Robust RL suite (RRLS, 2406.08406), kg; other bodies have those of `_DRIVEN`."""

_PARTS: Mapping[str, tuple[Mapping[str, Settings], ...]] = {
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
        {  # ours: as for friction, which it takes the place of
            "light": {"viscosity": "x0.8:x1.2"},
            "medium": {"viscosity": "x0.6:x1.4"},
            "heavy": {"viscosity": _log("x0.33:x2")},
        },
    ),
    "Reacher-v5": (  # _DRIVEN and _DAMPED, of the arm and not of the target
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
RECIPE_TASKS = tuple(_PARTS)
"""Tasks for which there are recipes."""


def recipe(task: Task, level: str) -> Settings:
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
    terms: dict[str, object] = {}
    for part in _PARTS[task_id]:
        terms |= part[level]
    return {**terms, **_RRLS.get(task_id, {})} if level == "heavy" else terms


def ranges(task: Task, level: str) -> dict[str, str]:
    """A recipe in short texts by parameter: ``x0.8:x1.2``, ``x0.5:x2 log_uniform``, ``x0.9:x1.1 each``.

    Raises:
        WarmstartError: As for `recipe`.
    """
    found = {}
    for name, written in recipe(task, level).items():
        term = {"range": written} if isinstance(written, str) else written
        words = (term["range"], term.get("distribution", ""), "each" if term.get("each") else "")
        found[name] = " ".join(filter(None, words))
    return found


def randomize_terms(written: str | Settings, task: Task) -> tuple[tuple[Term, ...], tuple[Correlation, ...]]:
    """Read a randomization: a recipe's name, or terms, on top of a recipe where they name one.

    ``medium``, ``{torso.mass: x0.5:x2}`` and ``{recipe: light, torso.mass: x0.5:x2}`` are such.

    Raises:
        WarmstartError: It is none of these.
    """
    if isinstance(written, str):
        return read_terms(recipe(task, written))
    if not isinstance(written, Mapping):
        raise WarmstartError(
            f"Expected a recipe ({', '.join(LEVELS)}) or terms by name, {{torso.mass: x0.5:x2}}, found "
            f"{written!r}."
        )
    own = {name: value for name, value in written.items() if name != "recipe"}
    if "recipe" in written:
        own = {**recipe(task, str(written["recipe"])), **own}
    return read_terms(own)
