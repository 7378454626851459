"""The physical context as a part of observations, and critics that alone read it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import MultiInputActorCriticPolicy

from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.trainability import Trainability
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import checkpoint_of, save_checkpoint
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.evaluation import evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.asymmetric import ASYMMETRIC_POLICIES, AsymmetricActorCriticPolicy
from warmstart.agents.observing.base import StackedFrames
from warmstart.agents.observing.privileged import ContextExtractor, PrivilegedEnv, PrivilegedObservation
from warmstart.agents.observing.table import read_observing
from warmstart.agents.sb3_files.written import write_sb3_zip
from warmstart.agents.settings.config import PPOConfig, SACConfig, TD3Config
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.randomization import Randomization, read_terms
from warmstart.sim2real.reality import load_reality
from warmstart.transfer.carry.source import environment_layouts

TASK = "InvertedPendulum-v5"
CONFIGS = {
    "ppo": PPOConfig(n_envs=4, n_steps=16, batch_size=32, n_epochs=2, net_arch=(8,)),
    "sac": SACConfig(n_envs=4, buffer_size=200, learning_starts=16, batch_size=8, net_arch=(8,)),
    "td3": TD3Config(
        n_envs=4, buffer_size=200, learning_starts=16, batch_size=8, net_arch=(8,), normalize_obs=True
    ),
}


class Heavier:
    """Scales the pole's mass by 1 + environment + episode / 10, from an episode's step 2 on by twice that."""

    terms = (("pole.mass", "scale"),)

    def __init__(self, changes_within=False):
        self.changes_within = changes_within

    def draw(self, env_ids, episode_ids):
        return 1 + np.asarray(env_ids, float)[:, None] + np.asarray(episode_ids, float)[:, None] / 10

    def due(self, elapsed, period):
        return elapsed == 2

    def draw_within(self, env_ids, episode_ids, elapsed, period):
        return self.draw(env_ids, episode_ids) * np.where(elapsed >= 2, 2, 1)[:, None]

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def pendulums(n=2, task=TASK, **settings):
    return make_vec(task, n, 0, n_threads=1, context_source=Heavier(**settings))


def push(n=2, by=3.0):
    return np.full((n, 1), by, np.float32)


def nominal_mass():
    env = make_vec(TASK, 1, n_threads=1)
    return float(env.parameters.select("pole.mass")[0].nominal[0])


def test_names_nominal_values_and_what_is_seen():
    env = PrivilegedObservation().wrap(pendulums(task=TASK + "@cart.mass=x0.5"))
    mass = nominal_mass()
    cart = env.parameters.select("cart.mass")[0].nominal[0]
    assert env.vision.names == ("body.pole.mass", "body.cart.mass")
    assert env.vision.nominal == (mass, cart / 2), "of the task, without what is drawn"
    assert env.single_observation_space["privileged"].shape == (2,)
    seen, _ = env.reset(seed=0)
    np.testing.assert_allclose(seen["privileged"], [[mass, cart / 2], [2 * mass, cart / 2]])
    assert seen["policy"].shape == (2, 4)
    assert env.observation_space.contains(seen)


def test_final_observations_have_the_context_of_the_episode_that_ended():
    env, mass = PrivilegedObservation().wrap(pendulums()), nominal_mass()
    first, _ = env.reset(seed=0)
    assert first["privileged"][0] == pytest.approx(mass)
    for _ in range(100):
        seen, _, terminations, _, infos = env.step(push())
        if terminations[0]:
            break
    final = infos["final_obs"][0]
    assert final["privileged"] == pytest.approx([mass])
    assert abs(final["policy"][1]) > 0.2, "the pole fell"
    assert seen["privileged"][0] == pytest.approx(1.1 * mass), "the next episode has another mass"
    assert abs(seen["policy"][0, 1]) < 0.02
    assert infos["final_obs"][1] is None or terminations[1]


def test_sb3_gets_them_as_terminal_observations():
    env, mass = as_sb3(PrivilegedObservation().wrap(pendulums())), nominal_mass()
    env.reset()
    for _ in range(100):
        seen, _, dones, infos = env.step(push())
        if dones[1]:
            break
    assert infos[1]["terminal_observation"]["privileged"] == pytest.approx([2 * mass])
    assert seen["privileged"][1] == pytest.approx([2.1 * mass])


def test_what_changes_within_an_episode_is_seen():
    env = PrivilegedObservation().wrap(pendulums(1, changes_within=True))
    masses = [env.reset(seed=0)[0]["privileged"][0, 0]]
    masses += [env.step(push(1, 0.0))[0]["privileged"][0, 0] for _ in range(3)]
    np.testing.assert_allclose(np.array(masses) / nominal_mass(), [1, 1, 1, 2])


def test_chosen_parameters_and_ones_that_nothing_is_about_yet():
    env = PrivilegedObservation(names=("gravity", "joint.hinge.damping")).wrap(
        make_vec(TASK, 1, 0, n_threads=1)
    )
    assert env.vision.names[:3] == tuple(f"option.gravity[{i}]" for i in range(3))
    seen, _ = env.reset(seed=0)
    assert seen["privileged"][0].tolist() == [0, 0, -9.81, 1]
    env.set_context("gravity=x0.5")
    assert env.reset(seed=0)[0]["privileged"][0].tolist() == [0, 0, -4.905, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrivilegedObservation(who="actor"), "who: expected one of 'critic', 'both', found 'actor'"),
        (lambda: PrivilegedObservation(("a", "b"), (1.0,)), "each of 2 parameters, found 1"),
        (
            lambda: PrivilegedObservation().wrap(make_vec(TASK, 1, n_threads=1)),
            "Nothing about InvertedPendulum-v5",
        ),
        (lambda: PrivilegedObservation(("pole.mss",)).wrap(pendulums()), "pole.mass"),
        (
            lambda: PrivilegedObservation().wrap(make_vec("CartPole-v1", 1)),
            "a batched MuJoCo task, found Gymnasium",
        ),
        (lambda: PrivilegedObservation().wrap(load_reality("pendulum-worn").make(1)), "found RealityEnv"),
        (lambda: PrivilegedObservation().wrap(PrivilegedObservation().wrap(pendulums())), "that are vectors"),
        (lambda: read_observing({"kind": "privilegd"}, None), "way of observing 'privilegd'"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(WarmstartError, match=message):
        make()


def test_layouts_name_observations_then_parameters():
    env = PrivilegedObservation().wrap(pendulums())
    plain = make_vec(TASK, 1, n_threads=1)
    assert env.observation_layout.names[:4] == plain.observation_layout.names
    assert env.observation_layout.names == (*plain.observation_layout.names, "body.pole.mass")
    assert env.observation_layout.dimensions[-1].unit == "kg"
    assert environment_layouts(as_sb3(env))[0] == env.observation_layout, "transfer finds it fit"


def test_a_saved_environment_goes_on_bit_for_bit():
    env, other = (PrivilegedObservation().wrap(pendulums()) for _ in range(2))
    env.reset(seed=0)
    for _ in range(5):
        env.step(push())
    other.reset(seed=8)
    other.step(push())
    other.load_state_dict(env.state_dict())
    ended = 0
    for _ in range(60):
        (a, _, done, _, infos), (b, _, _, _, others) = (e.step(push()) for e in (env, other))
        for key in ("policy", "privileged"):
            np.testing.assert_array_equal(a[key], b[key])
        for one in np.flatnonzero(done):
            ended += 1
            found = [i["final_obs"][one]["privileged"] for i in (infos, others)]
            np.testing.assert_array_equal(*found)
    assert ended


def test_who_does_not_know_is_given_nominal_values():
    wrapped = PrivilegedObservation().wrap(pendulums())
    reality = load_reality("pendulum-worn")
    env = wrapped.vision.wrap(reality.make(2, 0, n_threads=1))
    seen, _ = env.reset(seed=0)
    np.testing.assert_array_equal(seen["privileged"], np.full((2, 1), nominal_mass()))
    assert env.interactions == 0, "attributes inside are reachable"
    both = replace(wrapped.vision, who="both")
    plain = both.wrap(make_vec(TASK, 2, 0, n_threads=1))
    np.testing.assert_array_equal(plain.reset(seed=0)[0]["privileged"], seen["privileged"])
    shifted = both.wrap(make_vec(TASK + "@pole.mass=x3", 1, 0, n_threads=1))
    assert shifted.reset(seed=0)[0]["privileged"][0, 0] == pytest.approx(3 * nominal_mass())
    with pytest.raises(WarmstartError, match=r"reads body\.pole\.mass, which RealityEnv doesn't tell"):
        both.wrap(reality.make(1, 0, n_threads=1))


def agent(algorithm, who="critic", seams=None, **settings):
    config = replace(CONFIGS[algorithm], **settings)
    env = make_training_env(config, TASK, 0, context_source=Heavier(), vision=PrivilegedObservation(who=who))
    return build_agent(config, env, 0, device="cpu", seams=seams)


def values(model, observations, actions):
    if hasattr(model.policy, "mlp_extractor"):
        return model.policy.predict_values(observations)
    return torch.cat(model.policy.critic(observations, actions), dim=1)


def mean_actions(model, observations):
    if hasattr(model.policy, "mlp_extractor"):
        return model.policy.get_distribution(observations).distribution.mean
    return (
        model.policy.actor(observations)
        if not hasattr(model, "ent_coef")
        else model.policy.actor(observations, deterministic=True)
    )


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_the_critic_reads_the_context_and_the_actor_does_not(algorithm):
    model = agent(algorithm)
    assert type(model.policy) is ASYMMETRIC_POLICIES[algorithm]
    model.learn(64)
    observations = {
        "policy": torch.randn(5, 4, requires_grad=True),
        "privileged": torch.randn(5, 1, requires_grad=True),
    }
    actions = mean_actions(model, observations)
    seen, told = torch.autograd.grad(actions.sum(), list(observations.values()), allow_unused=True)
    assert seen.abs().sum() > 0
    assert told is None or not told.any()
    others = {**observations, "privileged": observations["privileged"] + 5}
    assert torch.equal(actions, mean_actions(model, others))
    estimates = values(model, observations, actions.detach())
    seen, told = torch.autograd.grad(estimates.sum(), list(observations.values()))
    assert (seen != 0).any()
    assert (told != 0).all()
    assert not torch.equal(estimates, values(model, others, actions.detach()))


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_saved_agents_act_identically_where_the_context_is_known_and_where_not(algorithm, tmp_path):
    model = agent(algorithm)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(64)
    moved = {
        name for name, value in model.policy.state_dict().items() if not torch.equal(value, before[name])
    }
    critic = "mlp_extractor.value_net.0.weight" if algorithm == "ppo" else "critic.qf0.0.weight"
    actor = {"ppo": "mlp_extractor.policy_net.0", "sac": "actor.latent_pi.0", "td3": "actor.mu.0"}[algorithm]
    assert {critic, f"{actor}.weight"} <= moved
    assert model.policy.state_dict()[f"{actor}.weight"].shape == (8, 4)
    assert model.policy.state_dict()[critic].shape == (8, 5 if algorithm == "ppo" else 6)
    checkpoint = load_checkpoint(save_checkpoint(model, tmp_path / "agent"))
    assert checkpoint.vision == PrivilegedObservation(("body.pole.mass",), (nominal_mass(),))
    assert checkpoint.policy_kwargs["policy_class"] == ASYMMETRIC_POLICIES[algorithm].__name__
    assert len(checkpoint.observation_layout) == 5
    if CONFIGS[algorithm].normalize_obs:
        assert set(checkpoint.normalizer.mean) == {"policy", "privileged"}
    rng = np.random.default_rng(0)
    observations = {"policy": rng.normal(size=(6, 4)), "privileged": rng.normal(size=(6, 1))}
    expected = Policy.from_model(model).predict(observations)
    np.testing.assert_array_equal(checkpoint.policy().predict(observations), expected)
    write_sb3_zip(checkpoint, tmp_path / "agent.zip")
    again = replace(load_checkpoint(tmp_path / "agent.zip"), normalizer=checkpoint.normalizer)
    np.testing.assert_array_equal(again.policy().predict(observations), expected)
    where = load_reality("pendulum-worn")
    mine, loaded = (evaluate(p, where, 3, 5) for p in (Policy.from_model(model), checkpoint.policy()))
    np.testing.assert_array_equal(mine.returns, loaded.returns)


def test_both_read_it_where_that_is_asked_for(tmp_path):
    model = agent("ppo", who="both")
    assert type(model.policy) is MultiInputActorCriticPolicy
    model.learn(64)
    policy = load_checkpoint(save_checkpoint(model, tmp_path / "agent")).policy()
    assert policy.vision.who == "both"
    light, heavy = (
        policy.predict({"policy": np.zeros((1, 4)), "privileged": np.array([[mass]])}) for mass in (1.0, 20.0)
    )
    assert light != heavy
    assert evaluate(policy, TASK + "@pole.mass=x2", 2).lengths.min() > 0
    with pytest.raises(WarmstartError, match=r"distill"):
        evaluate(policy, load_reality("pendulum-worn"), 1)


def test_one_training_goes_on_like_another():
    one, other = (agent("ppo").learn(128) for _ in range(2))
    for name, value in one.policy.state_dict().items():
        assert torch.equal(value, other.policy.state_dict()[name]), name


def relative_value_error(vision, seed):
    """Error of PPO's critic for a fixed actor, as a share of the returns' variance, on fresh episodes."""
    terms, _ = read_terms({"gravity": "x0.1:x4"})
    config = PPOConfig(
        n_envs=32,
        n_steps=64,
        batch_size=256,
        learning_rate=3e-3,
        net_arch=(32,),
        log_std_init=-3.0,
        normalize_reward=False,
    )
    env = make_training_env(config, TASK, seed, context_source=Randomization(terms, seed), vision=vision)
    model = build_agent(config, env, seed, seams=Seams(trainability=Trainability.frozen("@actor")))
    model.learn(4 * 2048)
    policy = Policy.from_model(model)
    there = policy.wrap(make_vec(TASK, 32, 99, n_threads=1, context_source=Randomization(terms, 99)))
    seen, _ = there.reset(seed=99)
    estimates, rewards, ends = [], [], []
    for _ in range(250):
        standardised = model.policy.obs_to_tensor(policy.normalizer.apply(seen))[0]
        with torch.no_grad():
            estimates.append(model.policy.predict_values(standardised).numpy()[:, 0])
        seen, reward, terminations, truncations, _ = there.step(policy.predict(seen))
        rewards.append(reward)
        ends.append(terminations | truncations)
    returns, following = [], np.zeros(32)
    for reward, end in zip(reversed(rewards), reversed(ends), strict=True):
        following = reward + config.gamma * np.where(end, 0, following)
        returns.append(following)
    kept = slice(0, 120)  # whose episodes end within what was played, nearly all of them
    truth, found = np.array(returns[::-1])[kept], np.array(estimates)[kept]
    return ((truth - found) ** 2).mean() / truth.var()


def test_a_critic_that_knows_gravity_errs_less():
    privileged, plain = (relative_value_error(vision, 0) for vision in (PrivilegedObservation(), None))
    assert privileged < 0.75 * plain


def test_policies_refuse_other_observations_and_a_shared_extractor():
    space, actions = spaces.Dict({"policy": spaces.Box(-1, 1, (2,))}), spaces.Box(-1, 1, (1,))
    with pytest.raises(WarmstartError, match="the keys policy and privileged"):
        AsymmetricActorCriticPolicy(space, actions, lambda _: 0.0)
    full = spaces.Dict({"policy": spaces.Box(-1, 1, (2,)), "privileged": spaces.Box(-1, 1, (3,))})
    for cls in ASYMMETRIC_POLICIES.values():
        with pytest.raises(WarmstartError, match="the actor must not read"):
            cls(full, actions, lambda _: 0.0, share_features_extractor=True)


def test_a_context_becomes_a_code_beside_the_observation():
    space = spaces.Dict({"policy": spaces.Box(-1, 1, (2,)), "privileged": spaces.Box(-1, 1, (3,))})
    extractor = ContextExtractor(space, latent_dim=4, hidden=(5,))
    seen = {"policy": torch.randn(6, 2), "privileged": torch.randn(6, 3)}
    found = extractor(seen)
    assert found.shape == (6, 6)
    assert extractor.features_dim == 6
    assert torch.equal(found[:, :2], seen["policy"])
    first, last = extractor.mu[0], extractor.mu[2]
    by_hand = last(torch.nn.functional.elu(first(seen["privileged"])))
    torch.testing.assert_close(found[:, 2:], by_hand)
    with pytest.raises(WarmstartError, match="PrivilegedObservation"):
        ContextExtractor(spaces.Box(-1, 1, (2,)))


def test_visions_come_back_from_their_plain_values(tmp_path):
    for vision in (PrivilegedObservation(("a",), (0.1,), "both"), StackedFrames(2)):
        assert read_observing(vision.to_json(), tmp_path) == vision
    assert isinstance(PrivilegedObservation().wrap(pendulums()), PrivilegedEnv)
    assert checkpoint_of(agent("ppo")).vision.who == "critic"
