"""Weights that move by a product: gradients, the fast update, the rank, a map in front of a frozen actor."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.transfer.conftest import ALGORITHMS, assert_tensors, build, disturb, tensors
from tests.transfer.methods.test_every_method import OURS
from warmstart.agents.algorithms.factors import Factors
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.trainability import Trainability
from warmstart.agents.checkpoints.checkpoint import checkpoint_of
from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.transfer.table import make_method
from warmstart.transfer.warm_start import warm_start

TASK = "Reacher-v5"


def adapted(name, algorithm, envs, *, task=TASK, maps=None, classes=OURS, **options):
    source = disturb(build(algorithm, envs(TASK), seed=1, classes=OURS))
    method = make_method(name, critic_fit_steps=0, warm_up_steps=0, **options)
    kwargs = method.seams(checkpoint_of(source)).policy_kwargs
    settings = {"learning_starts": 16} if algorithm != "ppo" else {}
    settings |= {"seams": Seams(policy_kwargs=kwargs)} if classes is OURS else {}
    model = build(algorithm, envs(task), seed=2, classes=classes, **settings)
    return source, model, warm_start(model, source, method, seed=0, **(maps or {}))


def test_gradients_are_those_of_the_factors():
    generator = torch.Generator().manual_seed(0)
    base, up, down = (torch.randn(*shape, generator=generator) for shape in ((3, 4), (3, 2), (2, 4)))
    x, y = torch.randn(5, 4, generator=generator), torch.randn(5, 3, generator=generator)
    a, b = down.clone().requires_grad_(), up.clone().requires_grad_()
    ((x @ (base + 0.5 * b @ a).t() - y) ** 2).sum().backward()
    factors = Factors(base, nn.Parameter(up), nn.Parameter(down), 0.5)
    weight = nn.Parameter(torch.empty(3, 4))
    factors.write(weight)
    ((x @ weight.t() - y) ** 2).sum().backward()
    factors.take(weight)
    assert weight.grad is None
    torch.testing.assert_close(factors.up.grad, b.grad)
    torch.testing.assert_close(factors.down.grad, a.grad)


def test_a_fixed_factor_has_no_gradient():
    one, zero = nn.Parameter(torch.ones(1, 1)), nn.Parameter(torch.zeros(1, 1))
    factors = Factors(torch.zeros(1, 1), one, zero, fixed="up")
    weight = nn.Parameter(torch.zeros(1, 1))
    weight.grad = torch.full((1, 1), 3.0)
    factors.take(weight)
    assert factors.up.grad is None
    assert factors.down.grad.item() == 3.0


def test_factors_of_another_shape_are_refused(envs):
    model = build("ppo", envs(TASK), classes=OURS)
    factors = Factors(torch.zeros(2, 2), nn.Parameter(torch.zeros(2, 1)), nn.Parameter(torch.zeros(1, 2)))
    with pytest.raises(WarmstartError, match=r"action_net.weight has the shape .* \(2, 1\) and \(1, 2\)"):
        model.set_trainability(Trainability((), factors={"action_net.weight": factors}))


@pytest.mark.parametrize("algorithm", OURS)
def test_lora_begins_as_the_source_and_moves_by_its_rank(algorithm, envs):
    source, model, report = adapted("lora", algorithm, envs, rank=2)
    observations = np.random.default_rng(0).normal(size=(32, 10))
    expected = Policy.from_model(source).predict(observations)
    np.testing.assert_allclose(Policy.from_model(model).predict(observations), expected, atol=1e-6)
    before = tensors(model)
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
    after, factors = tensors(model), model.trainability.factors
    for name, each in factors.items():
        moved = after[name] - before[name]
        assert moved.abs().max() > 0, name
        assert torch.linalg.matrix_rank(moved.double(), rtol=1e-4) <= 2, name
        torch.testing.assert_close(after[name], each.base + each.up @ each.down)
    still = {n for n in before if n.startswith(("actor.", "action_net", "mlp_extractor.p"))} - set(factors)
    assert still
    assert all(torch.equal(after[name], before[name]) for name in still)


def test_ppo_s_fast_update_gives_what_autograd_gives(envs):
    found = []
    for fast in (True, False):
        _, model, report = adapted("lora", "ppo", envs, rank=2)
        if not fast:  # a hook is nothing that the fast update computes
            model.policy.action_net.register_forward_hook(lambda *_: None)
        model.learn(128, reset_num_timesteps=False, callback=report.callback)
        assert (model._update is not None) == fast
        found.append(tensors(model))
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], atol=1e-5, rtol=1e-4)


def test_factors_go_on_after_save_and_load(envs, tmp_path):
    _, model, report = adapted("lora", "ppo", envs, rank=2)
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
    model.save(tmp_path / "m")
    loaded = OURS["ppo"].load(tmp_path / "m", env=model.env)
    assert_tensors(tensors(loaded), tensors(model))
    loaded.learn(64, reset_num_timesteps=False)
    for name, each in loaded.trainability.factors.items():
        moved = tensors(loaded)[name] - each.base
        assert not torch.equal(tensors(loaded)[name], tensors(model)[name])
        assert torch.linalg.matrix_rank(moved.double(), rtol=1e-4) <= 2


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3", "tqc"])
def test_an_adapter_maps_observations_that_the_source_does_not_know(algorithm, envs):
    names = checkpoint_of(build(algorithm, envs(TASK), classes=OURS)).observation_layout.names
    maps = {"observation_map": dict.fromkeys(names)}
    source, model, report = adapted("input_adapter", algorithm, envs, maps=maps)
    (name, factors), *rest = model.trainability.factors.items()
    assert not rest
    assert report.entry(name).reason.endswith("it moves by a map to what the source observes")
    assert torch.equal(factors.up.detach(), tensors(source)[name])
    assert not tensors(model)[name].any()
    before = tensors(model)
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
    after = tensors(model)
    torch.testing.assert_close(after[name], factors.up @ factors.down)
    assert after[name].any()
    actor = {n for n in after if n.startswith(("actor.", "action_net", "mlp_extractor.policy"))}
    assert all(torch.equal(after[n], before[n]) for n in actor - {name})


def test_without_a_match_other_methods_say_so(envs):
    names = checkpoint_of(build("ppo", envs(TASK), classes=OURS)).observation_layout.names
    with pytest.raises(WarmstartError, match="Nothing to carry: no observation"):
        adapted("lora", "ppo", envs, maps={"observation_map": dict.fromkeys(names)})


def test_outputs_of_new_actions_train(envs):
    names = checkpoint_of(build("ppo", envs(TASK), classes=OURS)).action_layout.names
    _, model, report = adapted("input_adapter", "ppo", envs, maps={"action_map": {names[1]: None}})
    before = tensors(model)["action_net.weight"]
    model.learn(64, reset_num_timesteps=False, callback=report.callback)
    moved = (tensors(model)["action_net.weight"] != before).any(1)
    assert moved.tolist() == [False, True]


@pytest.mark.parametrize("name", ["lora", "input_adapter"])
def test_plain_models_are_refused(name, envs):
    with pytest.raises(WarmstartError, match=rf"{name} needs .*warmstart\.PPO"):
        adapted(name, "ppo", envs, classes=ALGORITHMS)
