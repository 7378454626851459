"""The table of methods: options, errors, methods of one's own, seams, and the controls."""

import ast
import inspect
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import pytest
import torch

from tests.transfer.conftest import ALGORITHMS, assert_tensors, build, disturb, tensors
from warmstart.agents.algorithms import ppo
from warmstart.agents.algorithms.crossq import CrossQ
from warmstart.agents.algorithms.seams import LossTerm, Seams
from warmstart.agents.algorithms.trainability import Rule, Trainability
from warmstart.core.errors import WarmstartError
from warmstart.core.plugins import load_plugin
from warmstart.transfer.carry.exploration import Floor
from warmstart.transfer.methods.base import TransferMethod, register_method
from warmstart.transfer.methods.fine_tuning import FineTune
from warmstart.transfer.table import METHODS, make_method
from warmstart.transfer.warm_start import warm_start

TASK = "InvertedPendulum-v5"
BUILT_IN = {"scratch", "zero_shot", "fine_tune", "feature_extraction", "shuffled"}


@pytest.fixture
def table():
    """Undo registrations."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def pair(algorithm, envs, **settings):
    source = disturb(build(algorithm, envs(TASK), seed=1))
    return source, build(algorithm, envs(TASK), seed=2, **settings)


def test_the_table_holds_every_method():
    others = {"gradual_unfreezing", "wsrl", "l2_sp", "ewc", "partial_reset", "shrink_perturb"}
    others |= {
        "kickstart",
        "distill",
        "qdagger",
        "jump_start",
        "residual",
        "progressive",
        "lora",
        "input_adapter",
        "layer_norm",
        "rlpd",
        "clone",
        "guarded",
        "best_source",
    }
    assert set(METHODS) == BUILT_IN | others


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_round_trips_and_documents_its_options(name):
    method = make_method(name)
    assert make_method(method.to_json()) == method
    assert type(method).__doc__
    for cls in type(method).__mro__:
        if cls in (TransferMethod, object):
            continue
        (definition,) = ast.parse(inspect.getsource(cls)).body
        for statement, after in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation):
                assert isinstance(after, ast.Expr), f"{cls.__name__}.{statement.target.id} has no docstring"


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_method_runs_with_every_algorithm(name, algorithm, envs):
    classes = {**ALGORITHMS, "crossq": CrossQ}  # whose renormalisation stands still where it is frozen
    source, target = pair(algorithm, envs, classes=classes)
    options = {"critic_fit_steps": 32, "critic_updates": 2} if "critic_updates" in dict_of(name) else {}
    report = warm_start(target, source, name, seed=0, **options)
    assert report.method == name
    assert {entry.name for entry in report.entries} >= set(target.policy.state_dict())
    assert (report.copied > 0) == METHODS[name].needs_source
    assert str(report)
    target.learn(32, reset_num_timesteps=False, callback=report.callback)


def dict_of(name):
    """Return the options of a method."""
    return {entry.name for entry in fields(METHODS[name])}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "fine_tuning"}, "Did you mean 'fine_tune'"),
        ({"method": "fine_tune", "critic_fit_step": 3}, "Did you mean 'critic_fit_steps'"),
        ({"method": "fine_tune", "observations_map": {}}, "Did you mean 'observation_map'"),
        (
            {"method": "fine_tune", "critic_fit_steps": -1},
            "critic_fit_steps: expected a number at least 0, found -1",
        ),
        (
            {"method": "fine_tune", "critic_fit_steps": 1.5},
            "critic_fit_steps: expected a whole number",
        ),
        ({"method": "fine_tune", "reward_statistics": "kept"}, "Did you mean 'keep'"),
        (
            {"method": {"critic_fit_steps": 3}},
            "a transfer method, or a mapping with it under 'method'",
        ),
        ({"method": {"method": "fine_tune", "exploration": "auto_0.1"}}, r"Expected Keep\(\)"),
        ({"method": FineTune(), "critic_fit_steps": 3}, "set its options there"),
    ],
)
def test_wrong_options(arguments, message, envs):
    source, target = pair("ppo", envs)
    with pytest.raises(WarmstartError, match=message):
        warm_start(target, source, **arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward_statistics": "kept"}, "reward_statistics: expected one of 'keep', 'reset', found 'kept'"),
        ({"normalizer_count": 0}, "normalizer_count: expected a number at least 1, found 0"),
        ({"widening_noise": float("nan")}, "widening_noise: expected a number at least 0"),
    ],
)
def test_options_are_checked_however_a_method_is_made(options, message):
    for make in (FineTune, lambda **given: make_method("fine_tune", **given)):
        with pytest.raises(WarmstartError, match=message):
            make(**options)


def test_yaml_form():
    method = make_method({"method": "fine_tune", "exploration": {"floor": -1.0}, "critic_fit_steps": 0})
    assert method == FineTune(critic_fit_steps=0, exploration=Floor(-1.0))


class TestControls:
    def test_scratch_changes_nothing(self, envs):
        _, target = pair("ppo", envs)
        before = tensors(target)
        report = warm_start(target, None, "scratch")
        assert_tensors(tensors(target), before)
        assert {entry.action for entry in report.entries} == {"untouched"}
        assert report.source == "none"

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_shuffled_has_the_same_numbers_elsewhere(self, algorithm, envs):
        source, target = pair(algorithm, envs)
        report = warm_start(target, source, "shuffled", seed=0, critic_fit_steps=0)
        found, expected = tensors(target), tensors(source)
        for name in found:
            assert torch.equal(found[name].ravel().sort().values, expected[name].ravel().sort().values)
            assert torch.equal(found[name], expected[name]) == (len(found[name].unique()) == 1)
            if "_target" in name:
                assert torch.equal(found[name], found[name.replace("_target", "")])
            assert report.entry(name).action == "permuted"
        np.testing.assert_array_equal(
            target.get_vec_normalize_env().obs_rms.mean, source.get_vec_normalize_env().obs_rms.mean
        )

    def test_shuffled_is_seeded(self, envs):
        source, target = pair("ppo", envs)
        drawn = []
        for seed in (0, 0, 1):
            warm_start(target, source, "shuffled", seed=seed, critic_fit_steps=0)
            drawn.append(tensors(target)["mlp_extractor.policy_net.0.weight"])
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])
        target.seed = None
        with pytest.raises(WarmstartError, match="seed=0"):
            warm_start(target, source, "shuffled")

    def test_shuffled_is_otherwise_fine_tune(self):
        assert dict_of("shuffled") == dict_of("fine_tune")


class Decay(LossTerm):
    name = "decay"

    def loss(self, model, batch):
        return sum(parameter.square().sum() for parameter in model.policy.parameters()) * 1e-3


@dataclass(frozen=True)
class Decayed(FineTune):
    """Fine-tuning with weight decay: needs the loss."""

    name: ClassVar[str] = "decayed"

    def seams(self, source):
        rules = Trainability((Rule("mlp_extractor.*", 0.5),))
        return Seams(loss_terms=(Decay(),), trainability=rules)


def test_a_method_that_needs_more_of_the_agent(envs, table):
    register_method(Decayed)
    source, plain = pair("ppo", envs)
    with pytest.raises(WarmstartError, match=r"loss_terms.*warmstart\.PPO"):
        warm_start(plain, source, "decayed")
    ours = build("ppo", envs(TASK), seed=2, classes={"ppo": ppo.PPO})
    warm_start(ours, source, "decayed", critic_fit_steps=0)
    assert ours.seams.loss_terms
    assert ours.trainability.rules[0].multiplier == 0.5
    ours.learn(32, reset_num_timesteps=False)
    rates = {group["lr"] for group in ours.policy.optimizer.param_groups}
    assert rates == {3e-4, 1.5e-4}


def test_registration_is_checked(table):
    with pytest.raises(WarmstartError, match="must be a dataclass"):
        register_method(type("Method", (TransferMethod,), {"name": "mine"}))
    with pytest.raises(WarmstartError, match="must be frozen"):
        register_method(thawed())
    with pytest.raises(WarmstartError, match="plain word"):
        register_method(dataclass(frozen=True)(type("Method", (TransferMethod,), {"name": "my method"})))
    with pytest.raises(WarmstartError, match="exists already"):
        register_method(dataclass(frozen=True)(type("Method", (TransferMethod,), {"name": "fine_tune"})))


def thawed():
    """Return a dataclass that isn't frozen."""
    cls = type("Thawed", (), {"name": "thawed"})
    thawed_class = type("Thawed", (TransferMethod,), dict(vars(cls)))
    thawed_class.__dataclass_fields__ = {}
    thawed_class.__dataclass_params__ = type("Parameters", (), {"frozen": False})
    return thawed_class


PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar
from warmstart.transfer.methods.fine_tuning import FineTune
from warmstart.transfer.methods.base import register_method

@register_method
@dataclass(frozen=True)
class Mine(FineTune):
    """Fine-tuning without the critic's fit."""

    name: ClassVar[str] = "mine"
    critic_fit_steps: int | None = 0
'''


def test_plugin_file(tmp_path, envs, table):
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    plugin = load_plugin(path)
    assert len(plugin.sha256) == 64
    assert load_plugin(path) == plugin
    source, target = pair("ppo", envs)
    assert warm_start(target, source, "mine").steps == 0
    path.write_text("1 / 0")
    with pytest.raises(WarmstartError, match="ZeroDivisionError"):
        load_plugin(path)
    with pytest.raises(WarmstartError, match="can't be read"):
        load_plugin(tmp_path / "nothing.py")
