"""Normaliser, exploration, architectures and sources of every kind; what is refused, and how."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from tests.transfer.conftest import (
    ALGORITHMS,
    assert_tensors,
    build,
    corresponding,
    disturb,
    tensors,
    torques,
)
from warmstart.agents.checkpoints.checkpoint import checkpoint_of, save_checkpoint
from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Layout, generic_layout, opaque_block
from warmstart.transfer.carry.exploration import Floor, Keep, Reset, read_exploration, write_exploration
from warmstart.transfer.carry.source import environment_layouts
from warmstart.transfer.warm_start import warm_start

TASK = "InvertedPendulum-v5"
NAMES = ["slider.position", "hinge.angle", "slider.velocity", "hinge.velocity"]


def source_and_target(algorithm, envs, target_task=TASK, target=None, **settings):
    source = disturb(build(algorithm, envs(TASK, **settings), seed=1))
    return source, build(algorithm, envs(target_task, **settings), seed=2, **(target or {}))


class TestNormalizer:
    def test_missing_one_is_an_error_that_says_what_to_do(self, envs):
        source = disturb(build("ppo", envs(TASK), seed=1))
        target = build("ppo", envs(TASK, normalize=False), seed=2)
        with pytest.raises(WarmstartError, match="missing_normalizer='fold'"):
            warm_start(target, source)

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_folded_into_the_first_layer_it_acts_alike(self, algorithm, envs):
        source = disturb(build(algorithm, envs("Hopper-v5"), seed=1))
        target = build(algorithm, envs("Walker2d-v5", normalize=False), seed=2)
        report = warm_start(target, source, missing_normalizer="fold", critic_fit_steps=0)
        assert any("folded" in note for note in report.notes)
        observations = np.random.default_rng(0).normal(size=(30, 17))
        theirs, _ = corresponding(source, target, observations)
        expected, found = torques(source, theirs), torques(target, observations)
        for name in expected:
            np.testing.assert_allclose(found[name], np.clip(expected[name], -100, 100), rtol=0.02, atol=0.02)
        first = {"ppo": "mlp_extractor.policy_net.0"}.get(algorithm, "critic.qf0.0")
        for part in ("ra_mean", "ra_var") if algorithm == "crossq" else ("weight", "bias"):
            assert report.entry(f"{first}.{part}").action == "folded"

    def test_raw_source_and_standardising_target_is_an_error(self, envs):
        source = build("ppo", envs(TASK, normalize=False), seed=1)
        with pytest.raises(WarmstartError, match="norm_obs=False"):
            warm_start(build("ppo", envs(TASK), seed=2), source)

    def test_reward_statistics_reset(self, envs):
        source, target = source_and_target("ppo", envs)
        report = warm_start(target, source, reward_statistics="reset", critic_fit_steps=0)
        rms = target.get_vec_normalize_env().ret_rms
        assert (rms.mean, rms.var, rms.count) == (0.0, 1.0, 1e-4)
        assert report.entry("normalizer.return_var").action == "reset"

    def test_settings_of_the_source_travel_except_the_discount(self, envs):
        source, _ = source_and_target("ppo", envs, clip_obs=5.0, gamma=0.9)
        target = build("ppo", envs(TASK, clip_obs=10.0, gamma=0.99), seed=2)
        warm_start(target, source, critic_fit_steps=0)
        wrapper = target.get_vec_normalize_env()
        assert (wrapper.clip_obs, wrapper.gamma) == (5.0, 0.99)

    def test_the_capped_statistics_adapt(self, envs):
        source, target = source_and_target("ppo", envs)
        before = source.get_vec_normalize_env().obs_rms.mean
        warm_start(target, source, normalizer_count=100, critic_fit_steps=256)
        after = target.get_vec_normalize_env().obs_rms.mean
        assert np.abs(after[0]) < 0.5 * np.abs(before[0])


class TestExploration:
    def test_ppo(self, envs):
        source, target = source_and_target("ppo", envs)
        with torch.no_grad():
            source.policy.log_std.fill_(-4.0)
        for exploration, value, action in (
            (Keep(), -4.0, "copied"),
            (Reset(-0.5), -0.5, "reset"),
            (Floor(-1.0), -1.0, "floored"),
            (Floor(-5.0), -4.0, "copied"),
            ({"floor": -1}, -1.0, "floored"),
        ):
            report = warm_start(target, source, exploration=exploration, critic_fit_steps=0)
            assert target.policy.log_std.tolist() == [value]
            assert report.entry("log_std").action == action

    def test_sac_learned(self, envs):
        source, target = source_and_target("sac", envs)
        with torch.no_grad():
            source.log_ent_coef.fill_(np.log(1e-4))
        for exploration, value, action in (
            (Keep(), 1e-4, "copied"),
            (Reset(0.5), 0.5, "reset"),
            (Floor(0.05), 0.05, "floored"),
        ):
            report = warm_start(target, source, exploration=exploration, critic_fit_steps=0)
            assert target.log_ent_coef.exp().item() == pytest.approx(value, rel=1e-5)
            assert report.entry("extra.log_ent_coef").action == action
            assert not target.ent_coef_optimizer.state

    def test_sac_fixed(self, envs):
        source, target = source_and_target("sac", envs, target={"ent_coef": 0.3})
        report = warm_start(target, source, critic_fit_steps=0)
        assert target.ent_coef_tensor.item() == pytest.approx(0.3)
        assert "fixed by the target" in report.entry("extra.ent_coef_tensor").reason
        warm_start(target, source, exploration=Reset(0.1), critic_fit_steps=0)
        assert target.ent_coef_tensor.item() == pytest.approx(0.1)
        with pytest.raises(WarmstartError, match="must be positive"):
            warm_start(target, source, exploration=Reset(-1.0))

    def test_td3_has_none(self, envs):
        source, target = source_and_target("td3", envs)
        warm_start(target, source, critic_fit_steps=0)
        with pytest.raises(WarmstartError, match="action_noise"):
            warm_start(target, source, exploration=Reset(0.1))

    def test_forms_of_yaml(self):
        for exploration in (Keep(), Reset(0.5), Floor(-1.0)):
            assert read_exploration(write_exploration(exploration)) == exploration
        with pytest.raises(WarmstartError, match="Did you mean 'floor'"):
            read_exploration({"flor": 1.0})
        for wrong in ("auto_0.1", {"reset": "0.1"}, {"reset": True}, {"floor": float("nan")}, 3):
            with pytest.raises(WarmstartError, match=r"Expected Keep\(\)"):
                read_exploration(wrong)


class TestArchitecture:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    @pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
    def test_wider_layers_act_alike(self, algorithm, activation, envs):
        settings = {"policy_kwargs": {"activation_fn": activation}}
        source = disturb(build(algorithm, envs("Hopper-v5"), seed=1, **settings))
        target = build(algorithm, envs("Walker2d-v5"), seed=2, widths=(24, 40), **settings)
        report = warm_start(target, source, critic_fit_steps=0)
        assert report.counts["widened"] > 0
        observations = np.random.default_rng(0).normal(size=(30, 17))
        theirs, _ = corresponding(source, target, observations)
        expected, found = torques(source, theirs), torques(target, observations)
        for name in expected:
            np.testing.assert_allclose(found[name], np.clip(expected[name], -100, 100), rtol=0.02, atol=0.02)

    def test_noise_disturbs_copies_a_little(self, envs):
        source = disturb(build("ppo", envs(TASK), seed=1))
        exact = build("ppo", envs(TASK), seed=2, widths=(24, 40))
        noisy = build("ppo", envs(TASK), seed=2, widths=(24, 40))
        warm_start(exact, source, critic_fit_steps=0)
        warm_start(noisy, source, critic_fit_steps=0, widening_noise=0.01)
        difference = (
            exact.policy.mlp_extractor.policy_net[0].weight - noisy.policy.mlp_extractor.policy_net[0].weight
        )
        assert 0 < difference.abs().max() < 0.2

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"widths": (8, 16)}, "policy_net.0 of the actor network has 16 units in the source and 8"),
            ({"widths": (16, 16, 16)}, r"hidden layers \[16, 16\] in the source and \[16, 16, 16\]"),
            ({"policy_kwargs": {"activation_fn": nn.ReLU}}, "use tanh, the target's relu"),
        ],
    )
    def test_what_cannot_be_carried_is_refused_by_name(self, settings, message, envs):
        source = build("ppo", envs(TASK), seed=1)
        target = build("ppo", envs(TASK), seed=2, **settings)
        before = tensors(target)
        with pytest.raises(WarmstartError, match=message):
            warm_start(target, source)
        assert_tensors(tensors(target), before)

    def test_another_algorithm_is_refused(self, envs):
        with pytest.raises(WarmstartError, match="trained by PPO, the target is SAC"):
            warm_start(build("sac", envs(TASK)), build("ppo", envs(TASK)))

    def test_misspelt_tensors_are_never_accepted(self, envs):
        source, target = source_and_target("ppo", envs)
        checkpoint = checkpoint_of(source)
        checkpoint.tensors["acton_net.weight"] = checkpoint.tensors.pop("action_net.weight")
        with pytest.raises(WarmstartError, match=r"(?s)action_net.weight.*(not found|Did you mean)"):
            warm_start(target, checkpoint)

    def test_gsde_is_carried_between_equal_spaces_only(self, envs):
        source = disturb(build("ppo", envs(TASK), seed=1, use_sde=True))
        target = build("ppo", envs(TASK), seed=2, use_sde=True)
        warm_start(target, source, critic_fit_steps=0)
        assert_tensors(tensors(target), tensors(source))
        other = build("ppo", envs("InvertedDoublePendulum-v5"), seed=2, use_sde=True)
        with pytest.raises(WarmstartError, match="gSDE"):
            warm_start(other, source, observation_map={"hinge.sin": "hinge.angle"})


class TestSources:
    def test_directory_zip_checkpoint_and_model_are_one(self, envs, tmp_path):
        source = disturb(build("ppo", envs(TASK, norm_obs=False), seed=1))
        source.save(tmp_path / "source.zip")
        directory = save_checkpoint(source, tmp_path / "directory")
        for given in (source, checkpoint_of(source), directory, str(directory), tmp_path / "source.zip"):
            target = build("ppo", envs(TASK, norm_obs=False), seed=2)
            warm_start(target, given, critic_fit_steps=0)
            assert_tensors(tensors(target), tensors(source))

    def test_zip_with_trusted_statistics(self, envs, tmp_path):
        source, target = source_and_target("sac", envs)
        source.save(tmp_path / "source.zip")
        source.env.save(tmp_path / "vecnormalize.pkl")
        warm_start(
            target,
            tmp_path / "source.zip",
            trust_normalizer=tmp_path / "vecnormalize.pkl",
            critic_fit_steps=0,
        )
        theirs, ours = source.get_vec_normalize_env().obs_rms, target.get_vec_normalize_env().obs_rms
        np.testing.assert_array_equal(theirs.mean, ours.mean)
        assert torch.equal(target.log_ent_coef, source.log_ent_coef)

    def test_foreign_zip_gets_its_names_from_the_user(self, envs, tmp_path):
        source = disturb(build("ppo", envs(TASK, normalize=False, plain=True), seed=1))
        source.save(tmp_path / "source.zip")

        def target():
            return build("ppo", envs("InvertedDoublePendulum-v5", normalize=False), seed=2)

        with pytest.raises(WarmstartError, match=r"source_observation_names=\[\.\.\.\]"):
            warm_start(target(), tmp_path / "source.zip")
        named, tasked = target(), target()
        mapping = {"hinge.sin": "hinge.angle"}
        report = warm_start(
            named, tmp_path / "source.zip", source_observation_names=NAMES,
            source_action_names=environment_layouts(source.env)[1],
            observation_map=mapping, critic_fit_steps=0,
        )  # fmt: skip
        assert "4 of 9 observations by name" in report.entry("mlp_extractor.policy_net.0.weight").reason
        factor = named.policy.action_net.weight / source.policy.action_net.weight
        torch.testing.assert_close(factor, torch.full_like(factor, 100 / 500))
        report = warm_start(
            tasked, tmp_path / "source.zip", source_task=TASK, observation_map=mapping, critic_fit_steps=0
        )
        assert_tensors(tensors(tasked), tensors(named))
        assert report.source == TASK
        unknown = target()
        report = warm_start(
            unknown, tmp_path / "source.zip", source_observation_names=NAMES,
            source_action_names=["slider.force"], observation_map=mapping, critic_fit_steps=0,
        )  # fmt: skip
        assert any("gear of slider.force isn't known" in note for note in report.notes)
        assert torch.equal(unknown.policy.action_net.weight, source.policy.action_net.weight)

    def test_without_names_equal_shapes_match_by_place_with_a_note(self, envs, tmp_path):
        source, target = source_and_target("ppo", envs, normalize=False)
        source.save(tmp_path / "source.zip")
        report = warm_start(target, tmp_path / "source.zip", critic_fit_steps=0)
        assert_tensors(tensors(target), tensors(source))
        assert any("Check the order" in note for note in report.notes)

    def test_missing_and_foreign_files(self, envs, tmp_path):
        target = build("ppo", envs(TASK))
        with pytest.raises(WarmstartError, match="no checkpoint"):
            warm_start(target, tmp_path / "nothing")
        with pytest.raises(WarmstartError, match="starts from a checkpoint; none was given"):
            warm_start(target, None)
        with pytest.raises(WarmstartError, match="not dict"):
            warm_start(target, {})

    @pytest.mark.parametrize("task", ["Hopper-v5", "Walker2d-v5", "InvertedDoublePendulum-v5"])
    def test_plain_gymnasium_environments_tell_their_names(self, task, envs):
        plain, ours = environment_layouts(envs(task, plain=True)), environment_layouts(envs(task))
        assert plain[0].names == ours[0].names
        assert [(d.name, d.scale) for d in plain[1].dimensions] == [
            (d.name, d.scale) for d in ours[1].dimensions
        ]

    def test_a_wrapper_that_changes_the_range_takes_the_names_away(self):
        env = DummyVecEnv(
            [
                lambda: gymnasium.wrappers.RescaleAction(
                    gymnasium.make("Hopper-v5"), np.float32(-2), np.float32(2)
                )
            ]
        )
        assert environment_layouts(env)[1] is None
        env.close()

    def test_opaque_blocks_of_another_encoder_carry_nothing(self, envs):
        source, target = source_and_target("ppo", envs)
        layouts = [opaque_block("features", 4, digest) for digest in ("abc", "xyz")]
        with pytest.raises(WarmstartError, match="Nothing to carry"):
            warm_start(
                target, source, source_observation_names=layouts[0], target_observation_names=layouts[1]
            )
        warm_start(
            target,
            source,
            source_observation_names=layouts[0],
            target_observation_names=layouts[0],
            critic_fit_steps=0,
        )
        assert_tensors(tensors(target), tensors(source))
        assert isinstance(layouts[0], Layout)


class Parts(gymnasium.Env):
    """A flat Dict of what a robot senses."""

    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, **sizes):
        boxes = {key: gymnasium.spaces.Box(-5, 5, (size,), np.float32) for key, size in sizes.items()}
        self.observation_space = gymnasium.spaces.Dict(boxes)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "crossq"])
def test_dict_observations_match_by_key(algorithm):
    def model(seed, **sizes):
        env = VecNormalize(DummyVecEnv([lambda: Parts(**sizes)]))
        return build(algorithm, env, seed=seed, policy="MultiInputPolicy")

    source, target = disturb(model(1, joints=3, touch=2)), model(2, arm=1, joints=3, zoom=2)
    layouts = {
        side: generic_layout(m.observation_space, "obs")
        for side, m in (("source", source), ("target", target))
    }
    report = warm_start(
        target, source, critic_fit_steps=0,
        **{f"{side}_observation_names": layout for side, layout in layouts.items()},
    )  # fmt: skip
    draws = np.random.default_rng(0)
    ours = {
        "arm": draws.normal(size=(9, 1)),
        "joints": draws.normal(size=(9, 3)),
        "zoom": draws.normal(size=(9, 2)),
    }
    mean = source.get_vec_normalize_env().obs_rms["touch"].mean
    theirs = {"joints": ours["joints"], "touch": np.tile(mean, (9, 1))}
    np.testing.assert_allclose(
        Policy.from_model(target).predict(ours),
        Policy.from_model(source).predict(theirs),
        rtol=1e-4,
        atol=1e-5,
    )
    assert target.get_vec_normalize_env().obs_rms["zoom"].var.tolist() == [1.0, 1.0]
    assert any("arm[0], zoom[0], zoom[1]" in note for note in report.notes)
    report = warm_start(build_again(algorithm, target), target, critic_fit_steps=0)
    assert report.counts["copied"] > 0


def build_again(algorithm, model):
    """Return a fresh model in the same environment."""
    return build(algorithm, model.env, seed=5, policy="MultiInputPolicy")


def test_discrete_actions(envs):
    source = disturb(build("ppo", envs("CartPole-v1"), seed=1))
    target = build("ppo", envs("CartPole-v1@length=x2"), seed=2)
    report = warm_start(target, source, critic_fit_steps=32)
    after = tensors(target)
    assert torch.equal(after["action_net.weight"], tensors(source)["action_net.weight"])
    assert report.target == "CartPole-v1@length=x2"
    with pytest.raises(WarmstartError, match="log_std"):
        warm_start(target, source, exploration=Reset(0.0))
    with pytest.raises(WarmstartError, match="source has 2 action dimensions and the target 3"):
        warm_start(build("ppo", envs("Acrobot-v1"), seed=2), source, source_observation_names=list("abcd"),
                   target_observation_names=list("abcdef"))  # fmt: skip


def test_a_plain_model_without_an_environment_of_ours(envs):
    source = disturb(build("ppo", envs(TASK, plain=True), seed=1))
    target = PPO(
        "MlpPolicy", envs("InvertedDoublePendulum-v5", plain=True), n_steps=32, batch_size=16,
        policy_kwargs={"net_arch": [16, 16]}, device="cpu",
    )  # fmt: skip
    report = warm_start(target, source, observation_map={"hinge.sin": "hinge.angle"}, critic_fit_steps=32)
    assert (report.source, report.target) == (TASK, "InvertedDoublePendulum-v5")
    factor = target.policy.action_net.weight / source.policy.action_net.weight
    torch.testing.assert_close(factor, torch.full_like(factor, 100 / 500))
