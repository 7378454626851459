"""The whole of a policy as one module, from raw observations to actuators, and as an ONNX graph."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.normalization import NormalizerState
from warmstart.agents.checkpoints.recurrent import RECURRENT
from warmstart.agents.extractors.extractor import EncoderExtractor
from warmstart.core.errors import WarmstartError
from warmstart.envs.actions import bin_values
from warmstart.envs.simulation.layouts import Layout
from warmstart.sim2real.deployment.runtime.contract import Carried, Dimension, Signal
from warmstart.sim2real.export.fronts import ACTION, BEGINS, Front, front_of, named

OPSET = 20
BATCH = "n"
DTYPES = {"float32": torch.float32, "uint8": torch.uint8, "int64": torch.int64}
"""Types of signals and states."""


@dataclass(frozen=True)
class Choices:
    """What the choices of a policy stand for."""

    space: spaces.Box
    """The actions."""
    bins: int
    """Choices of each action, evenly over its range."""
    layout: Layout
    """Names and units of the actions."""


class Deployed(nn.Module):
    """Raw observations and states to the action and new states; acts as ``predict`` does.

    Args:
        checkpoint: Any that acts.
        raw: What its task shows; None where no task is known.
        choices: What the policy's choices stand for, of a task with ``action_bins``.

    Raises:
        WarmstartError: It needs what no robot can tell, or something of it has no graph.

    Attributes:
        front: What comes before the networks.
        states: Of the front and of the networks.
        action: What comes out.
    """

    bins: torch.Tensor | None
    low: torch.Tensor
    high: torch.Tensor

    def __init__(
        self,
        checkpoint: Checkpoint,
        raw: spaces.Space[Any] | None = None,
        choices: Choices | None = None,
    ) -> None:
        super().__init__()
        self.front: Front = front_of(checkpoint, raw)
        self.module: Any = checkpoint.policy().module
        for each in self.module.modules():
            if isinstance(each, EncoderExtractor):
                each._unscaled = True  # its frames are whole numbers, which it would look at the values for
        self.standardise = _Standardise(checkpoint.normalizer)
        self.space: Any = checkpoint.action_space
        self.recurrent = checkpoint.algorithm == RECURRENT
        self.states: tuple[Carried, ...] = (*self.front.states, *self._cells())
        values = None if choices is None else bin_values(choices.space, choices.bins)
        self.register_buffer("bins", None if values is None else torch.tensor(values, dtype=torch.float32))
        self.action = _action_signal(checkpoint, choices)
        if isinstance(self.space, spaces.Box):
            self.register_buffer("low", torch.tensor(self.space.low), persistent=False)
            self.register_buffer("high", torch.tensor(self.space.high), persistent=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs in order: observations, states, and where episodes begin."""
        own = (*(each.name for each in self.front.signals), *(each.input for each in self.states))
        return (*own, BEGINS) if self.states else own

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs in order: the action, and the new states."""
        return (ACTION, *(each.output for each in self.states))

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One step; tensors in the order of `inputs` and `outputs`. Shapes: (n, …)."""
        named = dict(zip(self.inputs, given, strict=True))
        raw = {each.name: named[each.name] for each in self.front.signals}
        begins = named.get(BEGINS, torch.zeros(given[0].shape[0]))
        seen, new = self.front(raw, named, begins)
        action, cells = self._act(self.standardise(seen), named, begins)
        new = self.front.remember(new, action)
        if self.bins is not None:
            action = self._physical(action)
        return (action, *(new[each.input] for each in self.front.states), *cells)

    def _act(self, seen: Any, named: Any, begins: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The action that SB3's ``predict`` gives, and an LSTM's new cells."""
        cells: list[torch.Tensor] = []
        if self.recurrent:
            action, cells = self._act_recurrent(seen, named, begins)
        else:
            action = self.module._predict(seen, deterministic=True)
        action = action.reshape(-1, *(self.space.shape or ()))
        if isinstance(self.space, spaces.Box):
            low, high = self.low, self.high
            if self.module.squash_output:
                action = low + 0.5 * (action + 1.0) * (high - low)
            else:
                action = torch.clamp(action, low, high)
        return action, cells

    def _act_recurrent(
        self, seen: Any, named: Any, begins: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        module = self.module
        features = module.extract_features(seen, module.pi_features_extractor)
        kept = (1 - begins)[:, None, None]
        before = tuple((named[name] * kept).transpose(0, 1).contiguous() for name in ("hidden", "cell"))
        latent, after = module.lstm_actor(features[None], before)
        hidden = module.mlp_extractor.forward_actor(latent[0])
        action = module._get_action_dist_from_latent(hidden).get_actions(deterministic=True)
        return action, [each.transpose(0, 1) for each in after]

    def _cells(self) -> tuple[Carried, ...]:
        if not self.recurrent:
            return ()
        lstm = self.module.lstm_actor
        shape = (lstm.num_layers, lstm.hidden_size)
        return tuple(Carried(name, f"{name}_next", shape) for name in ("hidden", "cell"))

    def _physical(self, choices: torch.Tensor) -> torch.Tensor:
        """What choices stand for. Shape: (n,) or (n, actions) to (n, actions)."""
        assert self.bins is not None
        index = choices.reshape(choices.shape[0], -1).long()
        return torch.gather(self.bins.expand(index.shape[0], -1, -1), 2, index[:, :, None])[:, :, 0]


class _Standardise(nn.Module):
    """A frozen normaliser, in double precision as ``VecNormalize`` computes."""

    def __init__(self, state: NormalizerState | None) -> None:
        super().__init__()
        self.clip = 0.0 if state is None else state.clip
        self.names: tuple[str, ...] = ()
        if state is None or not state.normalize_obs:
            return
        means: Any = state.mean if isinstance(state.mean, dict) else {"": state.mean}
        variances: Any = state.var if isinstance(state.var, dict) else {"": state.var}
        self.names = tuple(means)
        for i, name in enumerate(self.names):
            self.register_buffer(f"mean_{i}", torch.tensor(means[name]))
            self.register_buffer(f"std_{i}", torch.tensor(np.sqrt(variances[name] + state.epsilon)))

    def forward(self, seen: Any) -> Any:
        """Standardise what has statistics. Shapes: (n, …)."""
        if not self.names:
            return seen
        if not isinstance(seen, dict):
            return self._one(0, seen)
        return {**seen, **{name: self._one(i, seen[name]) for i, name in enumerate(self.names)}}

    def _one(self, i: int, values: torch.Tensor) -> torch.Tensor:
        mean, std = getattr(self, f"mean_{i}"), getattr(self, f"std_{i}")
        return torch.clamp((values.double() - mean) / std, -self.clip, self.clip).float()


def _action_signal(checkpoint: Checkpoint, choices: Choices | None) -> Signal:
    """Name, shape and limits of what comes out."""
    if choices is not None:
        dimensions = named(choices.layout, choices.space, ACTION)
        return Signal(ACTION, tuple(choices.space.shape), "float32", dimensions)
    space: Any = checkpoint.action_space
    shape = tuple(space.shape or ())
    if isinstance(space, spaces.Box):
        return Signal(ACTION, shape, "float32", named(checkpoint.action_layout, space, ACTION))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        numbers = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec).tolist()
    elif isinstance(space, spaces.MultiBinary):
        numbers = [2] * spaces.flatdim(space)
    else:
        raise WarmstartError(f"Actions of the kind {space} can't be exported.")
    names = [ACTION] if not shape else [f"{ACTION}[{i}]" for i in range(len(numbers))]
    limits = (Dimension(name, "", 0, n - 1) for name, n in zip(names, numbers, strict=True))
    return Signal(ACTION, shape, "int64", tuple(limits))


def to_onnx(policy: Deployed) -> Any:
    """The graph of a policy, checked, with a leading axis of any size.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        WarmstartError: An operator of it has no place in ONNX, or the packages are missing.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as missing:
        raise WarmstartError(
            f"Exporting needs the package {missing.name}: pip install 'warmstart[deploy]'."
        ) from None
    policy.eval()
    batch = torch.export.Dim(BATCH, min=1, max=1 << 16)
    given: list[Signal | Carried] = [*policy.front.signals, *policy.states]
    examples = tuple(torch.zeros(2, *each.shape, dtype=DTYPES[each.dtype]) for each in given)
    examples += (torch.ones(2),) if policy.states else ()
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                policy,
                examples,
                dynamo=True,
                input_names=list(policy.inputs),
                output_names=list(policy.outputs),
                dynamic_shapes=(tuple({0: batch} for _ in examples),),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise WarmstartError(f"The policy has no ONNX graph: {reason}") from error
    model = _bare(program.model_proto)
    onnx.checker.check_model(model, full_check=True)
    return model


def _bare(model: Any) -> Any:
    """The graph without what the exporter noted beside it, where files' paths are among."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter prints, and without checks of distributions, which look at values."""
    checked = torch.distributions.Distribution._validate_args
    level = logging.root.manager.disable
    torch.distributions.Distribution.set_default_validate_args(False)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        torch.distributions.Distribution.set_default_validate_args(checked)
