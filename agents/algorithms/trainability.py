"""Which parameters move, when, and at what learning rate: the third seam of an agent.

Works on our algorithms, which keep the rates at every update, and (for plain freezing) on
stable-baselines3's own.
"""

import bisect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from warmstart.agents.algorithms.factors import Factors
from warmstart.core.errors import WarmstartError, unknown_name

Role = Literal["actor", "critic", "shared"]
RULE_KEY = "warmstart_rule"


@dataclass(frozen=True)
class Piecewise:
    """A number as a function of the training step, given by its values at some steps."""

    points: tuple[tuple[int, float], ...]
    """Pairs (step, value) in ascending order of step."""
    interpolation: Literal["hold", "linear"] = "hold"
    """Between two points: ``hold`` keeps the earlier value, ``linear`` joins them. Outside, the end values
    hold."""

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.points]
        if not steps or steps != sorted(set(steps)):
            raise WarmstartError(f"A schedule needs points in ascending order of step, found steps {steps}.")

    def __call__(self, step: int) -> float:
        """Value at a training step (environment steps)."""
        steps = [s for s, _ in self.points]
        after = bisect.bisect_right(steps, step)
        if after == 0:
            return self.points[0][1]
        step_0, value_0 = self.points[after - 1]
        if after == len(steps) or self.interpolation == "hold":
            return value_0
        step_1, value_1 = self.points[after]
        return value_0 + (value_1 - value_0) * (step - step_0) / (step_1 - step_0)


@dataclass(frozen=True)
class Rule:
    """The learning rate of the parameters whose names match, as a multiple of the agent's own."""

    pattern: str
    """Glob over SB3's parameter names (``mlp_extractor.policy_net.*``, ``actor.*``), or one of the roles
    ``@actor`` (moves the actions), ``@critic`` (moves only the values), ``@shared`` (moves both)."""
    multiplier: float | Piecewise
    """0 freezes; a ``Piecewise`` is evaluated at the environment steps taken."""

    def at(self, step: int) -> float:
        """Multiplier at a training step."""
        value = self.multiplier(step) if isinstance(self.multiplier, Piecewise) else self.multiplier
        if value < 0:
            raise WarmstartError(
                f"{self.pattern}: a learning rate can't be negative, found the multiplier {value}."
            )
        return value


@dataclass(frozen=True)
class Trainability:
    """Rules in order: the last that matches a parameter decides; what none matches trains as usual."""

    rules: tuple[Rule, ...]
    masks: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Parameters of which only some entries move: 1 where they do, 0 where not. Each of its shape."""
    factors: Mapping[str, Factors] = field(default_factory=dict)
    """Weights that move only by a product of two matrices; a rule for the weight decides of both."""

    @classmethod
    def frozen(cls, *patterns: str) -> "Trainability":
        """Freeze the parameters that match one of the patterns, for good."""
        return cls(tuple(Rule(pattern, 0.0) for pattern in patterns))

    def then(self, other: "Trainability") -> "Trainability":
        """Both sets of rules, the other's taking precedence."""
        masks, factors = {**self.masks, **other.masks}, {**self.factors, **other.factors}
        return Trainability(self.rules + other.rules, masks, factors)

    def rule_index(self, names: Iterable[str], role: Role) -> int | None:
        """Index of the rule that decides a parameter with these names; ``None`` where no rule does."""
        names = tuple(names)
        for index in range(len(self.rules) - 1, -1, -1):
            pattern = self.rules[index].pattern
            if pattern == f"@{role}" or any(fnmatchcase(name, pattern) for name in names):
                return index
        return None

    def check(self, policy: nn.Module) -> None:
        """Raise if a rule matches no parameter: a misspelt name must not silently train.

        Raises:
            WarmstartError: Names the pattern and the nearest parameter names.
        """
        roles = ["@actor", "@critic", "@shared"]
        names = [name for name, _ in policy.named_parameters(remove_duplicate=False)]
        for rule in self.rules:
            if rule.pattern not in roles and not any(fnmatchcase(name, rule.pattern) for name in names):
                raise unknown_name("parameter pattern", rule.pattern, [*names, *roles])
        own = dict(policy.named_parameters(remove_duplicate=False))
        for name, mask in self.masks.items():
            if name not in own or own[name].shape != mask.shape:
                raise WarmstartError(f"No parameter {name} has the shape {tuple(mask.shape)} of its mask.")
        for name, factors in self.factors.items():
            if name not in own or not factors.fits(own[name]):
                shapes = " and ".join(str(tuple(factor.shape)) for factor in factors.parameters)
                raise WarmstartError(f"No parameter {name} has the shape of its factors, {shapes}.")

    def hold(self, policy: nn.Module) -> None:
        """Before a step: take the gradients of entries that don't move, and give factors theirs."""
        for name, mask in self.masks.items():
            gradient = policy.get_parameter(name).grad
            if gradient is not None:
                gradient.mul_(mask)
        for name, factors in self.factors.items():
            factors.take(policy.get_parameter(name))

    def write(self, policy: nn.Module) -> None:
        """After a step: set the weights that move by factors."""
        for name, factors in self.factors.items():
            factors.write(policy.get_parameter(name))

    @property
    def factor_parameters(self) -> list[nn.Parameter]:
        """The factors of every weight that moves by them."""
        return [parameter for factors in self.factors.values() for parameter in factors.parameters]

    def multiplier(self, names: Iterable[str], role: Role, step: int) -> float:
        """Learning-rate multiplier of a parameter with these names at a training step."""
        index = self.rule_index(names, role)
        return 1.0 if index is None else self.rules[index].at(step)

    def apply(self, policy: nn.Module, step: int) -> None:
        """Freeze and release parameters as the rules say at a training step.

        A frozen parameter needs no gradient and has none, so that Adam passes it over: it stays
        bit-identical. Batch normalisation whose parameters (or statistics' names) are frozen is put into
        evaluation mode, which keeps its running statistics.

        Args:
            policy: SB3's policy module.
            step: Environment steps taken.
        """
        for entry in named_entries(policy):
            if entry.target:
                continue
            trains = self.multiplier(entry.names, entry.role, step) > 0
            entry.parameter.requires_grad_(trains)
            if not trains:
                entry.parameter.grad = None
            for name in self.factors.keys() & set(entry.names):
                self.factors[name].release(trains)
        for name, module in policy.named_modules():
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.training:
                names = f"{name}.running_mean", f"{name}.weight"
                if self.multiplier(names, parameter_role(policy, name), step) == 0:
                    module.eval()


@dataclass(frozen=True)
class Entry:
    """One parameter with every name it goes by (a shared extractor has up to three)."""

    names: tuple[str, ...]
    parameter: nn.Parameter
    role: Role
    target: bool
    """Whether it belongs to a target network, which follows and is never trained."""


def named_entries(policy: nn.Module) -> Iterator[Entry]:
    """Every parameter of a policy once, with its names and its role."""
    names: dict[int, list[str]] = {}
    parameters: dict[int, nn.Parameter] = {}
    for name, parameter in policy.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
        parameters[id(parameter)] = parameter
    for key, parameter in parameters.items():
        roles = {parameter_role(policy, name) for name in names[key]}
        role = roles.pop() if len(roles) == 1 else "shared"
        target = all(name.split(".")[0].endswith("_target") for name in names[key])
        yield Entry(tuple(names[key]), parameter, role, target)


def parameter_role(policy: nn.Module, name: str) -> Role:
    """Whether a parameter of this name moves the actions, only the values, or both.

    PPO: ``mlp_extractor.policy_net``, ``action_net``, ``log_std`` and ``pi_features_extractor`` belong to
    the actor, ``mlp_extractor.value_net``, ``value_net`` and ``vf_features_extractor`` to the critic. SAC
    and TD3: ``actor.*`` and ``critic.*``.
    """
    head = name.split(".")[0]
    if head == "features_extractor" and hasattr(policy, "mlp_extractor"):
        return "shared" if getattr(policy, "share_features_extractor", True) else "actor"
    critic_heads = ("critic", "critic_target", "value_net", "vf_features_extractor")
    return "critic" if head in critic_heads or name.startswith("mlp_extractor.value_net") else "actor"


def any_trains(module: nn.Module) -> bool:
    """Whether a parameter of the module needs a gradient."""
    return any(parameter.requires_grad for parameter in module.parameters())


def optimizers(model: BaseAlgorithm) -> list[tuple[Any, torch.optim.Optimizer]]:
    """The optimizers of a PPO, SAC or TD3 model's policy, each with the object that holds it."""
    policy: Any = model.policy
    if hasattr(policy, "mlp_extractor"):
        return [(policy, policy.optimizer)]
    return [(policy.actor, policy.actor.optimizer), (policy.critic, policy.critic.optimizer)]


def fresh_optimizers(model: BaseAlgorithm) -> None:
    """Replace a model's optimizers by new ones without moments, for the same parameters.

    Stale Adam moments of another task are the first thing that spoils a warm start. SAC's optimizer of the
    entropy coefficient is renewed as well.

    Args:
        model: A PPO, SAC or TD3 model, ours or SB3's; each of its rules gets a parameter group.
    """
    regroup(model, getattr(model, "trainability", None), keep_moments=False)
    log_ent_coef = getattr(model, "log_ent_coef", None)
    if log_ent_coef is not None:
        rate = float(model.lr_schedule(model._current_progress_remaining))
        model.ent_coef_optimizer = torch.optim.Adam([log_ent_coef], lr=rate)  # type: ignore[attr-defined]


def regroup(model: BaseAlgorithm, trainability: Trainability | None, *, keep_moments: bool = True) -> None:
    """Build a model's optimizers anew with one parameter group per rule.

    Args:
        model: A PPO, SAC or TD3 model, ours or SB3's.
        trainability: The rules; ``None`` leaves one group.
        keep_moments: Whether the new optimizers take over the old ones' moments.
    """
    policy: Any = model.policy
    rate = float(model.lr_schedule(model._current_progress_remaining))
    entries = {id(entry.parameter): entry for entry in named_entries(policy)}
    write = None if trainability is None or not trainability.factors else trainability.write
    order = {id(p): i for i, p in enumerate(policy.parameters())}
    for holder, old in optimizers(model):
        parameters = [p for group in old.param_groups for p in group["params"] if id(p) in order]
        parameters.sort(key=lambda p: order[id(p)])
        groups: dict[int, list[nn.Parameter]] = {}
        for parameter in parameters:
            entry = entries[id(parameter)]
            index = None if trainability is None else trainability.rule_index(entry.names, entry.role)
            group = groups.setdefault(-1 if index is None else index, [])
            group.append(parameter)
            if trainability is not None:
                found = (trainability.factors[n] for n in entry.names if n in trainability.factors)
                group += [factor for factors in found for factor in factors.parameters]
        wanted: list[Any] = parameters
        if trainability is not None:
            wanted = [{"params": groups[index], RULE_KEY: index} for index in sorted(groups)]
        new = policy.optimizer_class(wanted, lr=rate, **policy.optimizer_kwargs)
        if keep_moments:
            new.state.update(old.state)
        if write is not None:
            new.register_step_post_hook(lambda *_: write(policy))
        holder.optimizer = new


def set_group_rates(
    optimizer: torch.optim.Optimizer, rate: float, trainability: Trainability, step: int
) -> None:
    """Give each parameter group its own learning rate, where SB3 would give all of them the same."""
    for group in optimizer.param_groups:
        index = group.get(RULE_KEY, -1)
        group["lr"] = rate if index < 0 else rate * trainability.rules[index].at(step)
