"""A policy of rsl_rl's starts an agent: matched by the user's names or mjlab's, the critic where it fits."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.agents.rsl_rl_files.files import Trained, onnx_model
from tests.transfer.conftest import build
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.source import environment_layouts
from warmstart.transfer.matching.by_name import named
from warmstart.transfer.similarity.similarity import similarity
from warmstart.transfer.table import make_method
from warmstart.transfer.teaching.teacher import Teacher
from warmstart.transfer.warm_start import warm_start

SEEN = ("bthigh.angle", "fthigh.angle", "bthigh.velocity", "fthigh.velocity", "torso.height_scan")
ACTED = ("fthigh.torque", "bthigh.torque")
NAMES = {"source_observation_names": SEEN, "source_action_names": ACTED}
SIZES = {"inputs": len(SEEN), "actions": len(ACTED)}


def cheetah(envs, activation=nn.ELU, vf=(10,), **settings):
    kwargs = {"net_arch": {"pi": [16, 12], "vf": list(vf)}, "activation_fn": activation}
    return build("ppo", envs("HalfCheetah-v5", n_envs=2, **settings), seed=2, policy_kwargs=kwargs)


def acted(model, raw):
    """Means of the actions for observations that aren't standardised."""
    seen = model.get_vec_normalize_env().normalize_obs(raw)
    with torch.no_grad():
        return model.policy.get_distribution(torch.as_tensor(seen).float()).distribution.mean.numpy()


@pytest.mark.parametrize("layout", ["2.3", "5"])
def test_names_of_the_user_carry_actor_critic_and_statistics(layout, envs, tmp_path):
    trained = Trained(layout, **SIZES)
    path = trained.save(tmp_path / "model_1500.pt")
    model = cheetah(envs)
    names = environment_layouts(model.env)[0].names
    own_std = model.policy.log_std.detach().exp().numpy()
    report = warm_start(model, path, critic_fit_steps=0, exploration="keep", **NAMES)

    raw = np.random.default_rng(0).normal(size=(20, len(names))) * 2
    theirs = np.tile(trained.normalizers["actor"]._mean.numpy(), (20, 1))  # what isn't there is at its mean
    for index, name in enumerate(SEEN[:4]):
        theirs[:, index] = raw[:, names.index(name)]
    expected = trained.act(torch.as_tensor(theirs).float()).numpy()
    actions = environment_layouts(model.env)[1].names
    found = acted(model, raw)[:, [actions.index(name) for name in ACTED]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    std = model.policy.log_std.detach().exp().numpy()
    for index, name in enumerate(ACTED):
        assert std[actions.index(name)] == pytest.approx(float(trained.std[index]), rel=1e-5)
    new = [index for index, name in enumerate(actions) if name not in ACTED]
    np.testing.assert_array_equal(std[new], own_std[new])
    assert report.entry("mlp_extractor.policy_net.0.weight").action == "aligned"
    assert "4 of 17 observations by name" in report.entry("mlp_extractor.policy_net.0.weight").reason
    assert report.entry("mlp_extractor.value_net.0.weight").action == "aligned"
    assert report.entry("value_net.weight").action == "copied"
    statistics = model.get_vec_normalize_env().obs_rms
    place, deviation = names.index("fthigh.angle"), float(trained.normalizers["actor"]._std[0, 1]) + 0.01
    assert statistics.var[place] == pytest.approx(deviation**2, rel=1e-6)
    text = "\n".join(report.notes)
    for told in ("elu, rsl_rl's usual one, was assumed", "action_scale", "torso.height_scan", "gear of"):
        assert told in text
    model.learn(128, callback=report.callback, reset_num_timesteps=False)
    assert all(torch.isfinite(parameter).all() for parameter in model.policy.parameters())


def test_without_a_critic_of_its_own_the_targets_stays(envs, tmp_path):
    path = Trained("4", critic_inputs=12, **SIZES).save(tmp_path / "model.pt")
    model = cheetah(envs, vf=(9, 7))
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    report = warm_start(model, path, critic_fit_steps=0, **NAMES)
    entries = {entry.name: entry for entry in report.entries}
    for name, value in model.policy.state_dict().items():
        if "value_net" in name:
            assert torch.equal(value, before[name])
            assert (entries[name].action, entries[name].reason) == ("untouched", "the source has no critic")
            assert entries[name].source_shape is None
        elif name != "log_std":
            assert not torch.equal(value, before[name])
    assert any("it reads 12 observations and the actor 5" in note for note in report.notes)


def test_frozen_features_leave_a_fresh_critic_free(envs, tmp_path):
    path = Trained("4", critic_inputs=12, **SIZES).save(tmp_path / "model.pt")
    model = cheetah(envs)
    report = warm_start(model, path, method="feature_extraction", **NAMES)
    frozen = {entry.name for entry in report.entries if entry.frozen}
    assert "mlp_extractor.policy_net.0.weight" in frozen
    assert not any("value_net" in name for name in frozen)


def test_other_activations_and_missing_names_are_refused(envs, tmp_path):
    path = Trained("5", **SIZES).save(tmp_path / "model.pt")
    with pytest.raises(WarmstartError, match="networks use elu, the target's tanh"):
        warm_start(cheetah(envs, nn.Tanh), path, critic_fit_steps=0, **NAMES)
    with pytest.raises(WarmstartError, match=r"source_observation_names=\[\.\.\.\]"):
        warm_start(cheetah(envs), path, critic_fit_steps=0)
    with pytest.raises(WarmstartError, match="VecNormalize"):
        warm_start(cheetah(envs, normalize=False), path, critic_fit_steps=0, **NAMES)
    report = warm_start(cheetah(envs, nn.Tanh), path, critic_fit_steps=0, source_activation="tanh", **NAMES)
    assert not any("was assumed" in note for note in report.notes)


def test_names_of_mjlabs_model_meet_the_targets(envs, tmp_path):
    path = Trained("5", inputs=4, actions=2).save(tmp_path / "model_1500.pt")
    texts = {"joint_names": "bthigh,fthigh", "default_joint_pos": "0.000,0.000", "action_scale": "0.5"}
    texts |= {"observation_names": "joint_pos,joint_vel"}
    (tmp_path / "cheetah.onnx").write_bytes(onnx_model(texts))
    model = cheetah(envs)
    actions = {"bthigh.torque": "bthigh.target_angle", "fthigh.torque": "fthigh.target_angle"}
    report = warm_start(
        model, path, critic_fit_steps=0, source_onnx=tmp_path / "cheetah.onnx", action_map=actions
    )
    assert "4 of 17 observations by name" in report.entry("mlp_extractor.policy_net.0.weight").reason
    told = "bthigh.torque [N m] takes the weights of bthigh.target_angle [rad], unscaled"
    assert any(told in note for note in report.notes)


def test_it_teaches_an_agent_of_another_algorithm(envs, tmp_path):
    trained = Trained("3", critic_inputs=12, **SIZES)
    source = load_checkpoint(trained.save(tmp_path / "model.pt"))
    model = build("sac", envs("HalfCheetah-v5", normalize=False), seed=1)
    context = TransferContext(
        np.random.default_rng(0),
        source_observations=named(SEEN, "observation"),
        source_actions=named(ACTED, "action"),
    )
    teacher = Teacher(source, model, context)
    raw = np.random.default_rng(0).normal(size=(20, 17))
    names, actions = (layout.names for layout in environment_layouts(model.env))
    theirs = np.tile(trained.normalizers["actor"]._mean.numpy(), (20, 1))
    for index, name in enumerate(SEEN[:4]):
        theirs[:, index] = raw[:, names.index(name)]
    expected = trained.act(torch.as_tensor(theirs).float()).numpy()
    found = teacher.act(raw)[:, [actions.index(name) for name in ACTED]]
    np.testing.assert_allclose(found, np.clip(expected, -1, 1), rtol=0, atol=1e-5)  # the target has bounds


def test_further_teachers_say_what_their_files_do_not(envs, tmp_path):
    one, other = (Trained("5", **SIZES).save(tmp_path / f"{name}.pt") for name in ("one", "other"))
    model = build("ppo", envs("HalfCheetah-v5"), seed=1, classes={"ppo": PPO})
    method = make_method("kickstart", teachers=(str(other),))
    report = warm_start(model, one, method, seed=0, **NAMES)
    assert any(
        note.startswith("other.pt: Its activation function isn't in the file") for note in report.notes
    )
    model.learn(32, reset_num_timesteps=False)


def test_similarity_asks_no_critic_that_is_not_there(tmp_path):
    path = Trained("1", critic_inputs=6, inputs=4, actions=1).save(tmp_path / "model.pt")
    found = similarity(
        load_checkpoint(path), "InvertedPendulum-v5", episodes=2, source_task="InvertedPendulum-v5"
    )
    (measure,) = [each for each in found.measures if each.name == "critic"]
    assert np.isnan(measure.value)
    assert measure.meaning == "it has no critic that could be asked"
