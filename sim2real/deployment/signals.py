"""What an environment observes and takes, as a contract's signals."""

from typing import Any

import numpy as np
from gymnasium import spaces

from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Layout
from warmstart.sim2real.deployment.runtime.contract import Dimension, Signal


def observation_signals(env: Any) -> tuple[Signal, ...]:
    """What an environment observes, as signals: ``observation``, or those of a Dict by name."""
    space = env.single_observation_space
    inside = dict(space.spaces) if isinstance(space, spaces.Dict) else {"observation": space}
    frames = [name for name, part in inside.items() if part.dtype == np.uint8]
    found = []
    for name, part in inside.items():
        shape = tuple(part.shape or ())
        if name in frames:
            found.append(Signal(name, shape, "uint8"))
        else:
            layout = env.state_layout if frames else env.observation_layout
            found.append(Signal(name, shape, "float32", dimensions_of(layout)))
    return tuple(found)


def action_signal(env: Any) -> Signal:
    """What an environment is commanded, as a signal.

    Raises:
        WarmstartError: It takes choices, not actuators' values.
    """
    space = env.single_action_space
    if not isinstance(space, spaces.Box):
        raise WarmstartError(f"A simulated robot takes actuators' values, {env.task} choices: {space}.")
    return Signal("action", tuple(space.shape), "float32", dimensions_of(env.action_layout))


def dimensions_of(layout: Layout) -> tuple[Dimension, ...]:
    """The numbers of a layout, in order; what is infinite is no limit."""
    return tuple(
        Dimension(
            each.name,
            each.unit,
            each.low if np.isfinite(each.low) else None,
            each.high if np.isfinite(each.high) else None,
            float(each.scale),
        )
        for each in layout.dimensions
    )
