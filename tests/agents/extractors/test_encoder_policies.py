"""Policies of SAC and TD3 whose encoder only the critic trains; saving and loading, of PPO's too."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.pixel_task import (
    SB3,
    agent,
    backbone_of,
    moved,
    pixel_env,
    policy_class,
    tensors,
    tiny_backbone,
)
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.trainability import Rule, Trainability
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.checkpoints.normalization import vec_normalize
from warmstart.agents.extractors.extractor import EncoderExtractor
from warmstart.agents.extractors.policies import SACEncoderPolicy, TD3EncoderPolicy
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.sb3_files.written import write_sb3_zip
from warmstart.core.errors import WarmstartError


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    with tiny_backbone():
        yield


KINDS: dict[str, dict[str, Any]] = {
    "sb3": {"plain": True},
    "ours": {},
    "seams": {"seams": Seams(trainability=Trainability((Rule("*", 1.0),)))},
}
"""Whose update it is: SB3's, SB3's in an agent of ours, or the one with seams."""
VARIANTS = [pytest.param(name, kind, id=f"{name}-{kind}") for name in ("sac", "td3") for kind in KINDS]


def build(algorithm: str, kind: str, **settings: Any) -> Any:
    return agent(algorithm, **KINDS[kind], **settings)


def do_nothing(*args: Any, **kwargs: Any) -> None:
    """In place of an optimizer's step."""


@pytest.mark.parametrize(("algorithm", "kind"), VARIANTS)
def test_the_actors_loss_leaves_the_encoder_alone(algorithm: str, kind: str) -> None:
    """SB3's shared extractor would be trained by the actor's loss only (trap 8)."""
    model = build(algorithm, kind)
    model.learn(12)
    before = tensors(model)
    model.critic.optimizer.step = do_nothing
    model.train(3, 8)
    changed = {name for name in moved(model, before) if "_target." not in name}
    assert not {name for name in changed if not name.startswith("actor")}
    assert not {name for name in changed if ".backbone." in name}
    assert {name for name in changed if name.startswith("actor.features_extractor.trunk")}
    assert {name for name in changed if name.startswith("actor.mu")}


@pytest.mark.parametrize(("algorithm", "kind"), VARIANTS)
def test_the_critics_loss_trains_it(algorithm: str, kind: str) -> None:
    model = build(algorithm, kind)
    model.learn(12)
    before = tensors(model)
    model.actor.optimizer.step = do_nothing
    model.train(1, 8)
    changed = moved(model, before)
    encoder = {n for n in changed if n.startswith("critic.features_extractor.backbone")}
    assert encoder
    seen_by_actor = {n.replace("critic.", "actor.", 1) for n in encoder}
    assert {n for n in changed if n.startswith("actor.")} == seen_by_actor
    assert not {n for n in changed if n.startswith("actor.features_extractor.trunk")}


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_sb3s_shared_extractor_does_the_reverse(algorithm: str) -> None:
    """Why these policies exist."""
    model = SB3[algorithm](
        "CnnPolicy",
        pixel_env(),
        policy_kwargs={
            "net_arch": [8],
            "features_extractor_class": EncoderExtractor,
            "features_extractor_kwargs": {"encoder": "tiny"},
            "normalize_images": False,
            "share_features_extractor": True,
        },
        learning_starts=4,
        buffer_size=50,
        batch_size=8,
        device="cpu",
    )
    model.learn(12)
    before = tensors(model)
    model.critic.optimizer.step = do_nothing
    model.train(2, 8)
    assert {n for n in moved(model, before) if n.startswith("actor.features_extractor.backbone")}


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_no_gradient_reaches_the_encoder_in_the_actors_loss(algorithm: str) -> None:
    policy = agent(algorithm).policy
    observations = torch.randint(0, 256, (4, 6, 20, 20)).float()
    actions = policy.actor(observations)
    assert actions.requires_grad
    assert (policy.critic.q1_forward(observations, actions)).requires_grad
    sum(policy.critic(observations, actions)).sum().backward()
    assert all(p.grad is None for p in policy.critic.features_extractor.parameters())
    assert all(p.grad is not None for p in policy.actor.features_extractor.trunk.parameters())
    sum(policy.critic(observations, actions.detach())).sum().backward()
    assert all(p.grad is not None for p in policy.critic.features_extractor.parameters())
    with torch.no_grad():
        assert not any(q.requires_grad for q in policy.critic(observations, actions.detach()))


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_whose_parameters_are_whose(algorithm: str) -> None:
    policy = agent(algorithm).policy
    encoder = {id(p) for p in policy.critic.features_extractor.backbone.parameters()}
    held = [
        [id(p) for group in module.optimizer.param_groups for p in group["params"]]
        for module in (policy.actor, policy.critic)
    ]
    assert not encoder & set(held[0])
    assert encoder < set(held[1])
    everything = {id(p) for n, p in policy.named_parameters() if "target" not in n}
    assert sorted(held[0] + held[1]) == sorted(everything)
    assert policy.actor.features_extractor.backbone is policy.critic.features_extractor.backbone
    assert policy.critic_target.features_extractor.backbone is not policy.critic.features_extractor.backbone
    if algorithm == "td3":
        target = policy.critic_target.features_extractor.backbone
        assert policy.actor_target.features_extractor.backbone is target


@pytest.mark.parametrize(("algorithm", "kind"), VARIANTS)
def test_targets_follow_once(algorithm: str, kind: str) -> None:
    """SB3's shared extractor of TD3 follows with the actor and again with the critic."""
    model = build(algorithm, kind, tau=0.25)
    model.learn(12)
    before = tensors(model)
    model.train(1, 8)
    after = model.policy.state_dict()
    names = [name for name, _ in model.policy.named_parameters() if "_target." in name]
    assert any(".backbone." in name for name in names)
    for name in names:
        expected = 0.75 * before[name] + 0.25 * after[name.replace("_target", "")]
        assert torch.allclose(after[name], expected, atol=1e-7), name


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_targets_see_shifted_frames_while_training(algorithm: str) -> None:
    """DrQ shifts the next observations too."""
    policy = agent(algorithm, extractor={"random_shift": 3}).policy
    targets = [policy.critic_target] + ([policy.actor_target] if algorithm == "td3" else [])
    seen = torch.randint(0, 256, (4, 6, 20, 20)).float()
    for mode in (True, False):
        policy.set_training_mode(mode)
        for module in (policy.actor, policy.critic, *targets):
            maps = module.features_extractor.maps
            assert torch.equal(maps(seen), maps(seen)) != mode


@pytest.mark.parametrize(
    ("plain", "with_state"), [(True, False), (False, False), (False, True)], ids=["sb3-box", "box", "dict"]
)
@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_saved_policies_act_alike_bit_for_bit(
    algorithm: str, plain: bool, with_state: bool, tmp_path: Any
) -> None:
    model = agent(algorithm, with_state, plain, {"random_shift": 2, "adapter_rank": 1})
    model.learn(24)
    observations = pixel_env(with_state, 4).reset()
    expected = model.predict(observations, deterministic=True)[0]
    save_checkpoint(model, tmp_path / "checkpoint")
    model.save(tmp_path / "model.zip")
    write_sb3_zip(load_checkpoint(tmp_path / "checkpoint"), tmp_path / "exported.zip")
    for name in ("checkpoint", "model.zip", "exported.zip"):
        policy = load_checkpoint(tmp_path / name).policy()
        assert np.array_equal(policy.predict(observations), expected), name
    for name in ("model.zip", "exported.zip"):
        again = SB3[algorithm].load(tmp_path / name, device="cpu")
        assert np.array_equal(again.predict(observations, deterministic=True)[0], expected), name
    recorded = load_checkpoint(tmp_path / "checkpoint").policy_kwargs
    assert recorded["features_extractor"] == "EncoderExtractor"
    assert recorded["features_extractor_kwargs"]["encoder"] == "tiny"
    assert recorded["policy_class"] == type(model.policy).__name__


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_loading_keeps_one_encoder(algorithm: str, tmp_path: Any) -> None:
    model = agent(algorithm)
    model.save(tmp_path / "model.zip")
    again = type(model).load(tmp_path / "model.zip", device="cpu")
    assert again.actor.features_extractor.backbone is again.critic.features_extractor.backbone
    model.policy.save(tmp_path / "policy.pth")
    policy = type(model.policy).load(tmp_path / "policy.pth", device="cpu")
    assert policy.actor.features_extractor.backbone is policy.critic.features_extractor.backbone


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_the_state_may_be_standardised_and_the_frames_not(algorithm: str, tmp_path: Any) -> None:
    env = vec_normalize(pixel_env(True), norm_obs_keys=["state"])
    model = agent(algorithm, True)
    model.set_env(env)
    model.learn(24)
    observations = pixel_env(True, 4).reset()
    save_checkpoint(model, tmp_path / "checkpoint")
    expected = model.predict(env.normalize_obs(observations), deterministic=True)[0]
    found = load_checkpoint(tmp_path / "checkpoint").policy().predict(observations)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("cls", "algorithm"), [(SACEncoderPolicy, "sac"), (TD3EncoderPolicy, "td3")])
def test_what_contradicts_them_is_refused(cls: Any, algorithm: str) -> None:
    assert policy_class(algorithm, False) is cls
    for kwargs, words in (
        ({"share_features_extractor": True}, "critic's loss"),
        ({"normalize_images": True}, "normalize_images=False"),
        ({"features_extractor_class": torch.nn.Flatten}, "needs an EncoderExtractor, found Flatten"),
    ):
        with pytest.raises(WarmstartError, match=words):
            SB3[algorithm](cls, pixel_env(), buffer_size=10, policy_kwargs=kwargs)
    with pytest.raises(TypeError, match="net_ach"):
        SB3[algorithm](cls, pixel_env(), buffer_size=10, policy_kwargs={"net_ach": [8]})


def test_gsde_works() -> None:
    model = agent("sac", use_sde=True)
    before = backbone_of(model).state_dict()["network.features.0.weight"].clone()
    model.learn(24)
    assert not torch.equal(backbone_of(model).state_dict()["network.features.0.weight"], before)
