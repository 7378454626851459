"""SimBa's networks: the block by hand, agents that train, are kept, carried and refused."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from tests.agents.pixel_task import pixel_env
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.architecture import build_policy, check_size
from warmstart.agents.checkpoints.checkpoint import checkpoint_of, save_checkpoint
from warmstart.agents.checkpoints.normalization import vec_normalize
from warmstart.agents.checkpoints.policy import load_tensors
from warmstart.agents.extractors.simba import SIMBA_POLICIES, ResidualBlock, trunk
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.sb3_files.written import write_sb3_zip
from warmstart.agents.settings.config import OffPolicyConfig, SACConfig, config_class, config_from_json
from warmstart.agents.settings.defaults import SIMBA, default_config
from warmstart.cli.checkpoints import follow_source
from warmstart.core.documents import parse_yaml
from warmstart.core.errors import WarmstartError
from warmstart.experiments.study.checks import check_buildable
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.methods.feature_extraction import FeatureExtraction
from warmstart.transfer.table import make_method
from warmstart.transfer.warm_start import warm_start

SMALL = {"net_arch": (8,), "critic_net_arch": (16, 16), "learning_starts": 40, "batch_size": 16}


def agent(algorithm, task="Hopper-v5", seed=0, **changes):
    config = config_class(algorithm)(**{**SIMBA, **SMALL, "buffer_size": 1_000, **changes})
    env = make_training_env(config, task, seed)
    return build_agent(config, env, seed, device="cpu"), env


def test_a_block_adds_two_layers_of_what_is_normalised():
    block = ResidualBlock(2)
    with torch.no_grad():
        for layer in (block.up, block.down):
            layer.weight.zero_(), layer.bias.zero_()
        block.up.weight[0] = torch.tensor([1.0, 0.0])
        block.up.weight[1] = torch.tensor([0.0, 1.0])
        block.down.weight[:, :2] = torch.tensor([[3.0, 5.0], [7.0, 11.0]])
        block.down.bias[1] = 0.5
    # (2, 6) is normalised to (-1, 1), of which ReLU leaves (0, 1): 5 and 11 are added.
    torch.testing.assert_close(
        block(torch.tensor([[2.0, 6.0]])), torch.tensor([[7.0, 17.5]]), atol=1e-4, rtol=0
    )


def test_a_trunk_is_a_layer_the_blocks_and_a_normalisation():
    first, *blocks, last = trunk(3, (8, 8))
    assert (first.in_features, first.out_features, len(blocks)) == (3, 8, 2)
    assert isinstance(last, nn.LayerNorm)
    torch.testing.assert_close(first.weight.T @ first.weight, torch.eye(3), atol=1e-5, rtol=0)
    assert blocks[0].up.out_features == 32


@pytest.mark.parametrize("algorithm", SIMBA_POLICIES)
def test_an_agent_learns_and_its_checkpoint_acts_alike(algorithm, tmp_path):
    model, env = agent(algorithm)
    assert type(model.policy) is SIMBA_POLICIES[algorithm]
    optimizer = model.policy.critic.optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["weight_decay"] == 0.01
    before = {name: value.clone() for name, value in model.policy.named_parameters()}
    model.learn(60)
    still = [
        name
        for name, value in model.policy.named_parameters()
        if torch.equal(value, before[name]) and not name.split(".")[0].endswith("_target")
    ]
    assert still == []
    kept = load_checkpoint(save_checkpoint(model, tmp_path / "kept"))
    assert kept.policy_kwargs["policy_class"] == SIMBA_POLICIES[algorithm].__name__
    observations = np.random.default_rng(0).normal(size=(5, 11))
    normal = model.get_vec_normalize_env().normalize_obs(observations)
    expected = model.predict(normal, deterministic=True)[0]
    np.testing.assert_allclose(kept.policy().predict(observations), expected, atol=1e-5)
    env.close()


@pytest.mark.parametrize("algorithm", SIMBA_POLICIES)
@pytest.mark.parametrize("name", ["fine_tune", "feature_extraction"])
def test_methods_carry_blocks(algorithm, name):
    source, env = agent(algorithm)
    source.learn(60)
    target, other = agent(algorithm, "Walker2d-v5", seed=1)
    report = make_method(name).initialise(
        target, checkpoint_of(source), TransferContext(np.random.default_rng(0))
    )
    names = [entry.name for entry in report.entries if ".up." in entry.name and "_target." not in entry.name]
    assert len(names) >= 6
    ours, theirs = target.policy.state_dict(), source.policy.state_dict()
    assert all(torch.equal(ours[each], theirs[each]) for each in names)
    frozen = [each for each, value in target.policy.actor.named_parameters() if not value.requires_grad]
    assert (frozen != []) == (name == "feature_extraction")
    env.close()
    other.close()


@pytest.mark.parametrize("algorithm", SIMBA_POLICIES)
def test_a_new_critic_trunk_is_the_targets_own(algorithm):
    source, env = agent(algorithm)
    target, other = agent(algorithm, "Walker2d-v5", seed=1)
    own = {name: value.clone() for name, value in target.policy.critic.state_dict().items()}
    FeatureExtraction(critic_trunk="new").initialise(
        target, checkpoint_of(source), TransferContext(np.random.default_rng(0))
    )
    found = target.policy.critic.state_dict()
    heads = {f"qf{n}.{len(target.policy.critic.q_networks[n]) - 1}" for n in (0, 1)}
    for name, value in own.items():
        if name.rpartition(".")[0] not in heads:
            assert torch.equal(found[name], value), name
    env.close()
    other.close()


def test_a_wider_target_is_refused():
    source, env = agent("sac")
    target, other = agent("sac", "Walker2d-v5", net_arch=(16,))
    with pytest.raises(
        WarmstartError,
        match="blocks of 8 units in the source and of 16 in the target, which can't be widened",
    ):
        warm_start(target, source, critic_fit_steps=0)
    env.close()
    other.close()


@pytest.mark.parametrize("algorithm", SIMBA_POLICIES)
def test_zips_are_written_and_read(algorithm, tmp_path):
    model, env = agent(algorithm)
    observations = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)
    expected = model.predict(observations, deterministic=True)[0]
    model.save(tmp_path / "saved.zip")
    written = write_sb3_zip(checkpoint_of(model), tmp_path / "written.zip")
    for path in (tmp_path / "saved.zip", written):
        found = load_checkpoint(path)
        assert found.algorithm == algorithm
        assert not any("optimizer" in note for note in found.notes)
        policy = build_policy(algorithm, env.observation_space, env.action_space, found.policy_kwargs)
        load_tensors(policy, found.policy_tensors)
        policy.set_training_mode(False)
        np.testing.assert_array_equal(policy.predict(observations, deterministic=True)[0], expected)
    env.close()


def test_networks_that_differ_are_named():
    source, env = agent("sac", critic_net_arch=(16, 16))
    for changes, message in {
        "network=simba, net_arch=": {"network": "plain", "normalize_obs": True},
        r"layers \[16, 16\] in the source and \[16\] .* Blocks can't be": {"critic_net_arch": (16,)},
        "blocks of 8 units in the source and of 4": {"net_arch": (4,)},
    }.items():
        target, other = agent("sac", "Walker2d-v5", **message)
        with pytest.raises(WarmstartError, match=changes):
            warm_start(target, source, critic_fit_steps=0)
        other.close()
    env.close()


def planned(arm=None, **changes):
    study = {"name": "s", "target": "Hopper-v5", "target_steps": 64, "seeds": 1, "algorithm": "sac"}
    mapping = {**study, "arms": [{"method": "scratch", **(arm or {})}], **changes}
    return make_plan(Study.from_document(parse_yaml(json.dumps(mapping), "s.yaml")))


@pytest.mark.parametrize(
    ("algorithm", "of_arm", "network", "decay"),
    [
        ("sac", {"network": "simba"}, "simba", 0.01),
        ({"name": "sac", "network": "simba"}, {"network": "plain"}, "plain", 0.0),
        ({"name": "sac", "network": "simba", "weight_decay": 0.0}, {}, "simba", 0.0),
        ("sac", {"network": "simba", "weight_decay": 0.0}, "simba", 0.0),
    ],
)
def test_a_study_with_it_is_read_again_as_it_was(algorithm, of_arm, network, decay):
    made = planned({"algorithm": of_arm}, algorithm=algorithm)
    again = make_plan(Study.from_document(parse_yaml(made.study.to_yaml(), "study.yaml")))
    for each in (made, again):
        config = each.arms[0].algorithm
        assert (config.network, config.weight_decay) == (network, decay)
    assert [trial.hash for trial in again.trials] == [trial.hash for trial in made.trials]


def test_a_plain_source_of_a_simba_target_stays_plain():
    arms = [{"method": "scratch"}, {"method": "fine_tune"}]
    made = planned(
        arms=arms,
        algorithm={"name": "sac", "network": "simba"},
        source="Hopper-v5",
        source_steps=64,
        source_algorithm={"name": "sac", "network": "plain"},
    )
    again = make_plan(Study.from_document(parse_yaml(made.study.to_yaml(), "study.yaml")))
    assert again.arms[1].source_algorithm.network == made.arms[1].source_algorithm.network == "plain"
    with pytest.raises(WarmstartError, match="the source's networks are plain, the target's simba"):
        check_buildable(made)


def test_agents_that_see_more_than_vectors_are_refused_before_training():
    simba = {"name": "sac", "network": "simba"}
    for changes, message in [
        (
            {"arm": {"privileged": True, "randomize": "medium"}, "algorithm": simba},
            "the simba network reads vectors alone",
        ),
        (
            {"arm": {"privileged": True, "randomize": "medium"}, "algorithm": "tqc"},
            "tqc takes no privileged values; use ppo, sac, td3",
        ),
        (
            {"arm": {"privileged": True, "randomize": "medium"}, "algorithm": "crossq"},
            "crossq reads vectors alone",
        ),
    ]:
        with pytest.raises(WarmstartError, match=message):
            check_buildable(planned(**changes))


@pytest.mark.parametrize(
    "widths", [((256,), (256, 256)), ((64,), (64,)), ((128,), (256, 256)), ((64,), None)]
)
def test_a_target_is_built_as_its_source(widths):
    source, env = agent("sac", net_arch=widths[0], critic_net_arch=widths[1])
    followed = follow_source(checkpoint_of(source), "Walker2d-v5", "sac")
    config = planned(target="Walker2d-v5", algorithm=followed).arms[0].algorithm
    assert (config.network, config.net_arch) == ("simba", widths[0])
    assert (config.critic_net_arch or config.net_arch) == (widths[1] or widths[0])
    env.close()


def test_what_the_network_needs_is_said():
    with pytest.raises(WarmstartError, match="simba network reads standardised observations"):
        SACConfig(network="simba")
    for changes, message in [
        ({"critic_net_arch": ()}, "blocks have one width"),
        ({"activation": "tanh"}, "has relu"),
    ]:
        with pytest.raises(WarmstartError, match=message):
            SACConfig(**{**SIMBA, **changes})
    kwargs = {"policy_class": "SimbaSACPolicy", "net_arch": [60_000]}
    with pytest.raises(WarmstartError, match="a larger network than its 1 tensors"):
        check_size(kwargs, {"one": torch.zeros(60_000)})
    with pytest.raises(WarmstartError, match=r"blocks have one width, expected .* found \(128, 64\)"):
        SACConfig(network="simba", normalize_obs=True, net_arch=(128, 64))
    with pytest.raises(WarmstartError, match="network: expected one of 'plain', 'simba', found 'simbaa'"):
        SACConfig(network="simbaa")
    config = default_config("sac", "Pendulum-v1", "simba")
    env = vec_normalize(pixel_env(), norm_obs=False)
    with pytest.raises(WarmstartError, match="The simba network reads vectors"):
        build_agent(config, env, 0)
    env.close()


@pytest.mark.parametrize("algorithm", SIMBA_POLICIES)
def test_defaults_have_values_for_it(algorithm):
    config = default_config(algorithm, "Hopper-v5", "simba")
    assert isinstance(config, OffPolicyConfig)
    assert (config.network, config.normalize_obs, config.net_arch) == ("simba", True, SIMBA["net_arch"])
    assert config_from_json(config.to_json()) == config
    assert "network" not in default_config(algorithm, "Hopper-v5").to_json()
