"""Files of every version of rsl_rl act as their own modules do, and say what they don't hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.agents.rsl_rl_files.files import ACTIONS, LAYOUTS, OBSERVATIONS, Trained
from warmstart.agents.checkpoints.checkpoint import Checkpoint, save_checkpoint
from warmstart.agents.checkpoints.facts import checkpoint_facts
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.sb3_files.written import write_sb3_zip

SEEN = torch.randn(64, OBSERVATIONS, generator=torch.Generator().manual_seed(1)) * 4


def acted(checkpoint: Checkpoint) -> Any:
    return checkpoint.policy().predict(SEEN.numpy())


def valued(checkpoint: Checkpoint) -> Any:
    policy = checkpoint.policy()
    seen = SEEN.numpy() if policy.normalizer is None else policy.normalizer.apply(SEEN.numpy())
    with torch.no_grad():
        return policy.module.predict_values(policy.module.obs_to_tensor(seen)[0]).numpy()


@pytest.mark.parametrize("log", [False, True], ids=["std", "log_std"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_acts_values_and_explores_as_its_module(layout: str, log: bool, tmp_path: Path) -> None:
    trained = Trained(layout, log=log)
    found = load_checkpoint(trained.save(tmp_path / "model_1500.pt"))
    np.testing.assert_allclose(acted(found), trained.act(SEEN).numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(valued(found), trained.value(SEEN).numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.tensors["log_std"].exp().numpy(), trained.std.numpy(), rtol=1e-6)
    assert found.critic
    assert found.format == "rsl_rl"
    told = {"1": "1 to 3", "2.1": "2", "2.3": "2"}
    assert found.versions == {"rsl_rl": told.get(layout, layout)}
    assert found.policy_kwargs["net_arch"] == {"pi": [16, 12], "vf": [10]}
    assert found.observation_space.shape == (OBSERVATIONS,)
    assert found.action_space.shape == (ACTIONS,)
    assert not np.isfinite(found.action_space.low).any()  # type: ignore[attr-defined]
    assert (found.normalizer is None) == (layout == "1")
    assert found.steps == 0
    steps = ", 36,000 steps of each environment" if layout in ("4", "5") else ""
    assert any(f"1,500 iterations{steps}; how many environments" in note for note in found.notes)


def test_statistics_are_rsl_rls_with_what_it_adds_to_the_deviation(tmp_path: Path) -> None:
    trained = Trained("3", constant=True)
    found = load_checkpoint(trained.save(tmp_path / "model.pt"))
    state: Any = found.normalizer
    actor: Any = trained.normalizers["actor"]
    assert actor._std[0, 0] == 0
    assert state.var[0] == pytest.approx(0.01**2 - 1e-8, rel=1e-9)  # (0 + 0.01)² − ε
    np.testing.assert_allclose(state.var[1:], (actor._std[0, 1:].double() + 0.01) ** 2, rtol=1e-6)
    np.testing.assert_array_equal(state.mean, actor._mean[0].double())
    assert state.count == 500
    assert not state.normalize_reward
    far = np.full((1, OBSERVATIONS), 1e6, np.float32)  # rsl_rl clips nothing
    expected = trained.act(torch.from_numpy(far)).numpy()
    np.testing.assert_allclose(found.policy().predict(far), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("said", "name", "module"),
    [("tanh", "tanh", nn.Tanh), ("lrelu", "leaky_relu", nn.LeakyReLU), ("swish", "silu", nn.SiLU)],
)
def test_the_activation_is_said_or_assumed(
    said: str, name: str, module: type[nn.Module], tmp_path: Path
) -> None:
    trained = Trained("5", activation=module)
    path = trained.save(tmp_path / "model.pt")
    found = load_checkpoint(path, activation=said)
    assert found.policy_kwargs["activation"] == name
    np.testing.assert_allclose(acted(found), trained.act(SEEN).numpy(), rtol=0, atol=1e-6)
    assert not any("activation function" in note for note in found.notes)
    assumed = load_checkpoint(path)
    assert any("elu, rsl_rl's usual one, was assumed" in note for note in assumed.notes)
    assert np.abs(acted(assumed) - trained.act(SEEN).numpy()).max() > 1e-3


@pytest.mark.parametrize("layout", ["1", "2.3", "3", "5"])
def test_a_critic_of_other_observations_is_left_behind_and_stays_so(layout: str, tmp_path: Path) -> None:
    trained = Trained(layout, critic_inputs=OBSERVATIONS + 4)
    found = load_checkpoint(trained.save(tmp_path / "model.pt"))
    assert not found.critic
    assert any("critic is left behind: it reads 9 observations and the actor 5" in n for n in found.notes)
    assert not any("value_net" in name for name in found.tensors)
    np.testing.assert_allclose(acted(found), trained.act(SEEN).numpy(), rtol=0, atol=1e-6)
    again = load_checkpoint(save_checkpoint(found, tmp_path / "ours"))
    assert not again.critic
    np.testing.assert_array_equal(acted(again), acted(found))
    zipped = load_checkpoint(write_sb3_zip(found, tmp_path / "ours.zip"))  # a zip has one, drawn anew
    np.testing.assert_array_equal(
        zipped.policy().predict(again.normalizer.apply(SEEN.numpy()) if again.normalizer else SEEN.numpy()),
        acted(found),
    )


def test_a_critic_that_is_standardised_otherwise_is_left_behind(tmp_path: Path) -> None:
    trained = Trained("4")
    trained.normalizers["critic"].get_buffer("_mean").add_(0.5)
    found = load_checkpoint(trained.save(tmp_path / "model.pt"))
    assert not found.critic
    assert any("its observations are standardised otherwise than the actor's" in n for n in found.notes)
    trained.normalizers["critic"] = nn.Identity()
    assert not load_checkpoint(trained.save(tmp_path / "model.pt")).critic


def test_what_stands_beside_the_policy_is_told_or_left(tmp_path: Path) -> None:
    content = Trained("4").content() | {"rnd_state_dict": {"predictor.0.weight": torch.ones(2, 2)}}
    content["critic_state_dict"] |= {"rnn.rnn.weight_ih_l0": torch.ones(8, 5)}
    torch.save(content, tmp_path / "model.pt")
    found = load_checkpoint(tmp_path / "model.pt")
    assert "Its networks of random network distillation (rnd) are left behind." in found.notes
    assert any("critic is left behind: the critic: the policy is recurrent" in note for note in found.notes)
    facts = checkpoint_facts(found)
    assert facts["hyperparameters"] == {"iterations": 1500}
    assert facts["notes"] == list(found.notes)


def test_content_tells_such_a_file_not_its_name(tmp_path: Path) -> None:
    trained = Trained("5")
    found = load_checkpoint(trained.save(tmp_path / "0123abcd"))
    np.testing.assert_allclose(acted(found), trained.act(SEEN).numpy(), rtol=0, atol=1e-6)
