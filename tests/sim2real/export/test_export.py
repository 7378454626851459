"""Exported graphs act as their policies do, step by step, and say what they take and give."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from tests.sim2real.export.agents import CONFIGS, FRAMES, ON, PENDULUM, PPO, STATES, agent, exported, small
from tests.transfer.conftest import envs
from tests.transfer.methods.test_every_method import TASK, run
from warmstart.agents.checkpoints.architecture import EXTRACTORS, build_policy
from warmstart.agents.checkpoints.checkpoint import Checkpoint, checkpoint_of
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.privileged import PrivilegedObservation
from warmstart.agents.settings.config import PPOConfig
from warmstart.core.errors import WarmstartError
from warmstart.envs.describe import describe
from warmstart.envs.robots.table import robots
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.deployment.runtime.contract import (
    METADATA_KEY,
    Contract,
    DeploymentError,
    read_contract,
)
from warmstart.sim2real.deployment.signals import action_signal, observation_signals
from warmstart.sim2real.export import export
from warmstart.sim2real.export.export import export_policy, write_export
from warmstart.sim2real.export.graph import Deployed
from warmstart.sim2real.export.parity import Graph, compare
from warmstart.transfer.table import METHODS

__all__ = ["envs"]


SELDOM = (
    "tqc", "not normalised", "history without actions", "history, sac", "recurrent, shared", "bins, one",
    "frozen, one frame", "trained encoder and state", "trained encoder, adapters",
)  # fmt: skip
"""Kinds that `make slow` alone looks at."""
KINDS = [n if n not in SELDOM else pytest.param(n, marks=pytest.mark.slow) for n in (*STATES, *FRAMES)]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_policy_is_one_graph_that_acts_as_it_does(name, request):
    if name in FRAMES:
        request.getfixturevalue("opengl")
    checkpoint = {**STATES, **FRAMES}[name]()
    made = export_policy(checkpoint, None if checkpoint.task else PENDULUM, episodes=2)
    parity, contract = made.contract.parity, made.contract
    assert parity["observations"] >= 1000
    assert max(parity["largest"], parity["closed_loop_largest"]) <= 1e-5
    assert bool(contract.states) == (contract.begins is not None)
    seen = describe(made.task).observation_space
    shown = dict(seen.spaces) if isinstance(seen, spaces.Dict) else {"observation": seen}
    assert {each.name: each.shape for each in contract.observations} == {k: v.shape for k, v in shown.items()}
    graph = onnx.load_from_string(made.graph)
    assert [each.name for each in graph.graph.input] == [
        *(each.name for each in contract.observations),
        *(each.input for each in contract.states),
        *([contract.begins] if contract.begins else []),
    ]


BUILDING = ("fine_tune", "layer_norm", "residual", "progressive", "lora", "input_adapter")
"""Methods after which networks are of another shape, or have more in them, than a plain agent's."""


@pytest.mark.parametrize(
    "method", [m if m in BUILDING else pytest.param(m, marks=pytest.mark.slow) for m in METHODS]
)
def test_what_every_transfer_method_trains_is_exported(method, envs):
    algorithm = next(a for a in ("ppo", "sac") if a in METHODS[method].algorithms)
    model, _ = run(method, algorithm, envs)
    made = export_policy(checkpoint_of(model, task=TASK), episodes=2)
    assert made.contract.parity["closed_loop_largest"] <= 1e-5


def test_a_graph_is_compared_with_the_policy_and_not_with_itself(monkeypatch):
    checkpoint = agent(PPO, PENDULUM)
    other = agent(PPOConfig(**{**ON, "n_steps": 32}), PENDULUM, steps=128)
    with monkeypatch.context() as patched:
        patched.setattr(export, "_in_full_precision", lambda _: other.policy())
        with pytest.raises(
            WarmstartError, match=r"acts otherwise than the policy: by [\d.e-]+ of an action's range"
        ):
            export_policy(checkpoint, episodes=2)


def test_the_statistics_of_the_task_are_folded_in_and_frozen():
    checkpoint = small()
    session = onnxruntime.InferenceSession(exported().graph)
    raw = np.array([[0.3, -0.05, 0.7, 0.2]], np.float32)
    statistics = checkpoint.normalizer
    scaled = np.clip((raw - statistics.mean) / np.sqrt(statistics.var + statistics.epsilon), -10, 10)
    module = checkpoint.policy().module
    wanted = np.clip(module.predict(scaled.astype(np.float32), deterministic=True)[0], -3, 3)
    found = session.run(None, {"observation": raw})[0]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.abs(module.predict(raw, deterministic=True)[0] - wanted).max() > 1e-4, "the statistics matter"


def test_actions_leave_in_the_actuators_units():
    found = export_policy(agent(CONFIGS["sac"], "Pendulum-v1"), episodes=2).contract.action
    assert [(each.low, each.high) for each in found.dimensions] == [(-2.0, 2.0)]
    made = export_policy(agent(PPO, "Reacher-v5:action_bins=3"), episodes=2)
    assert [each.name for each in made.contract.action.dimensions] == ["joint0.torque", "joint1.torque"]
    taken = onnxruntime.InferenceSession(made.graph).run(
        None, {"observation": np.zeros((1, 10), np.float32)}
    )[0]
    assert set(np.unique(taken)) <= {-1.0, 0.0, 1.0}
    assert taken.dtype == np.float32


def test_a_history_begins_anew_where_an_episode_begins():
    made = export_policy(STATES["history"](), episodes=2)
    graph = Graph(made.graph, made.contract, 2)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 2, 4)).astype(np.float32)
    begins = np.ones(2, bool)
    at_first = graph.act({"observation": second}, begins)
    graph.act({"observation": first}, begins)
    later = graph.act({"observation": second}, ~begins)
    assert (later != at_first).all(), "what was seen before counts"
    np.testing.assert_array_equal(graph.act({"observation": second}, begins), at_first)
    mixed = graph.act({"observation": second}, np.array([True, False]))
    assert mixed[0] == at_first[0]
    assert mixed[1] != at_first[1]


def test_the_contract_says_what_a_robots_side_has_to_know(tmp_path):
    checkpoint = replace(agent(PPO, "Hopper-v5"), steps=1234)
    made = export_policy(checkpoint, trained={"method": {"method": "fine_tune"}}, episodes=2)
    folder = write_export(made, tmp_path / "policy")
    contract = read_contract(folder)
    (signal,) = contract.observations
    told = describe("Hopper-v5")
    assert [each.name for each in signal.dimensions] == list(told.observation_layout.names)
    assert [each.unit for each in signal.dimensions][:2] == ["m", "rad"]
    assert [(each.name, each.low, each.high) for each in contract.action.dimensions] == [
        (name, -1.0, 1.0) for name in told.action_layout.names
    ]
    assert contract.rate == pytest.approx(125)
    assert contract.joints["thigh_joint"] == 0.0
    assert contract.joints["rootz"] == 1.25
    assert contract.trained["return"] == pytest.approx(contract.parity["closed_loop_return"])
    assert contract.trained["steps"] == 1234
    assert contract.trained["method"] == {"method": "fine_tune"}
    assert contract.source_sha256 == checkpoint.fingerprint()
    assert {"torch", "onnx", "onnxruntime", "mujoco", "warmstart"} <= set(contract.versions)
    seen = contract.statistics["observation"]
    assert len(seen.mean) == 11
    assert all(low <= mean <= high for low, mean, high in zip(seen.low, seen.mean, seen.high, strict=True))
    inside = {e.key: e.value for e in onnx.load(folder / "policy.onnx").metadata_props}[METADATA_KEY]
    within = Contract.from_json(json.loads(inside), "inside")
    assert replace(within, graph_sha256=contract.graph_sha256) == contract


def test_nothing_of_this_machine_is_in_the_files(tmp_path):
    folder = write_export(exported(), tmp_path / "policy")
    for file in (folder / "policy.onnx", folder / "contract.json"):
        content = file.read_bytes()
        assert b"site-packages" not in content
        assert str(tmp_path).encode() not in content
        assert b".py" not in content


@pytest.mark.parametrize("file", ["policy.onnx", "contract.json"])
def test_an_edited_export_is_refused(file, tmp_path):
    folder = write_export(exported(), tmp_path / "policy")
    path = folder / file
    content = bytearray(path.read_bytes())
    place = content.index(b"ppo")
    content[place : place + 3] = b"sac"
    path.write_bytes(content)
    with pytest.raises(DeploymentError, match=rf"{file} was changed"):
        read_contract(folder)


def test_it_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    written = exported()
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(WarmstartError, match=r"mine exists and is no exported policy"):
        write_export(written, foreign)
    folder = write_export(written, tmp_path / "policy")
    before = (folder / "contract.json").read_bytes()
    (folder / "driver.py").write_text("mine")
    with pytest.raises(WarmstartError, match=r"policy holds driver\.py beside an exported policy"):
        write_export(written, folder)
    (folder / "driver.py").unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_contract", full)
    with pytest.raises(WarmstartError, match="could not be written"):
        write_export(written, folder)
    assert (folder / "contract.json").read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine", "policy"]


def test_what_cant_be_exported_says_why(tmp_path):
    teacher = agent(PPO, PENDULUM, PrivilegedObservation(("gear",), who="both"))
    with pytest.raises(WarmstartError, match="gear, which only a simulator tells"):
        export_policy(teacher)
    with pytest.raises(WarmstartError, match="doesn't say its task"):
        export_policy(replace(small(), task=None))
    with pytest.raises(WarmstartError, match="has observations of shape"):
        export_policy(small(), "Hopper-v5")
    with pytest.raises(DeploymentError, match=r"no exported policy: contract\.json is missing"):
        read_contract(tmp_path)


@pytest.mark.parametrize("task", [name for name in robots() if name.endswith("-v5")])
def test_names_units_and_limits_are_those_of_the_robot(task):
    env = make_vec(task, 1, 0, n_threads=1)
    space, action = env.single_observation_space, env.single_action_space
    checkpoint = Checkpoint(
        "ppo", {}, space, action, {"net_arch": [4]}, env.observation_layout, env.action_layout, task=task
    )
    module = build_policy("ppo", space, action, {"net_arch": [4]})
    policy = Deployed(replace(checkpoint, tensors=dict(module.state_dict())), space)
    assert policy.front.signals == observation_signals(env)
    assert policy.action == action_signal(env)
    env.close()


class Bessel(FlattenExtractor):
    """Features by a function that ONNX hasn't got."""

    def forward(self, observations):
        return torch.special.bessel_j0(super().forward(observations))


def test_an_operator_that_onnx_hasnt_got_is_named(monkeypatch):
    monkeypatch.setitem(EXTRACTORS, "Bessel", Bessel)
    checkpoint = agent(PPO, PENDULUM)
    checkpoint.policy_kwargs["features_extractor"] = "Bessel"
    with pytest.raises(WarmstartError, match=r"The policy has no ONNX graph: .*bessel_j0"):
        export_policy(checkpoint, episodes=2)


def test_an_sb3_zip_is_exported_once_its_task_is_named(tmp_path):
    import stable_baselines3

    model = stable_baselines3.SAC(
        "MlpPolicy", "Pendulum-v1", seed=0, policy_kwargs={"net_arch": [8]}, device="cpu"
    )
    model.save(tmp_path / "sac.zip")
    made = export_policy(load_checkpoint(tmp_path / "sac.zip"), "Pendulum-v1", episodes=2)
    observation = np.array([[0.1, 0.9, -0.4]], np.float32)
    found = onnxruntime.InferenceSession(made.graph).run(None, {"observation": observation})[0]
    np.testing.assert_allclose(found, model.predict(observation, deterministic=True)[0], atol=1e-6)


def test_a_foreign_file_gets_the_names_of_its_task(tmp_path):
    import stable_baselines3

    model = stable_baselines3.PPO("MlpPolicy", PENDULUM, policy_kwargs={"net_arch": [4]}, device="cpu")
    model.save(tmp_path / "ppo.zip")
    contract = export_policy(load_checkpoint(tmp_path / "ppo.zip"), PENDULUM, episodes=2).contract
    env = make_vec(PENDULUM, 1, 0, n_threads=1)
    assert (contract.observations, contract.action) == (observation_signals(env), action_signal(env))
    env.close()


def test_returns_and_counts_of_a_comparison_are_the_episodes():
    made = export_policy(agent(PPO, "Reacher-v5"), episodes=2)
    env = make_vec("Reacher-v5", 3, 7, n_threads=1)
    found = compare(Graph(made.graph, made.contract, 3), made.reference, env, 7)
    assert found.observations == 150
    assert found.rows["observation"].shape == (150, 10)
    env.close()
    from warmstart.agents.evaluation import evaluate

    played = evaluate(made.reference, Task.parse("Reacher-v5"), 3, 7)
    np.testing.assert_allclose(found.returns, played.returns, atol=1e-3)
