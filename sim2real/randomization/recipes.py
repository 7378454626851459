"""Named randomizations for the tasks: ``light``, ``medium`` and ``heavy``.

Few of the ranges have a source, which is named beside them. The others are our own choice, since nobody has
measured how wrong Gymnasium's models are:

- ``light`` is what a carefully measured robot leaves open: what scales and data sheets are off by, 5 to 20%.
- ``medium`` is what an unmeasured one leaves open: about twice to three times as much, and not symmetrical
  where a robot errs in one direction (cables and payloads add mass, motors are weaker than they say).
- ``heavy`` asks how much a policy can bear: factors of about two, more than measuring anything would leave
  open. Five tasks have absolute masses of the Robust RL suite in it; nothing else is from there.
"""

from collections.abc import Mapping

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import Settings
from warmstart.envs.robots.table import robots
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.randomization.correlations import Correlation
from warmstart.sim2real.randomization.randomization import read_terms
from warmstart.sim2real.randomization.terms import Term

LEVELS = ("light", "medium", "heavy")


def _each(text: str) -> Settings:
    return {"range": text, "each": True}


def _log(text: str) -> Settings:
    return {"range": text, "distribution": "log_uniform"}


# Light's masses: mujoco_playground's Go1 tasks scale every link's by 0.9 to 1.1. Medium's friction: they set
# it uniformly from 0.4 to 1.0, ±43% about the middle. Light's damping: its Leap hand tasks scale it by 0.8 to
# 1.2. All others are ours. Motors are weaker sooner than stronger, as batteries sag. Contacts (their time
# constant) get softer by more than harder, since time constants of few timesteps make simulations unstable.
# The inertia of a rotor behind a gear is seldom on a data sheet (the Go1 tasks scale it by 1.0 to 1.05 only).
PARTS: Mapping[str, Settings] = {
    "mass": {"light": _each("x0.9:x1.1"), "medium": _each("x0.75:x1.3"), "heavy": _each("x0.6:x1.5")},
    "motor": {"light": "x0.95:x1.05", "medium": "x0.8:x1.1", "heavy": "x0.7:x1.2"},
    "friction": {"light": "x0.8:x1.2", "medium": "x0.6:x1.4", "heavy": _log("x0.33:x2")},
    "softness": {"medium": "x0.7:x1.5", "heavy": "x0.6:x2"},
    "gravity": {"heavy": "x0.9:x1.1"},
    "damping": {"light": "x0.8:x1.2", "medium": _log("x0.67:x1.5"), "heavy": _log("x0.5:x2")},
    "armature": {"light": "x0.9:x1.1", "medium": "x0.7:x1.3", "heavy": _log("x0.5:x2")},
    "viscosity": {"light": "x0.8:x1.2", "medium": "x0.6:x1.4", "heavy": _log("x0.33:x2")},
}
"""Ranges by level of what robots name in `MujocoTask.recipe_parts`."""


def recipe_tasks() -> tuple[str, ...]:
    """Tasks for which there are recipes: those whose class names parts of them."""
    return tuple(task_id for task_id, robot in robots().items() if robot.recipe_parts)


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
    if task_id not in recipe_tasks():
        raise WarmstartError(
            f"There is no recipe for {task.id}: write terms such as {{torso.mass: x0.8:x1.2}} instead. "
            f"Recipes exist for {', '.join(recipe_tasks())}."
        )
    robot = robots()[task_id]
    terms = {
        selector: PARTS[part][level] for part, selector in robot.recipe_parts.items() if level in PARTS[part]
    }
    if level == "heavy":
        # RRLS's masses of its parameters for HalfCheetah, Hopper, Walker2d, InvertedPendulum and Ant
        # (github.com/SuReLI/RRLS, rrls/envs). Not taken from there: friction (0.1 to 3 or 4, absolute), two
        # legs of Ant (0.01 to 3 kg, where they have 0.04), HumanoidStandup's masses, and adversarial forces;
        # for these the terms above stand. Hopper's own torso (3.67 kg) and thigh (4.06 kg) are heavier than
        # any that is drawn, as they are there.
        terms |= {f"{body}.mass": f"{low:g}:{high:g}" for body, (low, high) in robot.rrls_masses.items()}
    return terms


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
