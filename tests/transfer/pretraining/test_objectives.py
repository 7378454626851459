import math
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from tests.transfer.moving_square import SIZE, MovingSquare, generator
from warmstart.agents.extractors.stacks import random_shift
from warmstart.core.errors import WarmstartError
from warmstart.transfer.frames.collect import collect_frames
from warmstart.transfer.frames.data import FrameBatch, FrameData, FrameSampler
from warmstart.transfer.pretraining.base import register_objective
from warmstart.transfer.pretraining.contrast import TemporalContrastConfig, follow, info_nce
from warmstart.transfer.pretraining.inverse import InverseDynamicsConfig
from warmstart.transfer.pretraining.pixels import AutoencoderConfig, MaskedConfig, patch_masks
from warmstart.transfer.pretraining.table import OBJECTIVES, make_objective


@pytest.fixture(scope="module")
def data():
    return collect_frames(MovingSquare(), 60, rng=np.random.default_rng(0))


def backbone():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU()
    )


def prepare(frames):
    return frames.permute(0, 3, 1, 2).float() / 255 - 0.5


def build(config, data):
    torch.manual_seed(1)
    objective = config.build(backbone(), prepare, data)
    return objective.train(), FrameSampler(data, config.offsets)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns(name, data):
    objective, sampler = build(make_objective(name, {"patch": 4} if name == "masked" else {}), data)
    parameters = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, 2e-3)
    draws = generator()
    losses = []
    for _ in range(40):
        loss = objective.loss(sampler.sample(32, draws), draws)
        assert loss.shape == ()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_update()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert all(p.grad is not None for p in objective.backbone.parameters())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_draws_come_from_the_generator_alone(name, data):
    objective, sampler = build(make_objective(name), data)
    batch = sampler.sample(16, generator())
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(found))
        before = torch.get_rng_state()
        found.append(objective.loss(batch, generator(seed)).item())
        assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_building_leaves_batch_statistics_and_mode_alone(name, data):
    network = backbone()
    make_objective(name).build(network, prepare, data)
    assert network[1].num_batches_tracked == 0
    assert network[1].training


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_the_scale_of_a_backbone_does_not_matter(factor, data):
    network = nn.Sequential(nn.Conv2d(3, 4, 5, 3))
    with torch.no_grad():
        network[0].weight.mul_(factor)
        network[0].bias.mul_(factor)
    objective = TemporalContrastConfig().build(network, prepare, data)
    maps = objective.maps(prepare(torch.from_numpy(data.frames[:, 0])))
    assert maps.square().mean().sqrt().item() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bfloat16_computes_nearly_the_same(name, data):
    objective, sampler = build(make_objective(name), data)
    batch = sampler.sample(16, generator())
    exact = objective.loss(batch, generator(2)).item()
    objective.dtype = torch.bfloat16
    rough = objective.loss(batch, generator(2))
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact, rel=0.05)
    assert rough.item() != exact


def test_info_nce_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(2.0), math.log(6.0)]])
    expected = -(math.log(3 / 4) + math.log(6 / 8)) / 2
    assert info_nce(logits).item() == pytest.approx(expected)


def test_contrast_by_hand(data):
    """Codes are those of the backbone, the comparison is bilinear with a residual predictor."""
    objective, sampler = build(TemporalContrastConfig(shift=0, latent=4, hidden=8), data)
    objective.eval()
    batch = sampler.sample(3, generator())
    with torch.no_grad():
        loss = objective.loss(batch, generator())
        codes = objective.compress(objective.maps(prepare(batch.frames[0])))
        keys = objective.compress(objective.maps(prepare(batch.frames[1])))  # the target hasn't moved yet
        logits = np.zeros((3, 3))
        for i in range(3):
            query = codes[i] + objective.predict(codes[i])
            for j in range(3):
                logits[i, j] = float(query @ objective.compare.weight.t() @ keys[j])
    expected = np.mean([np.log(np.exp(logits[i]).sum()) - logits[i, i] for i in range(3)])
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert objective.parts["accuracy"] == np.mean(logits.argmax(1) == np.arange(3))


def test_the_same_window_twice_in_a_batch_is_no_negative(data):
    objective, sampler = build(TemporalContrastConfig(shift=0), data)
    objective.eval()
    batch = sampler.sample(2, generator())
    twice = FrameBatch(batch.frames[:, [0, 1, 1]], batch.actions[:, [0, 1, 1]], batch.windows[[0, 1, 1]])
    with torch.no_grad():
        each = [objective.loss(_one(batch, i), generator()).item() for i in range(2)]
        assert each == [0.0, 0.0]  # nothing to tell it from
        of_two, of_three = (objective.loss(b, generator()).item() * n for b, n in ((batch, 2), (twice, 3)))
    assert math.isfinite(of_three)
    assert of_three != of_two


def _one(batch, index):
    chosen = [index]
    return FrameBatch(batch.frames[:, chosen], batch.actions[:, chosen], batch.windows[chosen])


def test_the_target_follows(data):
    config = TemporalContrastConfig(momentum=0.25)
    objective, _ = build(config, data)
    before = [p.clone() for p in objective.target.parameters()]
    with torch.no_grad():
        for parameter in objective.online.parameters():
            parameter.add_(1.0)
    objective.after_update()
    for old, new, online in zip(
        before, objective.target.parameters(), objective.online.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * online)
        assert not new.requires_grad


def test_follow_with_share_one_copies():
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    follow(target, source, 1.0)
    assert torch.equal(target.weight, source.weight)


def test_gradients_reach_the_anchor_only(data):
    objective, sampler = build(TemporalContrastConfig(), data)
    objective.loss(sampler.sample(8, generator()), generator()).backward()
    assert all(p.grad is None for p in objective.target.parameters())
    assert all(p.grad is not None for p in objective.compress.parameters())


def test_inverse_dynamics_by_hand(data):
    """The loss is the mean squared error of the standardised action before the last frame."""
    objective, sampler = build(InverseDynamicsConfig(shift=0), data)
    objective.eval()
    batch = sampler.sample(5, generator())
    with torch.no_grad():
        loss = objective.loss(batch, generator()).item()
        codes = [objective.compress(objective.maps(prepare(frames))) for frames in batch.frames]
        predicted = objective.predict(torch.cat(codes, 1)).numpy()
    actions = data.actions.reshape(-1, 2)
    wanted = (batch.actions[1].numpy() - np.nanmean(actions, 0)) / np.nanstd(actions, 0)
    assert loss == pytest.approx(np.square(predicted - wanted).mean(), rel=1e-4)


def test_actions_that_a_task_lacks_do_not_count(data):
    objective, sampler = build(InverseDynamicsConfig(shift=0), data)
    batch = sampler.sample(8, generator())
    batch.actions[1, :4, 1] = torch.nan
    loss = objective.loss(batch, generator())
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(torch.isfinite(p.grad).all() for p in objective.backbone.parameters())


def test_inverse_dynamics_needs_actions(data):
    blind = FrameData(data.frames, np.full_like(data.actions, np.nan), data.starts)
    with pytest.raises(WarmstartError, match="without the actions"):
        build(InverseDynamicsConfig(), blind)


def test_pixels_drawn_as_the_mean_frame_cost_one(data):
    objective, sampler = build(AutoencoderConfig(shift=0), data)
    images = prepare(sampler.sample(240, generator()).frames[0])
    assert objective.deviation(images).square().mean().item() == pytest.approx(1.0, rel=0.1)


def test_only_hidden_pixels_are_judged_and_only_others_are_seen(data):
    objective, sampler = build(MaskedConfig(patch=8, fraction=0.5), data)
    objective.eval()
    batch = sampler.sample(4, generator())
    hidden = patch_masks(4, (SIZE, SIZE), 8, 0.5, generator(7))
    seen = []
    objective.drawn = lambda images: seen.append(images) or torch.zeros_like(images)
    loss = objective.loss(batch, generator(7)).item()
    images = prepare(batch.frames[0])
    everywhere = hidden.expand_as(images)
    assert torch.equal(seen[0][~everywhere], images[~everywhere])
    assert torch.equal(seen[0][everywhere], objective.mean_frame.expand_as(images)[everywhere])
    expected = objective.deviation(images)[everywhere].square().mean().item()
    assert loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("size", "patch"), [((32, 32), 8), ((20, 28), 6), ((84, 84), 12)])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
def test_masks_cover_the_fraction_that_is_asked_for(size, patch, fraction):
    masks = patch_masks(50, size, patch, fraction, generator())
    assert masks.shape == (50, 1, *size)
    patches = masks[:, 0, ::patch, ::patch]
    count = patches[0].numel()
    assert (patches.flatten(1).sum(1) == round(fraction * count)).all()
    assert abs(masks.float().mean().item() - fraction) < 0.05
    assert len({tuple(mask.flatten().tolist()) for mask in patches}) > 40
    whole = patches.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, : size[0], : size[1]]
    assert torch.equal(masks[:, 0], whole)


def test_shifts_move_the_image_and_repeat_its_border():
    image = torch.arange(7.0) + 10 * torch.arange(6.0)[:, None]
    images = image.repeat(200, 2, 1, 1)
    shifted = random_shift(images, 2, generator())
    assert shifted.shape == images.shape
    found = set()
    for each in shifted:
        down, right = int(each[0, 3, 3] // 10) - 3, int(each[0, 3, 3] % 10) - 3
        rows, columns = torch.arange(6).add(down).clamp(0, 5), torch.arange(7).add(right).clamp(0, 6)
        assert torch.equal(each[0], image[rows][:, columns])
        assert torch.equal(each[0], each[1])
        found.add((down, right))
    assert len(found) == 25
    assert torch.equal(random_shift(images, 0, generator()), images)


def test_frames_larger_than_they_are_high(data):
    wide = FrameData(data.frames[:, :, 5:27], data.actions, data.starts)
    for name in OBJECTIVES:
        objective, sampler = build(make_objective(name), wide)
        assert math.isfinite(objective.loss(sampler.sample(4, generator()), generator()).item())


def test_unknown_names():
    with pytest.raises(WarmstartError, match=r"Unknown objective 'act'. Did you mean 'atc'\?"):
        make_objective("act")
    with pytest.raises(WarmstartError, match=r"latnt: Unknown setting 'latnt'. Did you mean 'latent'"):
        make_objective("atc", {"latnt": 3})


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("atc", "lag", 0),
        ("atc", "momentum", 1.5),
        ("inverse_dynamics", "frames", 1),
        ("masked", "fraction", 1.0),
    ],
)
def test_options_out_of_range(name, option, value):
    with pytest.raises(WarmstartError, match=f"{option}: expected a number .*, found {value}"):
        make_objective(name, {option: value})


def test_every_option_is_documented_and_has_a_default():
    for config in OBJECTIVES.values():
        assert config().name == config.name
        assert fields(config)


def test_objectives_of_the_users_own():
    @dataclass(frozen=True, kw_only=True)
    class Own(AutoencoderConfig):
        name: ClassVar[str] = "own"

    register_objective(Own)
    try:
        assert make_objective("own", {"latent": 3}) == Own(latent=3)
        with pytest.raises(WarmstartError, match="there already: 'own'"):
            register_objective(type("Other", (Own,), {}))
    finally:
        del OBJECTIVES["own"]
