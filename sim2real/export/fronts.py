"""What comes before a policy's networks, inside of the exported graph: histories, stacks, frozen encoders.

Each front does in tensors what the wrapper of the same way of observing does around environments. What has to
be remembered from one step to the next are states that the graph takes and gives.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from torch import nn
from typing_extensions import override

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.observing.base import EncodedFrames, StackedFrames
from warmstart.agents.observing.history import ObservationHistory
from warmstart.agents.observing.privileged import POLICY, PRIVILEGED, PrivilegedObservation
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Layout, generic_layout
from warmstart.sim2real.deployment.runtime.contract import Carried, Dimension, Signal
from warmstart.sim2real.deployment.signals import dimensions_of

Values = Mapping[str, torch.Tensor]
OBSERVATION, ACTION, BEGINS = "observation", "action", "begins"
"""Names of the graph's input for a single observation, of its output, and of the input that is 1 where an
episode begins."""
_NEXT = "_next"


class Front(nn.Module):
    """From raw observations to what the policy's networks take, not standardised; by itself it passes on.

    Attributes:
        signals: The raw observations.
        states: What goes from one step to the next.
        history: Observations that the policy sees.
        named: Whether the networks take a dict of observations.
    """

    def __init__(
        self, signals: tuple[Signal, ...], states: Mapping[str, tuple[tuple[int, ...], str]], history: int = 1
    ) -> None:
        super().__init__()
        self.signals, self.history = signals, history
        self.named = len(signals) > 1
        self.states = tuple(Carried(name, name + _NEXT, *each) for name, each in states.items())

    def forward(self, raw: Values, past: Values, begins: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
        """One step.

        Args:
            raw: Observations by signal. Shapes: (n, *signal).
            past: States by name. Shapes: (n, *state).
            begins: 1 where an episode begins, 0 else. Shape: (n,).

        Returns:
            What the networks take, and the new states without the action.
        """
        del past, begins
        return (raw if self.named else raw[OBSERVATION]), {}

    def remember(self, new: dict[str, torch.Tensor], action: torch.Tensor) -> dict[str, torch.Tensor]:
        """The new states, with the action that was chosen. Its shape: (n, *action)."""
        del action
        return new


class Turned(Front):
    """Camera images (height, width, channels) for networks that take channels first."""

    @override
    def forward(self, raw: Values, past: Values, begins: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
        turned = {
            each.name: raw[each.name].permute(0, 3, 1, 2)
            if each.dtype == "uint8" and len(each.shape) == 3
            else raw[each.name]
            for each in self.signals
        }
        return super().forward(turned, past, begins)


class ActorsPart(Front):
    """The observation of an actor whose critic was told more; what the critic reads is left at zero."""

    def __init__(self, signals: tuple[Signal, ...], told: int) -> None:
        super().__init__(signals, {})
        self.told = told

    @override
    def forward(self, raw: Values, past: Values, begins: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
        seen = raw[OBSERVATION]
        return {POLICY: seen, PRIVILEGED: seen.new_zeros((1, self.told)).expand(seen.shape[0], -1)}, {}


class History(Front):
    """The last observations, then the actions between them, as `HistoryEnv` has them.

    The actions are those that the graph gave; it doesn't know of a robot that did otherwise.
    """

    def __init__(self, signal: Signal, frames: int, action: spaces.Space[Any] | None) -> None:
        states = {"history": ((frames - 1, *signal.shape), "float32")}
        if action is not None:
            states["actions"] = ((frames - 1, spaces.flatdim(action)), "float32")
        super().__init__((signal,), states if frames > 1 else {}, frames)
        self.acts = action is not None and frames > 1

    @override
    def forward(self, raw: Values, past: Values, begins: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
        seen = continued(past.get("history"), raw[OBSERVATION], begins)
        if not self.acts:
            return seen.flatten(1), {"history": seen[:, 1:]} if self.states else {}
        done = past["actions"] * (1 - begins)[:, None, None]
        return torch.cat((seen.flatten(1), done.flatten(1)), 1), {"history": seen[:, 1:], "actions": done}

    @override
    def remember(self, new: dict[str, torch.Tensor], action: torch.Tensor) -> dict[str, torch.Tensor]:
        if not self.acts:
            return new
        return {**new, "actions": torch.cat((new["actions"][:, 1:], action.flatten(1)[:, None]), 1)}


class Stacked(Front):
    """The last frames as one image with channels first, as `StackedVectorEnv` has them."""

    def __init__(self, signals: tuple[Signal, ...], frames: int) -> None:
        height, width, channels = signals[0].shape
        states = {"frames": ((frames - 1, channels, height, width), "uint8")} if frames > 1 else {}
        super().__init__(signals, states, frames)

    @override
    def forward(self, raw: Values, past: Values, begins: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
        frames = continued(past.get("frames"), raw[self.signals[0].name].permute(0, 3, 1, 2), begins)
        new = {"frames": frames[:, 1:]} if self.states else {}
        image = frames.flatten(1, 2)
        return (image if len(raw) == 1 else {"pixels": image, "state": raw["state"]}), new


class Encoded(Front):
    """Features of a frozen encoder and their differences, as `EncodedVectorEnv` has them."""

    def __init__(self, signals: tuple[Signal, ...], observing: EncodedFrames) -> None:
        encoder = observing.encoder
        frames, self.difference = encoder.config.frames, encoder.config.difference
        states = {"features": ((frames - 1, encoder.n_features), "float32")} if frames > 1 else {}
        super().__init__(signals, states, frames)
        self.preprocessing, self.backbone, self.readout = (
            encoder.preprocessing,
            encoder.backbone,
            encoder.readout,
        )
        encoder(torch.zeros(1, *encoder.frame_shape, dtype=torch.uint8))  # rows of numbers that are kept

    @override
    def forward(self, raw: Values, past: Values, begins: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
        maps = self.backbone(self.preprocessing(raw[self.signals[0].name]))
        all_ = continued(past.get("features"), self.readout._read(maps.float()), begins)
        parts = [all_[:, 0]]
        if self.states:
            parts = [all_[:, 1:].flatten(1), ((all_[:, 1:] - all_[:, :-1]) * self.difference).flatten(1)]
        if len(raw) > 1:
            parts.append(raw["state"].flatten(1))
        return torch.cat(parts, 1), {"features": all_[:, 1:]} if self.states else {}


def continued(past: torch.Tensor | None, new: torch.Tensor, begins: torch.Tensor) -> torch.Tensor:
    """What was remembered and what is new; where an episode begins, the new one repeated.

    Shapes: (n, k - 1, …) and (n, …) to (n, k, …).
    """
    last = new[:, None]
    if past is None:
        return last
    first = begins.reshape(-1, *[1] * (past.ndim - 1)) > 0.5
    return torch.cat((torch.where(first, last.expand_as(past), past), last), 1)


def front_of(checkpoint: Checkpoint, raw: spaces.Space[Any] | None) -> Front:
    """The front of a checkpoint's policy.

    Args:
        checkpoint: Any that acts.
        raw: What its task shows, before anything is made of it; None where no task is known.

    Raises:
        WarmstartError: The policy needs what no robot can tell, or observations of an unknown kind.
    """
    space, seen = checkpoint.observation_space, checkpoint.vision
    layout = checkpoint.observation_layout
    if isinstance(seen, PrivilegedObservation):
        if seen.who == "both":
            raise WarmstartError(
                f"This policy's actor reads {', '.join(seen.names)}, which only a simulator tells. Distil it "
                "into one that does without first (warmstart.sim2real.adaptation.distill), and export that."
            )
        assert isinstance(space, spaces.Dict)
        size = spaces.flatdim(space[POLICY])
        part = None if layout is None else Layout(layout.dimensions[:size])
        return ActorsPart((_signal(OBSERVATION, space[POLICY], part),), spaces.flatdim(space[PRIVILEGED]))
    if isinstance(seen, ObservationHistory):
        action = checkpoint.action_space if seen.actions else None
        k = seen.frames
        m = 0 if action is None else spaces.flatdim(action)
        d = (spaces.flatdim(space) - (k - 1) * m) // k
        newest = slice((k - 1) * d, k * d)
        assert isinstance(space, spaces.Box)
        own = spaces.Box(space.low[newest], space.high[newest], dtype=space.dtype.type)
        part = None if layout is None else Layout(layout.dimensions[newest])
        return History(_signal(OBSERVATION, own, part), k, action)
    if isinstance(seen, StackedFrames):
        image = space["pixels"] if isinstance(space, spaces.Dict) else space
        assert image.shape is not None
        frame = (image.shape[1], image.shape[2], image.shape[0] // seen.frames)
        state = space["state"] if isinstance(space, spaces.Dict) else None
        return Stacked(_seen(frame, state, None), seen.frames)
    if isinstance(seen, EncodedFrames):
        n = seen.encoder.n_features
        k = seen.encoder.config.frames
        size = spaces.flatdim(space) - n * (1 if k == 1 else 2 * (k - 1))
        state = spaces.Box(-np.inf, np.inf, (size,)) if size else None
        part = None if layout is None or not size else Layout(layout.dimensions[-size:])
        return Encoded(_seen(seen.encoder.frame_shape, state, part), seen)
    if seen is not None:
        raise WarmstartError(f"A policy that observes through {type(seen).__name__} can't be exported yet.")
    return _plain(space, raw, layout)


def _plain(space: spaces.Space[Any], raw: spaces.Space[Any] | None, layout: Layout | None) -> Front:
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {OBSERVATION: space}
    given = dict(raw.spaces) if isinstance(raw, spaces.Dict) else {OBSERVATION: raw}
    turned = False
    signals = []
    for name, part in parts.items():
        if isinstance(part, spaces.Box) and is_image_space(part) and is_image_space_channels_first(part):
            shown = given.get(name)
            c, h, w = part.shape
            if (shown is None and c in (1, 3)) or (shown is not None and shown.shape == (h, w, c)):
                turned = True
                part = spaces.Box(0, 255, (h, w, c), np.uint8)
        signals.append(_signal(name, part, layout if name == OBSERVATION else None))
    front = (Turned if turned else Front)(tuple(signals), {})
    front.named = isinstance(space, spaces.Dict)
    return front


def _seen(
    frame: tuple[int, ...], state: spaces.Space[Any] | None, layout: Layout | None
) -> tuple[Signal, ...]:
    """Frames, and the state beside them."""
    if state is None:
        return (Signal(OBSERVATION, frame, "uint8"),)
    return Signal("pixels", frame, "uint8"), _signal("state", state, layout)


def _signal(name: str, space: spaces.Space[Any], layout: Layout | None) -> Signal:
    """One part of an observation."""
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3:
        return Signal(name, tuple(space.shape), "uint8")
    if isinstance(space, spaces.Box):
        return Signal(name, tuple(space.shape), "float32", named(layout, space, name))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        shape = tuple(space.shape or ())
        names = [name] if not shape else [f"{name}[{i}]" for i in range(math.prod(shape))]
        return Signal(name, shape, "int64", tuple(Dimension(each) for each in names))
    raise WarmstartError(f"Observations of the kind {space} can't be exported yet.")


def named(layout: Layout | None, space: spaces.Box, prefix: str) -> tuple[Dimension, ...]:
    """Names, units and limits of a vector's numbers, in order; numbered names where none are known."""
    fits = layout is not None and len(layout) == spaces.flatdim(space)
    return dimensions_of(layout if layout is not None and fits else generic_layout(space, prefix))
