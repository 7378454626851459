import json

import numpy as np
import pytest
import torch
from torch import nn

from tests.transfer.moving_square import SIZE, MovingSquare, small_encoder
from warmstart.agents.encoders.backbones import BACKBONES, BackboneKind, register_backbone
from warmstart.agents.encoders.encoder import EncoderConfig, load_encoder, make_encoder
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import to_plain
from warmstart.envs.simulation.layouts import Dimension
from warmstart.transfer.frames.collect import collect_frames
from warmstart.transfer.frames.data import FrameData
from warmstart.transfer.pretraining.pretraining import (
    PretrainingConfig,
    PretrainingInterruptedError,
    pretrain,
    tensorboard,
)
from warmstart.transfer.pretraining.table import OBJECTIVES
from warmstart.transfer.probing.probe import probe_encoder

SHORT = PretrainingConfig(updates=6, batch_size=8)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data():
    return collect(100)


def collect(steps, seed=0, n=6, **options):
    rng = np.random.default_rng(seed)
    return collect_frames(MovingSquare(n, **options), steps, rng=rng, task=f"square-{n}")


def same(first, second):
    tensors, others = first.state_dict(), second.state_dict()
    return all(torch.equal(tensors[name], others[name]) for name in tensors)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_the_backbone_and_fits_the_readout(name, data):
    encoder = small_encoder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    result = pretrain(encoder, data, PretrainingConfig(objective=name, updates=3, batch_size=8))
    assert result.losses.shape == (3,)
    assert np.isfinite(result.losses).all()
    assert all(torch.equal(encoder.state_dict()[key], value) for key, value in before.items())
    for (key, trained), old in zip(
        result.encoder.backbone.named_parameters(), encoder.backbone.parameters(), strict=True
    ):
        assert not torch.equal(trained, old), key
        assert not trained.requires_grad
    assert result.encoder.fitted
    assert not encoder.fitted
    assert not any(module.training for module in result.encoder.modules())
    assert result.encoder.hash != encoder.hash


def test_learning_beats_random_weights_on_the_probe():
    """The readout is so narrow that it matters what the features are about."""
    train, unseen = collect(200, n=8), collect(100, seed=1, n=10)
    encoder = small_encoder(features=4)
    result = pretrain(encoder, train, PretrainingConfig(updates=120, batch_size=32, options={"lag": 1}))
    encoder.fit(result.encoder.samples)
    assert result.losses[-20:].mean() < 0.8 * result.losses[:5].mean()
    before, after = (
        probe_encoder(each, unseen, [Dimension("x", "m"), Dimension("y", "m")], pixels=False)
        .column("encoder", each.config.frames)
        .mean
        for each in (encoder, result.encoder)
    )
    assert after > before + 0.1


def test_same_seed_same_file_bit_for_bit(data, tmp_path):
    torch.manual_seed(5)
    first = pretrain(small_encoder(), data, SHORT)
    state = torch.get_rng_state()
    torch.manual_seed(6)
    again = pretrain(small_encoder(), data, SHORT)
    np.testing.assert_array_equal(first.losses, again.losses)
    files = [result.encoder.save(tmp_path / f"{i}.safetensors") for i, result in enumerate((first, again))]
    assert files[0].read_bytes() == files[1].read_bytes()
    other = pretrain(small_encoder(), data, PretrainingConfig(updates=6, batch_size=8, seed=1))
    assert not same(first.encoder.backbone, other.encoder.backbone)
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_file_says_where_the_encoder_comes_from(data, tmp_path):
    config = PretrainingConfig(objective="masked", options={"patch": 4}, updates=2, batch_size=8, seed=3)
    trained = pretrain(small_encoder(), data, config).encoder
    loaded = load_encoder(trained.save(tmp_path / "encoder.safetensors"))
    assert same(loaded, trained)
    assert loaded.hash == trained.hash
    said = loaded.provenance["pretraining"]
    assert said["objective"] == "masked"
    assert said["options"] == {"patch": 4}
    assert said["tasks"] == ["square-6"]
    assert (said["frames"], said["updates"], said["seed"]) == (600, 2, 3)
    assert said["versions"]["torch"]
    assert said["precision"] in ("float32", "bfloat16")
    assert loaded.provenance["initial"] == small_encoder().provenance


def test_batch_norm_and_dropout_act_in_training_and_are_still_afterwards(data):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 3)
            )

        def forward(self, x):
            seen.append(self.layers[3].training)
            return self.layers(x)

    seen = []
    register_backbone(BackboneKind("with_dropout", Network))
    try:
        encoder = make_encoder(EncoderConfig("with_dropout", features=8), (SIZE, SIZE))
        seen.clear()
        first, again = (pretrain(encoder, data, SHORT) for _ in range(2))
    finally:
        del BACKBONES["with_dropout"]
    assert sum(seen) == 2 * 2 * SHORT.updates  # anchors and positives
    np.testing.assert_array_equal(first.losses, again.losses)
    norm = first.encoder.backbone.network.layers[1]
    assert norm.num_batches_tracked == SHORT.updates
    assert not torch.equal(norm.running_mean, encoder.backbone.network.layers[1].running_mean)
    assert not norm.training
    frames = torch.from_numpy(data.frames[:4, 0])
    assert torch.equal(first.encoder(frames), first.encoder(frames))


def test_progress_and_logger(data, tmp_path):
    told = []
    with tensorboard(tmp_path) as log:
        result = pretrain(
            small_encoder(), data, SHORT, lambda done, total, loss: told.append((done, total, loss)), log
        )
    assert told == [(i + 1, 6, loss) for i, loss in enumerate(result.losses)]
    assert set(result.metrics) == {"loss", "accuracy"}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    written = events.Scalars("pretraining/loss")
    assert [event.step for event in written] == list(range(1, 7))
    np.testing.assert_allclose([event.value for event in written], result.losses, rtol=1e-6)


def test_an_interrupt_lets_keep_what_was_learned(data):
    def stop(done, total, loss):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(PretrainingInterruptedError, match="after 3 of 6 updates") as stopped:
        pretrain(small_encoder(), data, SHORT, stop)
    assert isinstance(stopped.value, KeyboardInterrupt)
    kept = stopped.value.keep()
    assert kept.losses.shape == (3,)
    assert kept.encoder.fitted
    assert kept.encoder.provenance["pretraining"]["updates"] == 3


def test_several_tasks_at_once():
    parts = [collect(40, n=3), collect(40, seed=1, n=4, length=9)]
    result = pretrain(small_encoder(), parts, SHORT)
    said = result.encoder.provenance["pretraining"]
    assert said["tasks"] == ["square-3", "square-4"]
    assert said["frames"] == 280


def test_too_few_frames(data):
    short = FrameData(data.frames[:8, :1], data.actions[:8, :1], data.starts[:8, :1])
    with pytest.raises(WarmstartError, match=r"at least 9 for a readout of 8 .*found 8"):
        pretrain(small_encoder(), short, SHORT)
    with pytest.raises(WarmstartError, match="at least 51 frames"):
        pretrain(small_encoder(), data, PretrainingConfig(options={"lag": 50}))


def test_frames_of_another_size(data):
    other = FrameData(data.frames[:, :, :28, :28], data.actions, data.starts)
    with pytest.raises(WarmstartError, match=r"\(n, 32, 32, 3\), found \(600, 28, 28, 3\)"):
        pretrain(small_encoder(), other, SHORT)


def test_divergence_is_an_error(data):
    with pytest.raises(WarmstartError, match=r"diverged.*smaller learning_rate than 1e\+30"):
        pretrain(small_encoder(), data, PretrainingConfig(updates=20, batch_size=8, learning_rate=1e30))


def test_settings_are_plain_values():
    config = PretrainingConfig(options={"lag": 5}, updates=7)
    assert config.objective_config.offsets == (0, 5)
    assert PretrainingConfig(**json.loads(json.dumps(to_plain(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objective": "contrast"}, "Unknown objective 'contrast'"),
        ({"options": {"lagg": 5}}, "lagg: Unknown setting 'lagg'. Did you mean 'lag'"),
        ({"updates": 0}, "updates: expected a number at least 1, found 0"),
        ({"batch_size": 1}, "batch_size of at least 2, found 1"),
        ({"steps": 10}, "steps: expected at least 32, .*found 10"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number above 0"),
        ({"precision": "float8"}, "precision: expected one of 'auto', .*, found 'float8'"),
        ({"random_share": 2.0}, "random_share: expected a number from 0 to 1"),
    ],
)
def test_mistakes_in_settings(values, message):
    with pytest.raises(WarmstartError, match=message):
        PretrainingConfig(**values)
