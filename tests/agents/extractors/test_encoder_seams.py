"""What an encoder that trains puts into an agent: weights, rates, stages; and seams put together."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from tests.agents.pixel_task import OURS, SIZE, backbone_of, moved, pixel_env, tensors, tiny_backbone
from warmstart.agents.algorithms.seams import Experience, Feedback, LossTerm, Seams
from warmstart.agents.algorithms.trainability import RULE_KEY, Rule, Trainability, optimizers
from warmstart.agents.build import build_agent
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder, make_encoder
from warmstart.agents.extractors.extractor import EncoderExtractor
from warmstart.agents.extractors.policies import SACEncoderPolicy, TD3EncoderPolicy
from warmstart.agents.extractors.seams import BACKBONE, encoder_seams, extractors, merge
from warmstart.agents.extractors.stacks import repeated
from warmstart.agents.observing.frames import StackedVectorEnv
from warmstart.agents.settings.config import PPOConfig, SACConfig, TD3Config
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec

SMALL: dict[str, Any] = {"n_envs": 2, "net_arch": (8,), "normalize_obs": False, "normalize_reward": False}
CONFIGS: dict[str, Any] = {
    "ppo": PPOConfig(n_steps=8, batch_size=8, n_epochs=2, learning_rate=1e-3, **SMALL),
    "sac": SACConfig(learning_starts=4, buffer_size=100, batch_size=8, learning_rate=1e-3, **SMALL),
    "td3": TD3Config(learning_starts=4, buffer_size=100, batch_size=8, **SMALL),
}
ALGORITHMS = tuple(CONFIGS)


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    with tiny_backbone():
        yield


def encoder(**options: Any) -> Encoder:
    return make_encoder(EncoderConfig("tiny", seed=5, features=6, **options), (SIZE, SIZE))


def build(algorithm: str, with_state: bool = False, other: Seams | None = None, **settings: Any) -> Any:
    env = pixel_env(with_state)
    config = EncoderTraining(encoder="tiny:seed=5,features=6", **{"train": "fine_tuned", **settings})
    seams = encoder_seams(config, encoder(), algorithm, env.observation_space)
    return build_agent(CONFIGS[algorithm], env, 0, "cpu", seams if other is None else merge(seams, other))


def encoder_moves(model: Any, before: dict[str, torch.Tensor]) -> bool:
    return any(".backbone." in name for name in moved(model, before))


@pytest.mark.parametrize("with_state", [False, True], ids=["box", "dict"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_agents_start_from_the_encoders_weights_everywhere(algorithm: str, with_state: bool) -> None:
    model = build(algorithm, with_state)
    expected = encoder().backbone.network.state_dict()
    expected["features.0.weight"] = repeated(expected["features.0.weight"], 2)
    found = extractors(model.policy)
    assert len(found) == {"ppo": 1, "sac": 3, "td3": 4}[algorithm]
    for extractor in found:
        own = extractor.backbone.network.state_dict()
        assert all(torch.equal(own[name], tensor) for name, tensor in expected.items())
        assert extractor.features_dim == 6 + 2 * with_state
    classes = {"sac": SACEncoderPolicy, "td3": TD3EncoderPolicy}
    assert type(model.policy) is classes.get(algorithm, type(model.policy))
    assert not model.policy.normalize_images
    before = tensors(model)
    model.learn(24)
    assert encoder_moves(model, before)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_staged_encoder_keeps_every_bit_until_its_time(algorithm: str) -> None:
    model = build(algorithm, train="staged", unfreeze_at=48)
    before = tensors(model)
    model.learn(32)
    changed = moved(model, before)
    assert changed
    assert not encoder_moves(model, before)
    assert any("trunk" in name for name in changed)
    model.learn(32, reset_num_timesteps=False)
    assert encoder_moves(model, before)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_staged_encoder_stays_frozen_after_saving(algorithm: str, tmp_path: Any) -> None:
    """`requires_grad=False` does not survive SB3's save and load (trap 7); the rules do."""
    model = build(algorithm, train="staged", unfreeze_at=1000)
    before = tensors(model)
    model.learn(16)
    model.save(tmp_path / "model.zip")
    again = OURS[algorithm].load(tmp_path / "model.zip", env=pixel_env(), device="cpu")
    again.learn(24, reset_num_timesteps=False)
    assert not encoder_moves(again, before)
    assert moved(again, before)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_its_learning_rate_is_still_its_own_after_many_updates(algorithm: str) -> None:
    """SB3 sets all groups to one rate at the first update (trap 14)."""
    model = build(algorithm, encoder_learning_rate=0.1)
    model.learn(48)
    rates = {
        (group.get(RULE_KEY, -1), round(group["lr"], 9))
        for _, optimizer in optimizers(model)
        for group in optimizer.param_groups
    }
    assert rates == {(-1, 1e-3), (0, 1e-4)}
    held = {
        id(p)
        for _, optimizer in optimizers(model)
        for group in optimizer.param_groups
        if group["lr"] < 5e-4
        for p in group["params"]
    }
    assert held == {id(p) for p in backbone_of(model).parameters()}


def test_its_first_step_is_as_long_as_its_rate() -> None:
    """Adam's first step is the learning rate, whatever the gradient."""
    model = build("sac", encoder_learning_rate=0.1)
    model.learn(4)
    before = tensors(model)
    model.learning_starts = 0
    model.train(1, 8)
    after = model.policy.state_dict()
    steps = {name: float((after[name] - before[name]).abs().max()) for name in before}
    assert steps["critic.features_extractor.backbone.network.features.4.weight"] == pytest.approx(
        1e-4, rel=0.02
    )
    assert steps["critic.features_extractor.trunk.0.weight"] == pytest.approx(1e-3, rel=0.02)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_adapters_train_in_place_of_the_convolutions(algorithm: str) -> None:
    model = build(algorithm, train="staged", unfreeze_at=16, adapter_rank=2)
    before = tensors(model)
    model.learn(48)
    changed = {name for name in moved(model, before) if ".backbone." in name}
    assert changed
    assert all(name.endswith((".up", ".down")) for name in changed)


def test_frozen_vision_puts_nothing_in() -> None:
    seams = encoder_seams(EncoderTraining(encoder="tiny"), None, "ppo", spaces.Box(-1, 1, (4,), np.float32))
    assert seams == Seams()


def test_without_weights_the_encoder_is_drawn_from_its_seed() -> None:
    env = pixel_env()
    config = EncoderTraining(encoder="tiny:seed=5,features=6", train="fine_tuned")
    model = build_agent(
        CONFIGS["ppo"], env, 0, "cpu", encoder_seams(config, None, "ppo", env.observation_space)
    )
    expected = encoder().backbone.network.state_dict()["features.4.weight"]
    assert torch.equal(backbone_of(model).state_dict()["network.features.4.weight"], expected)


def test_what_does_not_fit_is_refused() -> None:
    config = EncoderTraining(encoder="tiny", train="fine_tuned")
    image = spaces.Box(0, 255, (6, SIZE, SIZE), np.uint8)
    with pytest.raises(WarmstartError, match="dqn is not supported"):
        encoder_seams(config, encoder(), "dqn", image)
    with pytest.raises(WarmstartError, match="shape"):
        encoder_seams(config, encoder(), "ppo", spaces.Box(0, 255, (6, 30, 30), np.uint8))
    with pytest.raises(WarmstartError, match="needs its weights"):
        encoder_seams(EncoderTraining(encoder="tiny:weights=w.pth", train="fine_tuned"), None, "ppo", image)
    with pytest.raises(WarmstartError, match="normalize_images"):
        build("ppo", other=Seams(policy_kwargs={"normalize_images": True}))


def test_scaling_twice_is_noticed_when_the_agent_is_built() -> None:
    seams = encoder_seams(
        EncoderTraining(encoder="tiny", train="fine_tuned"), encoder(), "ppo", pixel_env().observation_space
    )
    kwargs = {name: value for name, value in seams.policy_kwargs.items() if name != "normalize_images"}
    with pytest.raises(WarmstartError, match="normalize_images=False"):
        OURS["ppo"]("CnnPolicy", pixel_env(), seams=Seams(seams.initialise, kwargs))
    with pytest.raises(WarmstartError, match="no EncoderExtractor"):
        OURS["ppo"]("MlpPolicy", pixel_env(), seams=Seams(seams.initialise))


def test_merged_seams_do_what_both_do() -> None:
    order: list[str] = []
    terms = LossTerm(), LossTerm()
    listeners = Feedback(), Feedback()
    rules = Trainability((Rule(BACKBONE, 0.1),)), Trainability((Rule("value_net.*", 0.5),))
    guide = Experience()
    first = Seams(
        lambda model: order.append("first"), {"net_arch": [8]}, rules[0], terms[:1], None, listeners[:1]
    )
    second = Seams(
        lambda model: order.append("second"),
        {"n_critics": 1},
        rules[1],
        terms[1:],
        guide,
        listeners[1:],
    )
    both = merge(first, second)
    assert both.initialise is not None
    both.initialise(None)  # type: ignore[arg-type]
    assert order == ["first", "second"]
    assert both.policy_kwargs == {"net_arch": [8], "n_critics": 1}
    assert both.trainability == rules[0].then(rules[1])
    assert both.loss_terms == terms
    assert both.feedback == listeners
    assert both.experience is guide
    assert merge(Seams(), Seams()) == Seams()
    assert merge(first, Seams()).trainability == rules[0]
    assert merge(Seams(), second).trainability == rules[1]
    with pytest.raises(WarmstartError, match="who acts: Experience and Experience"):
        merge(second, second)
    with pytest.raises(WarmstartError, match=r"policy_kwargs\['net_arch'\]"):
        merge(first, Seams(policy_kwargs={"net_arch": [9]}))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_methods_seams_come_on_top(algorithm: str) -> None:
    """The method initialises after the encoder was loaded, and its rules decide."""
    seen: list[bool] = []

    def initialise(model: Any) -> None:
        expected = encoder().backbone.network.state_dict()["features.4.weight"]
        seen.append(torch.equal(backbone_of(model).state_dict()["network.features.4.weight"], expected))

    frozen = Trainability.frozen(BACKBONE)
    model = build(algorithm, other=Seams(initialise=initialise, trainability=frozen))
    before = tensors(model)
    model.learn(24)
    assert seen == [True]
    assert not encoder_moves(model, before)


def test_a_readout_of_an_encoder_that_trains_is_refused() -> None:
    config = EncoderTraining(encoder="nature_cnn:readout=average", train="fine_tuned")
    space = spaces.Box(0, 255, (6, 84, 84), np.uint8)
    with pytest.raises(WarmstartError, match="readout=average is about frozen encoders"):
        encoder_seams(config, None, "ppo", space)


@pytest.mark.usefixtures("opengl")
def test_a_simulated_task_is_learned_from_stacks() -> None:
    frames = make_vec("InvertedPendulum-v5:obs=pixels+state,size=24", 2, n_threads=1)
    env = as_sb3(StackedVectorEnv(frames, 2))
    config = EncoderTraining(encoder="tiny", train="fine_tuned", random_shift=2)
    seams = encoder_seams(config, None, "sac", env.observation_space)
    model = build_agent(CONFIGS["sac"], env, 0, "cpu", seams)
    before = tensors(model)
    model.learn(30)
    assert encoder_moves(model, before)
    assert isinstance(model.policy.critic.features_extractor, EncoderExtractor)  # type: ignore[union-attr]
    env.close()
