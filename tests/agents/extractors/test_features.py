"""The features extractor, and what SB3 does to pretrained weights inside one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from tests.agents.conftest import vectorise
from tests.agents.pixel_task import FRAMES, SIZE, PixelTask, agent, backbone_of, moved, tensors, tiny_backbone
from warmstart.agents.encoders.backbones import BACKBONES, build_backbone
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import make_encoder
from warmstart.agents.extractors.extractor import EncoderExtractor, extractor_text
from warmstart.agents.extractors.stacks import random_shift, repeated
from warmstart.core.errors import WarmstartError


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    with tiny_backbone():
        yield


def images(size: int = SIZE, frames: int = FRAMES) -> spaces.Box:
    return spaces.Box(0, 255, (3 * frames, size, size), np.uint8)


def frames_of(stacks: torch.Tensor, index: int) -> torch.Tensor:
    """One frame of float stacks, as an encoder takes it."""
    return stacks[:, 3 * index : 3 * index + 3].permute(0, 2, 3, 1).to(torch.uint8)


def stacks(n: int, size: int = SIZE, frames: int = FRAMES, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3 * frames, size, size), generator=generator).float()


@pytest.mark.parametrize("name", ["nature_cnn", "drq", "squeezenet1_1", "resnet18", "tiny"])
def test_equal_frames_give_the_maps_of_one(name: str) -> None:
    encoder = make_encoder(EncoderConfig(name, seed=3), (40, 40))
    extractor = EncoderExtractor(images(40, 3), extractor_text(encoder), 5)
    extractor.warm(encoder)
    one = stacks(2, 40, 1)
    with torch.no_grad():
        found, expected = extractor.maps(one.repeat(1, 3, 1, 1)), encoder.maps(frames_of(one, 0))
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert extractor(one.repeat(1, 3, 1, 1)).shape == (2, 5)


@pytest.mark.parametrize(
    "options", ["", ":order=bgr,scale=255,mean=[104,117,123]", ":input_size=18,crop=16,std=[0.2,0.3,0.4]"]
)
def test_frames_are_prepared_once_as_the_encoder_prepares_them(options: str) -> None:
    encoder = make_encoder(EncoderConfig.parse(f"tiny{options}"), (SIZE, SIZE))
    extractor = EncoderExtractor(images(), extractor_text(encoder))
    seen = stacks(3)
    prepared = extractor.prepare(seen)
    for index in range(FRAMES):
        expected = encoder.preprocessing(frames_of(seen, index))
        assert torch.allclose(prepared[:, 3 * index : 3 * index + 3], expected, rtol=1e-6, atol=1e-5)
    extractor.warm(encoder)


def test_its_text_builds_the_same_preprocessing() -> None:
    config = EncoderConfig.parse(
        "squeezenet1_1:tap=features.3,order=bgr,scale=255,mean=[104,117,123],crop=20"
    )
    encoder = make_encoder(config, (32, 32))
    text = extractor_text(encoder)
    assert text == "squeezenet1_1:tap=features.3,order=bgr,scale=255,mean=[104,117,123],crop=20"
    extractor = EncoderExtractor(images(32), text)
    assert extractor.preprocessing == encoder.preprocessing
    assert extractor.backbone.tap == "features.3"


def test_ppos_orthogonal_initialisation_leaves_the_backbone_alone() -> None:
    """SB3's own PPO initialises the extractor after it was built (trap 5)."""
    for share in (True, False):
        kwargs = {
            "features_extractor_class": EncoderExtractor,
            "features_extractor_kwargs": {"encoder": "tiny:seed=7"},
            "normalize_images": False,
            "share_features_extractor": share,
        }
        env = vectorise(PixelTask, 1)
        model = stable_baselines3.PPO(
            "CnnPolicy", env, n_steps=4, batch_size=4, policy_kwargs=kwargs, device="cpu"
        )
        expected = build_backbone("tiny", seed=7).network.state_dict()
        expected["features.0.weight"] = repeated(expected["features.0.weight"], FRAMES)
        for extractor in (model.policy.pi_features_extractor, model.policy.vf_features_extractor):
            found = extractor.backbone.network.state_dict()
            assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
            rows = extractor.trunk[0].weight
            assert torch.allclose(rows @ rows.T, 2 * torch.eye(len(rows)), atol=1e-4)  # it did run
        assert (model.policy.pi_features_extractor is model.policy.vf_features_extractor) == share


def test_without_the_override_the_backbone_would_be_lost() -> None:
    extractor = EncoderExtractor(images(), "tiny")
    extractor.backbone.to(memory_format=torch.contiguous_format)
    before = extractor.backbone.network.features[0].weight.clone()
    extractor.apply(BasePolicy.init_weights)
    assert torch.equal(extractor.backbone.network.features[0].weight, before)
    nn.Module.apply(extractor, BasePolicy.init_weights)
    assert not torch.equal(extractor.backbone.network.features[0].weight, before)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_batch_statistics_keep_every_bit_and_dropout_is_off(algorithm: str, plain: bool) -> None:
    """SB3 puts the policy into training mode before updates (trap 6)."""
    model = agent(algorithm, plain=plain)
    before = tensors(model)
    model.learn(24)
    changed = moved(model, before)
    statistics = {name for name in before if "running_" in name or "num_batches" in name}
    assert len(statistics) >= 6
    assert not statistics & changed
    assert any("backbone.network.features.0.weight" in name for name in changed)
    assert any("backbone.network.features.1.weight" in name for name in changed)  # its scale may train
    model.policy.set_training_mode(True)
    assert model.policy.training
    assert not any(module.training for module in backbone_of(model).modules())
    extractor = next(m for m in model.policy.modules() if isinstance(m, EncoderExtractor))
    seen = stacks(4)
    assert torch.equal(extractor(seen), extractor(seen))


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_scaled_frames_are_refused(algorithm: str) -> None:
    """SB3 divides images by 255 unless told otherwise (trap 9)."""
    kwargs = {"features_extractor_class": EncoderExtractor, "features_extractor_kwargs": {"encoder": "tiny"}}
    cls = getattr(stable_baselines3, algorithm.upper())
    model = cls("CnnPolicy", vectorise(PixelTask, 1), policy_kwargs=kwargs, device="cpu")
    with pytest.raises(WarmstartError, match="normalize_images=False"):
        model.predict(model.get_env().reset())
    with pytest.raises(WarmstartError, match="uint8 from 0 to 255"):
        EncoderExtractor(spaces.Box(0, 1, (6, SIZE, SIZE), np.float32))


def test_black_frames_are_not_mistaken() -> None:
    extractor = EncoderExtractor(images(), "tiny")
    extractor(torch.zeros(2, 6, SIZE, SIZE))
    with pytest.raises(WarmstartError, match="found fractions"):
        extractor(stacks(2) / 255)
    extractor(stacks(2))


def test_a_shift_moves_all_frames_of_a_stack_alike_and_repeats_the_border() -> None:
    seen = stacks(40)
    torch.manual_seed(3)
    found = random_shift(seen, 2)
    torch.manual_seed(3)
    assert torch.equal(found, random_shift(seen, 2))
    rows = np.arange(SIZE)
    offsets = set()
    for image, moved_image in zip(seen.numpy(), found.numpy(), strict=True):
        fits = [
            (y, x)
            for y in range(-2, 3)
            for x in range(-2, 3)
            if np.array_equal(
                image[:, np.clip(rows + y, 0, SIZE - 1)][:, :, np.clip(rows + x, 0, SIZE - 1)], moved_image
            )
        ]
        assert len(fits) == 1
        offsets.add(fits[0])
    assert len(offsets) > 10
    assert {axis for offset in offsets for axis in offset} == {-2, -1, 0, 1, 2}


def test_frames_are_shifted_in_training_mode_only() -> None:
    extractor = EncoderExtractor(images(), "tiny", random_shift=3)
    seen = stacks(6)
    extractor.train()
    assert not torch.equal(extractor(seen), extractor(seen))
    extractor.eval()
    state = torch.random.get_rng_state()
    assert torch.equal(extractor(seen), extractor(seen))
    assert torch.equal(torch.random.get_rng_state(), state)
    extractor.random_shift = 0
    extractor.train()
    assert torch.equal(extractor(seen), extractor(seen))


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_predictions_are_never_shifted(algorithm: str) -> None:
    model = agent(algorithm, extractor={"random_shift": 4})
    model.learn(24)
    seen = stacks(4).to(torch.uint8).numpy()
    first = model.predict(seen, deterministic=True)[0]
    model.policy.set_training_mode(True)
    assert np.array_equal(model.predict(seen, deterministic=True)[0], first)


def test_the_state_is_appended() -> None:
    space = spaces.Dict({"pixels": images(), "state": spaces.Box(-1, 1, (4,), np.float32)})
    extractor = EncoderExtractor(space, "tiny", features_dim=5)
    assert extractor.features_dim == 9
    state = torch.rand(3, 4)
    seen = {"pixels": stacks(3), "state": state}
    assert torch.equal(extractor(seen)[:, 5:], state)
    assert torch.equal(extractor(seen)[:, :5], EncoderExtractor.forward(extractor, seen["pixels"]))
    assert torch.equal(extractor.detached(seen), extractor(seen))


def test_detached_features_have_no_gradient_to_the_backbone() -> None:
    extractor = EncoderExtractor(images(), "tiny")
    extractor.detached(stacks(2)).square().sum().backward()
    assert all(parameter.grad is None for parameter in extractor.backbone.parameters())
    assert extractor.trunk[0].weight.grad.abs().sum() > 0


def test_tensors_by_their_published_names_are_taken() -> None:
    weights = {name: value + 1 for name, value in build_backbone("tiny").network.state_dict().items()}
    extractor = EncoderExtractor(images(), "tiny")
    extractor.warm({**weights, "classifier.weight": torch.zeros(3)})
    found = extractor.backbone.network.state_dict()
    assert torch.equal(found["features.4.weight"], weights["features.4.weight"])
    assert torch.equal(
        found["features.0.weight"], weights["features.0.weight"].repeat(1, FRAMES, 1, 1) / FRAMES
    )
    with pytest.raises(WarmstartError, match=r"lack 1 of .* 'features.4.bias'"):
        extractor.warm({n: v for n, v in weights.items() if n != "features.4.bias"})


def test_another_encoder_is_refused() -> None:
    extractor = EncoderExtractor(images(), "tiny")
    with pytest.raises(WarmstartError, match=r"network is drq.*encoder='drq'"):
        extractor.warm(make_encoder(EncoderConfig("drq"), (SIZE, SIZE)))
    with pytest.raises(WarmstartError, match="preprocessing is"):
        extractor.warm(make_encoder(EncoderConfig("tiny", order="bgr"), (SIZE, SIZE)))


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Box(0, 255, (4, SIZE, SIZE), np.uint8), "three colours"),
        (spaces.Box(0, 255, (12, 9, 9), np.uint8), "smallest axis"),
        (spaces.Box(-1, 1, (7,), np.float32), "stacks of frames"),
        (spaces.Dict({"camera": spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8)}), "under pixels"),
        (spaces.Box(0, 255, (6, 2, 2), np.uint8), "smallest axis"),
    ],
)
def test_other_spaces_are_refused(space: Any, words: str) -> None:
    with pytest.raises(WarmstartError, match=words):
        EncoderExtractor(space)


def test_what_cannot_be_built_says_why() -> None:
    with pytest.raises(WarmstartError, match=r"20 x 20 pixels don't pass nature_cnn up to cnn\.5"):
        EncoderExtractor(images(), "nature_cnn")
    with pytest.raises(WarmstartError, match=r"extractor\.warm"):
        EncoderExtractor(images(), "drq:weights=weights.pth")
    with pytest.raises(WarmstartError, match=r"extractor\.warm"):
        EncoderExtractor(images(), "some.safetensors")
    with pytest.raises(WarmstartError, match="nature_cnn"):
        EncoderExtractor(images(), "nature_cn")


def test_building_draws_nothing_but_the_trunk() -> None:
    assert "tiny" in BACKBONES
    torch.manual_seed(0)
    one = EncoderExtractor(images(), "tiny:seed=1").trunk[0].weight
    torch.manual_seed(0)
    other = EncoderExtractor(images(), "tiny:seed=2").trunk[0].weight
    assert torch.equal(one, other)
