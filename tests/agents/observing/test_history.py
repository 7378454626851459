"""Histories of observations and actions, by hand, in training and in checkpoints."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.evaluation import evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.history import AdaptationExtractor, ObservationHistory
from warmstart.agents.observing.table import read_observing
from warmstart.agents.settings.config import PPOConfig, SACConfig
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec
from warmstart.sim2real.reality import load_reality
from warmstart.transfer.matching.by_name import match

TASK = "InvertedPendulum-v5"


class Counter(gymnasium.Env):
    """Shows how many steps the episode has had, and ten times that, from ``first`` on."""

    observation_space = spaces.Box(-1000, 1000, (2,), np.float64)

    def __init__(self, first, length, discrete=False):
        self.first, self.length, self.t = first, length, 0
        self.action_space = spaces.Discrete(2) if discrete else spaces.Box(1, 5, (1,))

    def _observe(self):
        return np.array([self.first + self.t, 10.0 * self.t])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        self.t += 1
        return self._observe(), 1.0, self.t == self.length, False, {}


def counters(*lengths, discrete=False):
    makers = [lambda i=i, n=n: Counter(100 * i, n, discrete) for i, n in enumerate(lengths)]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def act(*values):
    return np.array(values, np.float32)[:, None]


def test_histories_by_hand():
    env = ObservationHistory(frames=3, actions=True).wrap(counters(9))
    assert env.single_observation_space.shape == (3 * 2 + 2 * 1,)
    first, _ = env.reset()
    assert first.tolist() == [[0, 0, 0, 0, 0, 0, 0, 0]]
    assert env.step(act(2))[0].tolist() == [[0, 0, 0, 0, 1, 10, 0, 2]]
    assert env.step(act(3))[0].tolist() == [[0, 0, 1, 10, 2, 20, 2, 3]]
    assert env.step(act(7))[0].tolist() == [[1, 10, 2, 20, 3, 30, 3, 5]], "within the actions' range"
    assert env.single_observation_space.low[-2:].tolist() == [0, 0], "zero stands for no action yet"
    assert env.single_observation_space.high[-2:].tolist() == [5, 5]


def test_nothing_leaks_over_episodes_and_final_observations_have_their_own_history():
    env = ObservationHistory(frames=2).wrap(counters(2, 5))
    env.reset()
    env.step(act(1, 2))
    seen, _, terminations, _, infos = env.step(act(3, 4))
    assert terminations.tolist() == [True, False]
    assert infos["final_obs"][0].tolist() == [1, 10, 2, 20, 3]
    assert infos["final_obs"][1] is None
    assert seen.tolist() == [[0, 0, 0, 0, 0], [101, 10, 102, 20, 4]]
    kept = seen.copy()
    following = env.step(act(5, 5))[0]
    assert following.tolist() == [[0, 0, 1, 10, 5], [102, 20, 103, 30, 5]]
    np.testing.assert_array_equal(seen, kept)  # what was handed out doesn't change any more


def test_one_frame_is_the_observation_and_actions_can_be_left_out():
    env = ObservationHistory(frames=1).wrap(counters(9))
    env.reset()
    assert env.step(act(2))[0].tolist() == [[1, 10]]
    env = ObservationHistory(frames=2, actions=False).wrap(counters(9, discrete=True))
    env.reset()
    assert env.step(np.array([1]))[0].tolist() == [[0, 0, 1, 10]]


def test_a_masked_reset_begins_only_some_histories():
    env = ObservationHistory(frames=2).wrap(make_vec(TASK, 2, 0, n_threads=1))
    env.reset(seed=0)
    before = env.step(act(1, 2))[0]
    after, _ = env.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_array_equal(after[0, :4], after[0, 4:8])
    assert after[0, 8] == 0
    assert before[0, 8] == 1


def test_sb3_gets_final_histories():
    env = as_sb3(ObservationHistory(frames=2).wrap(counters(2, 5)))
    env.reset()
    env.step(act(1, 2))
    _, _, dones, infos = env.step(act(3, 4))
    assert dones.tolist() == [True, False]
    assert infos[0]["terminal_observation"].tolist() == [1, 10, 2, 20, 3]


def test_names_say_how_old_a_number_is_and_the_newest_match_those_of_the_plain_task():
    plain = make_vec(TASK, 1, n_threads=1)
    env = ObservationHistory(frames=3).wrap(plain)
    layout, own = env.observation_layout, plain.observation_layout.names
    action = plain.action_layout.names[0]
    assert layout.names == (
        *(f"{name}@-2" for name in own),
        *(f"{name}@-1" for name in own),
        *own,
        f"action.{action}@-2",
        f"action.{action}@-1",
    )
    assert layout.dimensions[-1].high == 3
    assert layout.dimensions[0].unit == plain.observation_layout.dimensions[0].unit
    found = match(plain.observation_layout, layout, (4, 14), None, "observation")
    assert found.indices == (None,) * 8 + (0, 1, 2, 3) + (None,) * 2
    assert ObservationHistory(2).wrap(counters(3)).observation_layout.names[-3:] == (
        "obs[0]",
        "obs[1]",
        "action.action[0]@-1",
    )


def test_a_saved_environment_goes_on_bit_for_bit():
    def build():
        return ObservationHistory(4).wrap(make_vec(TASK, 2, 0, n_threads=1))

    env, other = build(), build()
    env.reset(seed=0)
    for _ in range(3):
        env.step(act(1, -2))
    other.reset(seed=5)
    other.load_state_dict(env.state_dict())
    ended = 0
    for _ in range(30):
        (a, _, done, _, _), (b, *_) = (e.step(act(2, -2)) for e in (env, other))
        np.testing.assert_array_equal(a, b)
        ended += done.sum()
    assert ended


@pytest.mark.parametrize(
    "config",
    [
        PPOConfig(n_envs=2, n_steps=16, batch_size=16, n_epochs=1, net_arch=(8,)),
        SACConfig(n_envs=2, buffer_size=100, learning_starts=8, batch_size=8, net_arch=(8,)),
    ],
    ids=["ppo", "sac"],
)
def test_agents_train_on_histories_and_come_back_from_checkpoints(config, tmp_path):
    env = make_training_env(config, TASK, 0, vision=ObservationHistory(3))
    model = build_agent(config, env, 0).learn(32)
    checkpoint = load_checkpoint(save_checkpoint(model, tmp_path / "agent"))
    assert checkpoint.vision == ObservationHistory(3)
    assert len(checkpoint.observation_layout) == 14
    for where in (TASK, load_reality("pendulum-worn")):
        policies = (Policy.from_model(model), checkpoint.policy())
        mine, loaded = (evaluate(policy, where, episodes=2, seed=3) for policy in policies)
        np.testing.assert_array_equal(mine.returns, loaded.returns)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ObservationHistory(0), "frames: expected a number at least 1, found 0"),
        (lambda: ObservationHistory(2).wrap(make_vec("CartPole-v1", 1)), "actions=False"),
        (lambda: ObservationHistory(2).wrap(make_vec("FrozenLake-v1", 1)), "observations that are vectors"),
        (lambda: AdaptationExtractor(spaces.Box(-1, 1, (8,)), frames=1, n_actions=1), "at least 2 frames"),
        (lambda: AdaptationExtractor(spaces.Box(-1, 1, (9,)), frames=3, n_actions=1), "found frames=3"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(WarmstartError, match=message):
        make()


def test_the_adaptation_module_reads_transitions_in_their_order():
    """Histories of 3 observations of 2 numbers, and the 2 actions between them."""
    extractor = AdaptationExtractor(
        spaces.Box(-9, 9, (8,)), frames=3, n_actions=1, latent_dim=4, embedding=5, hidden=(6,)
    )
    assert extractor.features_dim == 2 + 4
    seen = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8]])
    transitions = torch.tensor([[1.0, 2, 7, 3, 4], [3, 4, 8, 5, 6]])
    embedded = torch.nn.functional.elu(extractor.embed(transitions)).reshape(1, 10)
    found = extractor(seen)
    torch.testing.assert_close(found[:, 2:], extractor.phi(embedded))
    assert found[0, :2].tolist() == [5, 6]


def test_it_comes_back_from_its_plain_values(tmp_path):
    assert read_observing(ObservationHistory(5, actions=False).to_json(), tmp_path) == ObservationHistory(
        5, actions=False
    )
