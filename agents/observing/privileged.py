"""What only a simulator knows: the physical context of an episode beside its observation.

A critic that reads it has less to guess (asymmetric actor-critic, Pinto et al. 2017, 1710.06542); a teacher
whose actor reads it, too, can be distilled into one that doesn't (RMA, 2107.04034).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from typing_extensions import override

from warmstart.agents.observing.base import Observing
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.layouts import Dimension, Layout, generic_layout
from warmstart.envs.wrappers import Ids, ObservationWrapper

Array = NDArray[Any]
Floats = NDArray[np.float64]
Who = Literal["critic", "both"]
POLICY, PRIVILEGED = "policy", "privileged"
"""Keys of an observation: what everyone may read, and what only the simulator knows."""


@dataclass(frozen=True)
class PrivilegedObservation(Observing):
    """Observations ``{"policy": observation, "privileged": physical context}``.

    The context is in physical units, whose sizes differ much: let the agent standardise its observations
    (``normalize_obs=True``). Where an environment doesn't tell it (a reality), a critic's is filled with
    ``nominal``, which the actor never reads.

    Raises:
        WarmstartError: ``who`` is something else, or names and nominal values differ in number.
    """

    kind: ClassVar[str] = "privileged"
    names: tuple[str, ...] = ()
    """Physical parameters of the context, as in a task's text; empty for those that the environment's
    contexts and randomization are about. A wrapped environment's ``vision`` has them written out, one per
    number."""
    nominal: tuple[float, ...] = ()
    """What they are in the training task without randomization; empty to take them from the environment."""
    who: Who = "critic"
    """Who reads the context: the ``critic`` alone, or ``both`` actor and critic."""

    def __post_init__(self) -> None:
        check(self)
        if self.nominal and len(self.nominal) != len(self.names):
            raise WarmstartError(
                f"Expected a nominal value for each of {len(self.names)} parameters, found "
                f"{len(self.nominal)}."
            )

    @override
    def wrap(self, env: VectorEnv[Any, Any, Any]) -> "PrivilegedEnv":
        return self.wrapper(env)  # which tells of itself with every name written out

    @override
    def wrapper(self, env: VectorEnv[Any, Any, Any]) -> "PrivilegedEnv":
        inner = env.unwrapped
        known = inner if isinstance(inner, BatchedEnv) else None
        if known is None and not self.nominal:
            raise WarmstartError(
                "A privileged observation needs an environment that tells its physics, a batched MuJoCo "
                f"task, found {type(inner).__name__}."
            )
        if known is None and self.who == "both":
            raise WarmstartError(
                f"This agent's actor reads {', '.join(self.names)}, which {type(inner).__name__} doesn't "
                "tell. Let it act in a batched MuJoCo task, or distil it into an actor that needs no "
                "privileged observation (warmstart.sim2real.adaptation.distill)."
            )
        return PrivilegedEnv(env, self if known is None else self._resolved(known), known)

    def _resolved(self, env: BatchedEnv) -> "PrivilegedObservation":
        """The same with every name and nominal value written out."""
        wanted = self.names or env.context_names
        names = tuple(name for selector in wanted for name in component_names(env.parameters, selector))
        if not names:
            raise WarmstartError(
                f"Nothing about {env.task} is privileged: randomize its physics, or give "
                "PrivilegedObservation the names of parameters."
            )
        if self.nominal:
            return replace(self, names=names)
        values = env.parameters.resolve(env.task.context)
        columns = component_columns(env.parameters)
        return replace(self, names=names, nominal=tuple(float(values[columns[name]]) for name in names))


class PrivilegedEnv(ObservationWrapper):
    """Puts each environment's physical context beside its observation.

    The final observation of an ended episode has the context that was in force before its last step, not
    that of the next episode. (What a randomization draws anew within an episode just before that step is not
    in it.)

    Args:
        env: Observes vectors; resets in the same step.
        vision: With names and nominal values.
        known: The environment inside that tells its physics; None gives the nominal values.

    Raises:
        WarmstartError: The observations aren't vectors, or a parameter isn't one of the model's.

    Attributes:
        vision: How it is observed.
    """

    vision: PrivilegedObservation

    def __init__(
        self, env: VectorEnv[Any, Any, Any], vision: PrivilegedObservation, known: BatchedEnv | None
    ) -> None:
        context = spaces.Box(-np.inf, np.inf, (len(vision.names),), np.float64)
        super().__init__(env, spaces.Dict({POLICY: vector_space(env), PRIVILEGED: context}))
        self.vision = vision
        self._known = known
        self._constant = np.array(vision.nominal)
        if known is not None:
            columns = component_columns(known.parameters)
            self._constant = known.parameters.nominal[[columns[name] for name in vision.names]]
        self._varying: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._source: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._n_told = 0
        self._before = self._context = self._read()

    @property
    def observation_layout(self) -> Layout:
        """Names of what the actor may read, then the physical parameters."""
        seen: Layout | None = getattr(self.env, "observation_layout", None)
        if seen is None:
            seen = generic_layout(self.env.single_observation_space, "obs")
        units: dict[str, str] = {}
        if self._known is not None:
            parameters = self._known.parameters
            units = {name: parameters.select(name.partition("[")[0])[0].unit for name in self.vision.names}
        dimensions = [Dimension(name, units.get(name, "")) for name in self.vision.names]
        return seen + Layout(tuple(dimensions))

    @override
    def begin(self, observations: Array, ids: Ids) -> None:
        self._context = self._read()

    @override
    def proceed(self, observations: Array, actions: Array) -> None:
        self._before, self._context = self._context, self._read()

    @override
    def final(self, observations: Array, ids: Ids, infos: dict[str, Any]) -> dict[str, Array]:
        return {POLICY: observations, PRIVILEGED: self._before[ids]}

    @override
    def observed(self, observations: Array, ids: Ids) -> dict[str, Array]:
        return {POLICY: observations, PRIVILEGED: self._context[ids]}

    def _read(self) -> Floats:
        """The context in force. Shape: (n, parameters)."""
        found = np.tile(self._constant, (self.num_envs, 1))
        if self._known is not None:
            told = self._known.context_values()
            if told.shape[1] != self._n_told:  # a context is about a parameter that none was about so far
                self._n_told = told.shape[1]
                columns = {name: column for column, name in enumerate(self._known.context_names)}
                pairs = [(i, columns[name]) for i, name in enumerate(self.vision.names) if name in columns]
                self._varying, self._source = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
            found[:, self._varying] = told[:, self._source]
        return found

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), "context": self._context.copy()}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._context = state["context"].copy()
        self._n_told = -1  # the order of the environment's names may be another one


class ContextExtractor(BaseFeaturesExtractor):
    """A teacher's features: the observation, and a latent code z = mu(context) of what is privileged.

    The encoder mu of RMA (2107.04034, section III-A) is a small multilayer perceptron, trained by the agent's
    own loss.

    Args:
        observation_space: As `PrivilegedObservation` makes it, d observations and c parameters.
        latent_dim: Numbers of the code.
        hidden: Widths of mu's hidden layers.

    Raises:
        WarmstartError: The observations are others.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], latent_dim: int = 8, hidden: Sequence[int] = (64, 32)
    ) -> None:
        if not is_privileged(observation_space):
            raise WarmstartError(
                f"A ContextExtractor takes the observations of PrivilegedObservation(who='both'), found "
                f"{observation_space}."
            )
        assert isinstance(observation_space, spaces.Dict)
        n_seen, n_told = (spaces.flatdim(observation_space[key]) for key in (POLICY, PRIVILEGED))
        super().__init__(observation_space, n_seen + latent_dim)
        self.mu = multilayer(n_told, hidden, latent_dim)

    def latent(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The code of the context. Shape: (n, latent_dim)."""
        return self.mu(observations[PRIVILEGED])  # type: ignore[no-any-return]

    def forward(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Observation and code. Shape: (n, d + latent_dim)."""
        return torch.cat([observations[POLICY], self.latent(observations)], dim=1)


def multilayer(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """A multilayer perceptron with ELUs between its layers."""
    widths = (inputs, *hidden, outputs)
    layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
    modules = [module for layer in layers[:-1] for module in (layer, nn.ELU())]
    return nn.Sequential(*modules, layers[-1])


def is_privileged(space: spaces.Space[Any]) -> bool:
    """Whether observations have exactly the keys that `PrivilegedObservation` gives them."""
    return isinstance(space, spaces.Dict) and set(space.spaces) == {POLICY, PRIVILEGED}


def vector_space(env: VectorEnv[Any, Any, Any]) -> spaces.Box:
    """The space of one observation that is a vector.

    Raises:
        WarmstartError: It is something else.
    """
    space = env.single_observation_space
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return space
    raise WarmstartError(f"Expected observations that are vectors (a Box of one dimension), found {space}.")


def component_columns(parameters: Parameters) -> dict[str, int]:
    """Place of every number in a model's vector of parameters: by ``NAME``, or ``NAME[i]`` of several."""
    found: dict[str, int] = {}
    for name, part in parameters.columns.items():
        size = part.stop - part.start
        for i in range(size):
            found[name if size == 1 else f"{name}[{i}]"] = part.start + i
    return found


def component_names(parameters: Parameters, selector: str) -> tuple[str, ...]:
    """Names of the numbers that a selector, or such a name itself, means.

    Raises:
        WarmstartError: There is no such parameter; the nearest are named.
    """
    if selector in component_columns(parameters):
        return (selector,)
    return tuple(
        parameter.name if parameter.size == 1 else f"{parameter.name}[{i}]"
        for parameter in parameters.select(selector)
        for i in range(parameter.size)
    )
