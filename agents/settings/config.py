"""What an agent is trained with: one frozen dataclass per algorithm, in SB3's own names. Imports no torch.

The values tuned for a task are in ``warmstart.agents.settings.ppo`` and ``…defaults``.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from warmstart.core.bounds import Bounds, Count, Fraction, Natural, Settings, State
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import check, read, to_plain

Activation = Literal["tanh", "relu", "elu", "leaky_relu", "gelu", "silu"]
Decay = Literal["constant", "linear"]
Network = Literal["plain", "simba"]
Precision = Literal["highest", "high", "medium"]
AtLeastZero = Annotated[float, Bounds(0)]
"""A number of at least 0, infinity among them: a bound that never bites."""

POLICY_KWARGS = {
    "ppo": ("squash_output", "full_std", "use_expln", "share_features_extractor"),
    "sac": ("use_expln", "clip_mean", "share_features_extractor"),
    "td3": ("share_features_extractor",),
    "tqc": ("use_expln", "clip_mean", "share_features_extractor"),
    "crossq": (
        "use_expln",
        "clip_mean",
        "share_features_extractor",
        "batch_norm",
        "batch_norm_momentum",
        "batch_norm_eps",
        "renorm_warmup_steps",
    ),
}
"""Arguments of SB3's policies that have no field of their own: how gSDE explores, what shares layers, how
CrossQ renormalises."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """What all algorithms have in common."""

    algorithm: ClassVar[str]

    n_envs: Count = 1
    """Environments simulated side by side."""
    learning_rate: AtLeastZero = 3e-4
    """Adam's step size, at the start of training."""
    learning_rate_decay: Decay = "constant"
    """``linear`` lets the learning rate fall to zero over training (RL Zoo's ``lin_``)."""
    adam_betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of Adam's averages of the gradient and of its square. Equal ones keep PPO from collapsing late in
    training (Dohare et al. 2023, 2306.00187)."""
    batch_size: Count = 256
    """Transitions per gradient step."""
    gamma: Fraction = 0.99
    """Discount factor per control step."""
    normalize_obs: bool = False
    """Standardise observations by their running mean and variance (SB3's ``VecNormalize``)."""
    normalize_reward: bool = False
    """Divide rewards by the running standard deviation of the discounted return (SB3's ``VecNormalize``)."""
    clip_obs: AtLeastZero = 10.0
    """Bound on a standardised observation."""
    clip_reward: AtLeastZero = 10.0
    """Bound on a scaled reward."""
    net_arch: tuple[Count, ...] = (256, 256)
    """Widths of the hidden layers of actor and critic."""
    critic_net_arch: tuple[Count, ...] | None = None
    """Widths of the critic's hidden layers; ``None`` for those of ``net_arch``."""
    activation: Activation = "relu"
    """Nonlinearity between layers."""
    use_sde: bool = False
    """Explore by generalised state-dependent noise (gSDE) in place of independent Gaussian noise."""
    sde_sample_freq: int = -1
    """Steps between two gSDE noise matrices; -1 draws one per rollout."""
    policy_kwargs: Settings = field(default_factory=dict, hash=False)
    """Further arguments of SB3's policy, those of the algorithm in `POLICY_KWARGS`."""
    stats_window_size: int = 100
    """Episodes over which SB3's rollout statistics are averaged."""

    def __post_init__(self) -> None:
        check(self)
        for name in self.policy_kwargs:
            if name not in POLICY_KWARGS[self.algorithm]:
                raise unknown_name("entry of policy_kwargs", name, POLICY_KWARGS[self.algorithm])
        if self.policy_kwargs.get("squash_output") and not self.use_sde:
            raise WarmstartError("ppo: squash_output needs use_sde; SB3 squashes gSDE's actions only.")

    @property
    def normalize(self) -> bool:
        """Whether a ``VecNormalize`` stands between the environment and the agent."""
        return self.normalize_obs or self.normalize_reward

    def written(self) -> State:
        """Plain values for a study's document, which chooses defaults by ``network``: it is always in it."""
        own = {key: getattr(self, key) for key in ("network", "weight_decay") if hasattr(self, key)}
        return self.to_json() | own

    def to_json(self) -> State:
        """Plain values of every field, with the algorithm's name under ``algorithm``."""
        plain = to_plain(self)
        betas = to_plain(type(self).adam_betas)
        usual = {
            "policy_kwargs": {},
            "recompute_advantages": False,
            "adam_betas": betas,
            "network": "plain",
            "weight_decay": 0.0,
            "matmul_precision": None,
        }
        for name, value in usual.items():  # left out, as before there were such
            if name in plain and plain[name] == value:
                del plain[name]
        return {"algorithm": type(self).algorithm, **plain}


@dataclass(frozen=True, kw_only=True)
class PPOConfig(AgentConfig):
    """Proximal policy optimisation (Schulman et al. 2017, 1707.06347)."""

    algorithm: ClassVar[str] = "ppo"

    n_envs: Count = 64
    n_steps: Count = 128
    """Steps per environment and rollout."""
    batch_size: Count = 1024
    n_epochs: Count = 10
    """Passes over a rollout."""
    gae_lambda: Fraction = 0.95
    """Trade-off between bias and variance of the advantage (generalised advantage estimation)."""
    clip_range: AtLeastZero = 0.2
    """How far the probability ratio may leave 1 before its gradient is cut."""
    clip_range_decay: Decay = "constant"
    """``linear`` lets the clip range fall to zero over training."""
    clip_range_vf: float | None = None
    """The same for the value function; ``None`` doesn't clip it."""
    normalize_advantage: bool = True
    """Standardise the advantages of each minibatch."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: AtLeastZero = 0.5
    """Bound on the gradient's norm."""
    recompute_advantages: bool = False
    """Compute values and advantages anew before each pass over a rollout but the first, by the critic of that
    moment (Andrychowicz et al. 2020, 2006.05990)."""
    target_kl: float | None = None
    """End an update early once the KL divergence exceeds 1.5 times this; ``None`` never does."""
    normalize_obs: bool = True
    normalize_reward: bool = True
    net_arch: tuple[Count, ...] = (64, 64)
    activation: Activation = "tanh"
    log_std_init: float = 0.0
    """Initial logarithm of the exploration's standard deviation."""
    ortho_init: bool = True
    """Orthogonal initial weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_steps * self.n_envs % self.batch_size == 1:
            raise WarmstartError(
                f"ppo: a rollout of n_steps × n_envs = {self.n_steps * self.n_envs} leaves a last "
                f"minibatch of one; choose a batch_size other than {self.batch_size}."
            )


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig(AgentConfig):
    """What the off-policy algorithms have in common."""

    buffer_size: Count = 1_000_000
    """Transitions that the replay buffer holds."""
    learning_starts: Natural = 100
    """Steps before the first gradient step."""
    random_steps: int | None = None
    """Steps that act uniformly at random; ``None`` for ``learning_starts``, as SB3 does, 0 for a warm
    start."""
    train_freq: Count = 1
    """Steps of each environment between updates."""
    gradient_steps: Annotated[int, Bounds(-1)] = 1
    """Gradient steps per update; -1 for as many as there were environment steps."""
    n_critics: Count = 2
    """Critics whose minimum is taken."""
    network: Network = "plain"
    """``simba`` has residual blocks, one for each entry of ``net_arch``, all of one width; observations are
    standardised (Lee et al. 2024, 2410.09754)."""
    weight_decay: AtLeastZero = 0.0
    """Weight decay of actor and critics, by AdamW; 0 is Adam."""
    matmul_precision: Precision | None = None
    """Precision of matrix products in updates (``torch.set_float32_matmul_precision``), ``None`` for the
    process's own; ``medium`` computes them in bfloat16 where the processor can: faster in wide networks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network == "plain":
            return
        if not self.normalize_obs:
            raise WarmstartError(
                f"{self.algorithm}: the simba network reads standardised observations: set normalize_obs "
                "to true."
            )
        if self.activation != "relu":
            raise WarmstartError(f"{self.algorithm}: the simba network has relu, found {self.activation}.")
        for widths in (
            self.net_arch,
            self.net_arch if self.critic_net_arch is None else self.critic_net_arch,
        ):
            if len(set(widths)) != 1:
                raise WarmstartError(
                    f"{self.algorithm}: the simba network's blocks have one width, expected (128,) or "
                    f"(512, 512), found {tuple(widths)}."
                )


@dataclass(frozen=True, kw_only=True)
class EntropyConfig(OffPolicyConfig):
    """What SAC, TQC and CrossQ have in common: they aim at an entropy of their actions."""

    ent_coef: float | Literal["auto"] = "auto"
    """Weight of the entropy; ``auto`` learns it."""
    ent_coef_init: float = 1.0
    """Where a learned entropy coefficient starts."""
    target_entropy: float | Literal["auto"] = "auto"
    """Entropy that a learned coefficient aims at; ``auto`` is minus the number of actions."""
    use_sde_at_warmup: bool = False
    """Act by gSDE, not uniformly, during the random steps."""
    log_std_init: float = -3.0
    """Initial logarithm of the standard deviation; only gSDE uses it."""


@dataclass(frozen=True, kw_only=True)
class SACConfig(EntropyConfig):
    """Soft actor-critic (Haarnoja et al. 2018, 1812.05905)."""

    algorithm: ClassVar[str] = "sac"
    tau: Fraction = 0.005
    """Weight of the new parameters in the target networks' moving average."""
    target_update_interval: int = 1
    """Gradient steps between updates of the target networks."""


@dataclass(frozen=True, kw_only=True)
class TQCConfig(SACConfig):
    """Truncated quantile critics (Kuznetsov et al. 2020, 2005.04269)."""

    algorithm: ClassVar[str] = "tqc"
    n_quantiles: Count = 25
    """Quantiles of each critic."""
    top_quantiles_to_drop_per_net: Natural = 2
    """Largest quantiles of each critic that the target leaves out, against overestimation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_quantiles_to_drop_per_net >= self.n_quantiles:
            raise WarmstartError(
                f"tqc: expected top_quantiles_to_drop_per_net below n_quantiles ({self.n_quantiles}), found "
                f"{self.top_quantiles_to_drop_per_net}."
            )


@dataclass(frozen=True, kw_only=True)
class CrossQConfig(EntropyConfig):
    """CrossQ (Bhatt et al. 2024, 1902.05605): batch renormalisation in place of target networks."""

    algorithm: ClassVar[str] = "crossq"
    learning_rate: AtLeastZero = 1e-3
    adam_betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    critic_net_arch: tuple[Count, ...] | None = (1024, 1024)
    policy_delay: Count = 3
    """Critic updates per actor update."""


@dataclass(frozen=True, kw_only=True)
class TD3Config(OffPolicyConfig):
    """Twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, 1802.09477)."""

    algorithm: ClassVar[str] = "td3"

    learning_rate: AtLeastZero = 1e-3
    tau: Fraction = 0.005
    """Weight of the new parameters in the target networks' moving average."""
    net_arch: tuple[Count, ...] = (400, 300)
    policy_delay: int = 2
    """Critic updates per actor update."""
    target_policy_noise: float = 0.2
    """Standard deviation of the noise that smooths the target policy."""
    target_noise_clip: float = 0.5
    """Bound on that noise."""
    action_noise: float = 0.1
    """Standard deviation of the exploration noise, in units of half the action range."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use_sde:
            raise WarmstartError("td3: use_sde needs a stochastic policy; use sac or ppo.")


AlgorithmConfig = PPOConfig | SACConfig | TD3Config | TQCConfig | CrossQConfig
ALGORITHMS: dict[str, type[AlgorithmConfig]] = {
    "ppo": PPOConfig,
    "sac": SACConfig,
    "td3": TD3Config,
    "tqc": TQCConfig,
    "crossq": CrossQConfig,
}
"""Algorithms by name, with the class of their configuration."""

REFUSED = frozenset({"a2c", "dqn", "ddpg", "her", "trpo", "qrdqn", "ppo_lstm", "ars", "maskableppo"})
REFUSED |= {"recurrentppo", "recurrent_ppo"}
"""Algorithms of SB3 and sb3-contrib that this package doesn't train."""


def config_class(algorithm: str) -> type[AlgorithmConfig]:
    """Configuration class of an algorithm.

    Args:
        algorithm: One of `ALGORITHMS`, in any case.

    Raises:
        WarmstartError: If the algorithm is unknown, or known but not supported.
    """
    name = algorithm.lower()
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    if name in REFUSED:
        raise WarmstartError(
            f"{algorithm} is not supported, only {', '.join(ALGORITHMS)} are. For discrete actions use "
            f"ppo; for continuous ones {', '.join(ALGORITHMS)}."
        )
    raise unknown_name("algorithm", algorithm, ALGORITHMS)


RETIRED = frozenset({"compile"})
"""Settings that configurations written by earlier versions hold, and that mean nothing any more."""


def config_from_json(values: Settings) -> AlgorithmConfig:
    """Inverse of ``AgentConfig.to_json``; passes over `RETIRED` settings.

    Raises:
        WarmstartError: If a field is unknown, or the algorithm is.
    """
    cls = config_class(values["algorithm"])
    given = {name: value for name, value in values.items() if name != "algorithm" and name not in RETIRED}
    config: AlgorithmConfig = read(cls, given)
    return config
