"""An encoder inside a policy, where it trains: SB3's features extractor for stacks of frames.

It stands up to what spoils pretrained weights inside SB3: PPO's orthogonal
initialisation, scaling twice, and batch statistics that drift.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from warmstart.agents.encoders.backbones import backbone_kind, build_backbone
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder, configured, fill_network
from warmstart.agents.encoders.preprocessing import affine_rows, centre, resized
from warmstart.agents.encoders.readouts import rows_of
from warmstart.agents.extractors.adapters import AdaptedConv2d, adapt
from warmstart.agents.extractors.stacks import COLOURS, image_space, random_shift, repeated, take_stacks
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError

Observations = torch.Tensor | dict[str, torch.Tensor]


class EncoderExtractor(BaseFeaturesExtractor):
    """A network up to a tap and a trunk, ``Linear → LayerNorm → Tanh`` as in DrQ-v2 (2107.09645).

    Observations are stacks of frames as `StackedVectorEnv` makes them, or a dict of these under ``pixels``
    and of the state under ``state``; the state is appended to the trunk's output as it is. The network's
    first convolution takes all frames of a stack at once. Frames are prepared in here, so that SB3's own
    division by 255 has to be off: ``policy_kwargs=dict(features_extractor_class=EncoderExtractor,
    normalize_images=False, features_extractor_kwargs=dict(encoder="squeezenet1_1"))``.

    The arguments are plain values, so that a checkpoint can record them. Weights are drawn from the
    encoder's seed; ``warm`` puts pretrained ones in.

    Args:
        observation_space: The images, uint8 of shape (3 * frames, height, width), or the dict.
        encoder: Text form of an `EncoderConfig`: architecture, tap, preprocessing and seed count.
        features_dim: Numbers that the trunk makes of a stack.
        random_shift: Pixels by which stacks are shifted at random in training mode (DrQ, 2004.13649).
        adapter_rank: Rank of adapters beside the convolutions, which then don't train; 0 for none.

    Raises:
        WarmstartError: The space isn't of such images, or the encoder is a file or names weights.
    """

    _factor: torch.Tensor
    _offset: torch.Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        encoder: str = "nature_cnn",
        features_dim: int = 64,
        random_shift: int = 0,
        adapter_rank: int = 0,
    ) -> None:
        image, state = image_space(observation_space)
        super().__init__(
            observation_space, features_dim + (0 if state is None else get_flattened_obs_dim(state))
        )
        config = EncoderConfig.parse(encoder)
        if config.file or config.weights != "random":
            raise WarmstartError(
                f"An extractor is recorded by its architecture alone, found {encoder}: leave the weights out "
                "and load them with extractor.warm(encoder), or let encoder_seams do both."
            )
        channels, height, width = image.shape
        self.frames, self.random_shift = channels // COLOURS, random_shift
        self.preprocessing = configured(backbone_kind(config.architecture).preprocessing, config)
        self.backbone = build_backbone(config.architecture, config.tap, config.seed)
        self._first = take_stacks(self.backbone.network, self.frames)
        if adapter_rank:
            adapt(self.backbone.network, adapter_rank)
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, row in zip(
            ("_factor", "_offset"), affine_rows(self.preprocessing, self.frames), strict=True
        ):
            self.register_buffer(name, row.view(1, -1, 1, 1).clone(), persistent=False)
        self._unscaled = False
        self.train(self.training)
        size = self._map_size(channels, height, width)
        self.trunk = nn.Sequential(nn.Linear(size, features_dim), nn.LayerNorm(features_dim), nn.Tanh())

    def forward(self, observations: Observations) -> torch.Tensor:
        """Features of observations.

        Args:
            observations: Pixels from 0 to 255. Shape: (n, 3 * frames, height, width); or the dict.

        Returns:
            Shape: (n, features_dim).
        """
        return self._joined(self.maps(observations), observations)

    def detached(self, observations: Observations) -> torch.Tensor:
        """The same features, of which only the trunk gets a gradient. Shape: (n, features_dim)."""
        with torch.no_grad():
            maps = self.maps(observations)
        return self._joined(maps, observations)

    def maps(self, observations: Observations) -> torch.Tensor:
        """The backbone's maps. Shape: (n, channels, height', width')."""
        pixels = observations["pixels"] if isinstance(observations, dict) else observations
        self._refuse_scaled(pixels)
        if self.training and self.random_shift:
            pixels = random_shift(pixels, self.random_shift)
        return self.backbone(self.prepare(pixels))  # type: ignore[no-any-return]

    def prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        """What `Preprocessing` makes of each frame, for stacks that are floats by now.

        Args:
            pixels: From 0 to 255. Shape: (n, 3 * frames, height, width).

        Returns:
            Input of the network, float32 in channels-last memory. Shape: (n, 3 * frames, height', width').
        """
        chosen, x = self.preprocessing, pixels.float()
        if chosen.order == "bgr":
            x = x.view(x.shape[0], self.frames, COLOURS, *x.shape[2:]).flip(2).flatten(1, 2)
        if chosen.size is not None and x.shape[2:] != (chosen.size, chosen.size):
            x = resized(x, chosen.size)
        x = x[:, :, *centre(x.shape[2], x.shape[3], chosen.crop)]
        x = torch.addcmul(self._offset, x, self._factor)
        return x.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def warm(self, source: Encoder | Mapping[str, torch.Tensor]) -> None:
        """Put pretrained weights into the backbone; adapters begin anew.

        The first convolution's weights are repeated for every frame of a stack and divided by their number,
        so that a stack of equal frames gives the maps of one. The trunk stays as it is.

        Args:
            source: An encoder of the same architecture, tap and preprocessing; or a network's tensors by
                their published names, in their published shapes.

        Raises:
            WarmstartError: They don't fit.
        """
        if isinstance(source, Encoder):
            self._check_same(source)
            source = source.backbone.network.state_dict()
        plain = build_backbone(self.backbone.name, self.backbone.tap)
        fill_network(plain, source)
        own = self.backbone.network.state_dict()
        for name, tensor in plain.network.state_dict().items():
            own[name].copy_(repeated(tensor, self.frames) if name == self._first else tensor)
        for module in self.backbone.modules():
            if isinstance(module, AdaptedConv2d):
                module.reset()

    def train(self, mode: bool = True) -> "EncoderExtractor":
        """Set the mode of all but the backbone, whose batch statistics and dropout stay as in evaluation.

        SB3 puts policies into training mode before every update, frozen or not.
        """
        super().train(mode)
        self.backbone.train(False)
        return self

    def apply(self, fn: Callable[[nn.Module], None]) -> "EncoderExtractor":
        """Apply a function to all modules but the backbone's.

        PPO initialises its networks with it after they were built, orthogonally, whatever they hold.
        """
        self.trunk.apply(fn)
        fn(self)
        return self

    @torch.no_grad()
    def _map_size(self, *shape: int) -> int:
        """Numbers in the map of a stack."""
        x = self.prepare(torch.zeros(1, *shape))
        try:
            return rows_of(self.backbone(x)).shape[1]
        except RuntimeError as error:
            raise WarmstartError(
                f"Frames of {x.shape[2]} x {x.shape[3]} pixels don't pass {self.backbone.name} up to "
                f"{self.backbone.tap}: render larger ones, or choose a shallower tap. {error}"
            ) from error

    def _joined(self, maps: torch.Tensor, observations: Observations) -> torch.Tensor:
        features = self.trunk(rows_of(maps))
        if isinstance(observations, dict):
            features = torch.cat((features, observations["state"].flatten(1)), 1)
        return features  # type: ignore[no-any-return]

    def _refuse_scaled(self, pixels: torch.Tensor) -> None:
        """Raise where somebody scaled the frames; checks until a frame isn't black."""
        if self._unscaled or not len(pixels):
            return
        first = pixels[0]
        if pixels.is_floating_point() and bool((first != first.round()).any()):
            raise WarmstartError(
                "Expected frames from 0 to 255, found fractions: somebody scaled them, and the encoder does "
                "that itself. Give policy_kwargs normalize_images=False, and don't normalise images."
            )
        self._unscaled = bool(first.max() > 1)

    def _check_same(self, encoder: Encoder) -> None:
        for name, theirs, ours in (
            ("network", encoder.backbone.name, self.backbone.name),
            ("tap", encoder.backbone.tap, self.backbone.tap),
            ("preprocessing", encoder.preprocessing, self.preprocessing),
        ):
            if theirs != ours:
                raise WarmstartError(
                    f"The encoder's {name} is {theirs}, the extractor was built with {ours}: build it with "
                    f"encoder={extractor_text(encoder)!r}."
                )


def extractor_text(encoder: Encoder) -> str:
    """The text by which an `EncoderExtractor` is built like an encoder, up to its weights.

    Raises:
        WarmstartError: The encoder's preprocessing can't be written as options.
    """
    backbone, own = encoder.backbone, encoder.preprocessing
    usual = backbone_kind(backbone.name).preprocessing
    options: State = {
        name: getattr(own, name)
        for name in ("order", "mean", "std")
        if getattr(own, name) != getattr(usual, name)
    }
    if own.scale != usual.scale:
        options["scale"] = round(own.scale * 255)
    for option, name in (("input_size", "size"), ("crop", "crop")):
        if getattr(own, name) != getattr(usual, name):
            options[option] = getattr(own, name) or 0
    config = EncoderConfig(backbone.name, tap=backbone.tap, **options)
    if configured(usual, config) != own:
        raise WarmstartError(f"The preprocessing {own} can't be written as options of an encoder.")
    return str(config)
