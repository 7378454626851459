"""What an encoder that trains puts into an agent: its extractor, its weights, its learning rate."""

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.trainability import Piecewise, Rule, Trainability
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder, make_encoder
from warmstart.agents.extractors.extractor import EncoderExtractor, extractor_text
from warmstart.agents.extractors.stacks import image_space
from warmstart.agents.settings.config import config_class
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.core.errors import WarmstartError

BACKBONE = "*features_extractor.backbone.*"
"""Pattern of the encoder's parameters inside a policy; the trunk that follows isn't among them."""


def encoder_seams(
    config: EncoderTraining, encoder: Encoder | None, algorithm: str, observation_space: spaces.Space[Any]
) -> Seams:
    """Seams of an agent that trains its encoder; empty where the encoder is frozen, outside the agent.

    `build_agent` picks the policy class: SAC and TD3 train the encoder by the critic's loss alone.

    Args:
        config: The encoder and what becomes of it.
        encoder: The weights it starts from; ``None`` draws those of ``config.encoder`` from its seed.
        algorithm: ``ppo``, ``sac``, ``td3``, ``tqc`` or ``crossq``.
        observation_space: What `StackedFrames` makes of the task's observations.

    Raises:
        WarmstartError: The encoder doesn't fit the frames, or its weights are missing.
    """
    if config.train == "frozen":
        return Seams()
    config_class(algorithm)
    _, height, width = image_space(observation_space)[0].shape
    written = EncoderConfig.parse(config.encoder)
    if not written.file and written.readout != EncoderConfig.readout:
        raise WarmstartError(
            f"readout={written.readout} is about frozen encoders: one that trains is followed by a trainable "
            "linear layer instead. Leave the readout out, or freeze the encoder."
        )
    start = make_encoder(written, (height, width)) if encoder is None else encoder
    start.check_size((1, height, width, 3))
    kwargs = {
        "encoder": extractor_text(start),
        "features_dim": start.config.features,
        "random_shift": config.random_shift,
        "adapter_rank": config.adapter_rank,
    }
    return Seams(
        initialise=lambda model: warm_extractors(model, start),
        policy_kwargs={
            "features_extractor_class": EncoderExtractor,
            "features_extractor_kwargs": kwargs,
            "normalize_images": False,
        },
        trainability=encoder_rules(config),
    )


def encoder_rules(config: EncoderTraining) -> Trainability | None:
    """When the encoder trains and at what learning rate; ``None`` for always, and at the agent's.

    With adapters these rules are theirs: what they stand beside has no parameters.
    """
    rate = config.encoder_learning_rate
    if config.train == "staged":
        return Trainability((Rule(BACKBONE, Piecewise(((0, 0.0), (config.unfreeze_at, rate)))),))
    return None if rate == 1 else Trainability((Rule(BACKBONE, rate),))


def warm_extractors(model: BaseAlgorithm, encoder: Encoder) -> None:
    """Put an encoder's weights into every extractor of a policy, those of target networks too.

    Raises:
        WarmstartError: The policy has none, or SB3 would scale its frames a second time.
    """
    found = extractors(model.policy)
    if not found:
        raise WarmstartError(f"The policy {type(model.policy).__name__} has no EncoderExtractor to warm.")
    if model.policy.normalize_images:
        raise WarmstartError(
            "SB3 would divide frames by 255 before the encoder does: give policy_kwargs "
            "normalize_images=False."
        )
    for extractor in found:
        extractor.warm(encoder)


def extractors(policy: nn.Module) -> list[EncoderExtractor]:
    """The extractors of a policy, each once."""
    return [module for module in policy.modules() if isinstance(module, EncoderExtractor)]


def merge(first: Seams, second: Seams) -> Seams:
    """Both seams in one agent, such as those of its encoder and of its transfer method.

    Args:
        first: Initialises first; its rules give way where both decide a parameter.
        second: The other.

    Raises:
        WarmstartError: Both say who acts, or different things of the architecture.
    """
    for name in first.policy_kwargs.keys() & second.policy_kwargs.keys():
        if first.policy_kwargs[name] != second.policy_kwargs[name]:
            raise WarmstartError(
                f"Two seams of one agent set policy_kwargs[{name!r}]: {first.policy_kwargs[name]!r} and "
                f"{second.policy_kwargs[name]!r}. Leave one of them out."
            )
    if first.experience is not None and second.experience is not None:
        raise WarmstartError(
            f"Two seams of one agent say who acts: {type(first.experience).__name__} and "
            f"{type(second.experience).__name__}. Leave one of them out."
        )
    steps = [seams.initialise for seams in (first, second) if seams.initialise is not None]
    rules = [seams.trainability for seams in (first, second) if seams.trainability is not None]

    def initialise(model: BaseAlgorithm) -> None:
        for step in steps:
            step(model)

    return Seams(
        initialise=initialise if steps else None,
        policy_kwargs={**first.policy_kwargs, **second.policy_kwargs},
        trainability=rules[0].then(rules[1]) if len(rules) == 2 else next(iter(rules), None),
        loss_terms=first.loss_terms + second.loss_terms,
        experience=first.experience or second.experience,
        feedback=first.feedback + second.feedback,
    )
