"""Named target tasks: shifts of the standard tasks, published ones and our own.

A name parses as a task: ``Task.parse("hopper-heavy-torso")``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.tasks.task import Task

_ODRL = "ODRL (arXiv 2410.20750)"
_RRLS = "RRLS (arXiv 2406.08406)"
_OWN = "warmstart"


@dataclass(frozen=True)
class NamedTarget:
    """A target task with a name.

    Attributes:
        name: Its name, unique, in kebab case.
        task: The task.
        description: How it differs from the nominal task.
        source: Where it comes from.
    """

    name: str
    task: Task
    description: str
    source: str


_ODRL_ROBOTS = {
    "halfcheetah": "HalfCheetah-v5",
    "hopper": "Hopper-v5",
    "walker2d": "Walker2d-v5",
    "ant": "Ant-v5",
}
_ODRL_FACTORS = {"tenth": 0.1, "half": 0.5, "double": 2.0, "fivefold": 5.0}

# robot, task, part in the name, body, range of its mass in kg
_RRLS_MASSES = (
    ("hopper", "Hopper-v5", "torso", "torso", 0.1, 3.0),
    ("hopper", "Hopper-v5", "thigh", "thigh", 0.1, 4.0),
    ("halfcheetah", "HalfCheetah-v5", "torso", "torso", 0.1, 7.0),
    ("halfcheetah", "HalfCheetah-v5", "back-thigh", "bthigh", 0.1, 3.0),
    ("walker2d", "Walker2d-v5", "torso", "torso", 0.1, 5.0),
    ("walker2d", "Walker2d-v5", "thigh", "thigh", 0.1, 6.0),
    ("ant", "Ant-v5", "torso", "torso", 0.1, 3.0),
)
_RRLS_PENDULUM = (("pole", 1.0, 31.0), ("cart", 1.0, 11.0))

# name, task, description
_OWN_TARGETS = (
    ("halfcheetah-weak-motors", "HalfCheetah-v5@motor=x0.5", "Motors of half the strength."),
    ("halfcheetah-lame-back-foot", "HalfCheetah-v5@bfoot.motor=x0", "The back foot's motor is dead."),
    ("halfcheetah-soft-springs", "HalfCheetah-v5@stiffness=x0.3", "Joint springs of 30% stiffness."),
    ("halfcheetah-without-back-foot-motor", "HalfCheetah-v5:without=[bfoot]", "One motor fewer."),
    ("hopper-weak-motors", "Hopper-v5@motor=x0.7", "Motors of 70% strength."),
    ("hopper-heavy", "Hopper-v5@mass=x1.5", "Every part half as heavy again."),
    ("walker2d-weak-motors", "Walker2d-v5@motor=x0.7", "Motors of 70% strength."),
    ("walker2d-weak-left-leg", "Walker2d-v5@*_left_joint.motor=x0.5", "The left leg has half its strength."),
    ("walker2d-heavy", "Walker2d-v5@mass=x1.5", "Every part half as heavy again."),
    ("ant-weak-motors", "Ant-v5@motor=x0.5", "Motors of half the strength."),
    ("ant-heavy", "Ant-v5@mass=x2", "Every part twice as heavy."),
    ("ant-without-fourth-leg-motors", "Ant-v5:without=[hip_4,ankle_4]", "Two motors fewer."),
    ("inverted-pendulum-weak-motor", "InvertedPendulum-v5@motor=x0.3", "A motor of 30% strength."),
    ("inverted-pendulum-double-gravity", "InvertedPendulum-v5@gravity=x2", "Gravity times 2."),
    (
        "inverted-double-pendulum-heavy-poles",
        "InvertedDoublePendulum-v5@pole*.mass=x3",
        "Poles 3 times as heavy.",
    ),
    (
        "inverted-double-pendulum-weak-motor",
        "InvertedDoublePendulum-v5@motor=x0.5",
        "Half the motor's strength.",
    ),
    ("reacher-weak-motors", "Reacher-v5@motor=x0.5", "Motors of half the strength."),
    ("reacher-stiff-joints", "Reacher-v5@joint?.damping=x3", "Joints with 3 times the damping."),
    ("reacher-heavy-arm", "Reacher-v5@body?.mass=x20", "Arm segments 20 times as heavy."),
    ("reacher-narrow-elbow", "Reacher-v5@joint1.range=x0.5", "The elbow keeps half its range."),
    ("pusher-heavy-arm", "Pusher-v5@r_*.mass=x2", "Arm segments twice as heavy."),
    ("pusher-sticky-object", "Pusher-v5@obj_*.damping=x4", "The object slides 4 times as hard."),
    ("swimmer-thick-fluid", "Swimmer-v5@viscosity=x5", "A fluid of 5 times the viscosity."),
    ("swimmer-thin-fluid", "Swimmer-v5@density=x0.5", "A fluid of half the density."),
    ("swimmer-weak-motors", "Swimmer-v5@motor=x0.5", "Motors of half the strength."),
    ("swimmer-heavy-head", "Swimmer-v5@torso.mass=x3", "The first segment 3 times as heavy."),
    ("swimmer-joint-range-50", "Swimmer-v5@range=x0.5", "Every limited joint keeps 50% of its range."),
    ("humanoid-half-gravity", "Humanoid-v5@gravity=x0.5", "Gravity times 0.5."),
    ("humanoid-heavy-torso", "Humanoid-v5@torso.mass=x2", "The torso twice as heavy."),
    ("humanoid-weak-motors", "Humanoid-v5@motor=x0.7", "Motors of 70% strength."),
    ("humanoid-half-friction", "Humanoid-v5@friction=x0.5", "Friction times 0.5."),
    ("humanoid-joint-range-80", "Humanoid-v5@range=x0.8", "Every limited joint keeps 80% of its range."),
    ("humanoid-standup-weak-motors", "HumanoidStandup-v5@motor=x0.7", "Motors of 70% strength."),
    ("cartpole-long-pole", "CartPole-v1@length=x2", "A pole of twice the length."),
    ("cartpole-heavy-pole", "CartPole-v1@masspole=x5", "A pole 5 times as heavy."),
)


def _odrl() -> Iterator[NamedTarget]:
    """Gravity and friction × {.1, .5, 2, 5}; joint ranges kept at 80, 50 and 20%."""
    for robot, task_id in _ODRL_ROBOTS.items():
        for quantity in ("gravity", "friction"):
            for word, factor in _ODRL_FACTORS.items():
                text, description = (
                    f"{task_id}@{quantity}=x{factor}",
                    f"{quantity.capitalize()} times {factor:g}.",
                )
                yield NamedTarget(f"{robot}-{word}-{quantity}", Task.parse(text), description, _ODRL)
        for percent in (80, 50, 20):
            text = f"{task_id}@range=x{percent / 100}"
            description = f"Every limited joint keeps {percent}% of its range."
            yield NamedTarget(f"{robot}-joint-range-{percent}", Task.parse(text), description, _ODRL)


def _rrls() -> Iterator[NamedTarget]:
    """The extremes of the masses' uncertainty sets, in kg and, for robots with legs, as factors.

    RRLS sets the mass alone; here the inertia follows it.
    """
    for robot, task_id, part, body, low, high in _RRLS_MASSES:
        for word, end, value in (("light", "low", low), ("heavy", "high", high)):
            kilograms = Task.parse(f"{task_id}@{body}.mass={value}")
            description = f"The {part.replace('-', ' ')} weighs {value:g} kg."
            yield NamedTarget(f"{robot}-rrls-{part}-{end}", kilograms, description, _RRLS)
            factor = Task.parse(f"{task_id}@{body}.mass=x{value}")
            description = f"The {part.replace('-', ' ')} weighs {value:g} times the nominal."
            yield NamedTarget(
                f"{robot}-{word}-{part}", factor, description, f"{_RRLS}, range read as factors"
            )
    for part, low, high in _RRLS_PENDULUM:
        for word, value in (("light", low), ("heavy", high)):
            task = Task.parse(f"InvertedPendulum-v5@{part}.mass={value}")
            yield NamedTarget(
                f"inverted-pendulum-{word}-{part}", task, f"The {part} weighs {value:g} kg.", _RRLS
            )


def _own() -> Iterator[NamedTarget]:
    for name, text, description in _OWN_TARGETS:
        yield NamedTarget(name, Task.parse(text), description, _OWN)


def _registry() -> Mapping[str, NamedTarget]:
    found: dict[str, NamedTarget] = {}
    for target in (*_odrl(), *_rrls(), *_own()):
        if target.name in found:
            raise WarmstartError(f"Two target tasks are called {target.name!r}; names must be unique.")
        found[target.name] = target
    return MappingProxyType(found)


def targets(task_id: str | None = None) -> tuple[NamedTarget, ...]:
    """Return the named target tasks of an environment, or of all environments."""
    return tuple(target for target in TARGETS.values() if task_id in (None, target.task.id))


def find_target(name: str) -> NamedTarget:
    """Return the target task of a name.

    Raises:
        WarmstartError: There is none of that name.
    """
    if name not in TARGETS:
        raise unknown_name("target task", name, TARGETS)
    return TARGETS[name]


TARGETS: Mapping[str, NamedTarget] = _registry()
"""All named target tasks by name."""
