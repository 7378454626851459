"""Environments as people have them: infos of any form, NaN, episodes without an end."""

import copy
import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO

from warmstart.agents.evaluation import evaluate
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec


class Odd(gymnasium.Env):
    """Counts its steps; `kind` says what is odd."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, kind="plain"):
        self.kind = kind
        box = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = spaces.Dict({"arm": box}) if kind == "nan in a dict" else box

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observation(), self.info()

    def step(self, action):
        self.t += 1
        reward = np.nan if self.kind == "nan reward" and self.t == 3 else 1.0
        return self.observation(), reward, False, False, self.info()

    def observation(self):
        bad = {"nan": (3, np.nan), "nan in a dict": (3, np.nan), "inf at the end": (5, np.inf)}
        step, value = bad.get(self.kind, (-1, 0.0))
        found = np.array([self.t, value if self.t == step else 0.0])
        return {"arm": found} if isinstance(self.observation_space, spaces.Dict) else found

    def info(self):
        t = self.t
        return {
            "ragged": {"contacts": np.arange(1.0 + t % 3)},
            "types": {"value": 3 if t % 2 else "three"},
            "fractions": {"n": 1 if t % 2 else 1.5},
            "sometimes nested": {"state": {"a": 1} if t % 2 else 7},
            "private": {"_private": 1.0, "private": 2.0},
            "empty": {"": 1 + t},
            "numbered": {4: t},
        }.get(self.kind, {})


@pytest.fixture(scope="module", autouse=True)
def _registered():
    gymnasium.register("odd/Odd-v0", entry_point=Odd, max_episode_steps=5)
    gymnasium.register("odd/Endless-v0", entry_point=Odd)
    yield
    for name in ("odd/Odd-v0", "odd/Endless-v0"):
        del gymnasium.registry[name]


def make(kind, n=2):
    return as_sb3(make_vec(f'odd/Odd-v0:kind="{kind}"', n, 0))


@pytest.mark.parametrize(
    ("kind", "key", "at_odd", "at_even"),
    [
        ("types", "value", 3, "three"),
        ("fractions", "n", 1, 1.5),
        ("sometimes nested", "state", {"a": 1}, 7),
    ],
)
@pytest.mark.parametrize("n", [1, 3])
def test_infos_that_change_their_type_arrive_as_they_are(kind, key, at_odd, at_even, n):
    env = make(kind, n)
    env.reset()
    assert [row[key] for row in env.reset_infos] == [at_even] * n
    for t in range(1, 8):  # an episode ends at 5: its last info, not that of the reset
        _, _, dones, infos = env.step(np.zeros((n, 1)))
        assert dones.all() == (t == 5)
        step = t if t <= 5 else t - 5
        assert [row[key] for row in infos] == [at_odd if step % 2 else at_even] * n
    env.close()


def test_environments_at_different_steps_may_differ_in_shape():
    env = make("ragged")
    env.reset()
    env.vector_env._env.envs[1].unwrapped.t = 1
    for t in range(1, 4):
        *_, infos = env.step(np.zeros((2, 1)))
        assert [len(row["contacts"]) for row in infos] == [1 + t % 3, 1 + (t + 1) % 3]


def test_odd_names_are_kept_or_told():
    env = make("empty")
    env.reset()
    assert [row[""] for row in env.step(np.zeros((2, 1)))[3]] == [2, 2]
    env = make("private")
    with pytest.warns(UserWarning, match="'_private' is left out: it would be the mask of 'private'"):
        env.reset()
    assert [row["private"] for row in env.step(np.zeros((2, 1)))[3]] == [2.0, 2.0]
    env = make("numbered")
    with pytest.warns(UserWarning, match="info entry 4 is called '4'"):
        env.reset()
    assert [row["4"] for row in env.step(np.zeros((2, 1)))[3]] == [1, 1]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nan", r"environment 0 gave nan as observation\[1\] in step 3"),
        ("nan in a dict", r"gave nan as observation arm\[1\] in step 3"),
        ("nan reward", r"gave nan as reward in step 3"),
        ("inf at the end", r"gave inf as observation\[1\] in step 5"),
    ],
)
def test_numbers_that_are_not_finite_end_at_once(kind, said):
    env = make(kind)
    env.reset()
    for _ in range(int(said[-1]) - 1):
        env.step(np.zeros((2, 1)))
    with pytest.raises(WarmstartError, match="odd/Odd-v0.*: .*" + said):
        env.step(np.zeros((2, 1)))


def test_an_episode_without_an_end_is_noticed():
    with pytest.raises(WarmstartError, match=r"within 10,000 steps.*Endless-v0:time_limit=1000"):
        evaluate(lambda observations: np.zeros((2, 1)), "odd/Endless-v0", episodes=2)
    found = evaluate(lambda observations: np.zeros((2, 1)), "odd/Endless-v0:time_limit=7", episodes=2)
    assert found.lengths.tolist() == [7, 7]


def _steps(kind, n=4):
    env = as_sb3(make_vec(_shaped(kind), n_envs=2))
    env.reset()
    return [env.step(np.zeros((2, 1), np.float32)) for _ in range(n)]


def _shaped(kind):
    name = f"Odd/{kind.replace(' ', '-')}-v0"
    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point=lambda **_: Shaped(kind), max_episode_steps=3)
    return name


class Shaped(Odd):
    """Gives rewards, observations or infos of another form than Gymnasium's."""

    def __init__(self, kind):
        super().__init__("plain")
        self.form = kind
        if kind == "nested":
            self.observation_space = spaces.Dict({"arm": spaces.Box(-1, 1, (2,), np.float64)})

    def observation(self):
        found = super().observation()
        return {
            "column": np.zeros((2, 1)), "short": np.zeros(1), "ragged": [[1.0], [1.0, 2.0]],
            "nested": {"arm": np.zeros(3 if self.t else 2)},
        }.get(self.form, found)  # fmt: skip

    def step(self, action):
        observation, reward, *rest, info = super().step(action)
        reward = {"reward of one": np.array([2.5]), "rewards": [1.0, 2.0]}.get(self.form, reward)
        if self.form == "large":
            info = {"large": 2**63 + self.t, "inside": {"larger": 2**70}}
        if self.form == "text":
            info = {"TimeLimit.truncated": "never"}
        return observation, reward, *rest, info


@pytest.mark.filterwarnings("ignore:.*reward returned by")
def test_a_reward_in_an_array_is_taken_and_said(caplog):
    assert [step[1].tolist() for step in _steps("reward of one")] == [[2.5, 2.5]] * 4
    assert "Shaped: the reward has the shape (1,); its number is taken." in caplog.text


def test_whole_numbers_of_any_size_pass_as_infos():
    steps = _steps("large")
    assert steps[0][3][1]["large"] == 2**63 + 1
    assert steps[0][3][0]["inside"] == {"larger": 2**70}
    assert steps[2][3][0]["large"] == 2**63 + 3  # of the episode's last step


def test_who_counts_the_time_says_when_it_is_over():
    steps = _steps("text")
    assert [step[3][0]["TimeLimit.truncated"] for step in steps] == [False, False, True, False]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "column",
            r"Shaped: observation has the shape \(2, 1\) in step 0; its observation_space says \(2,\)",
        ),
        ("short", r"observation has the shape \(1,\) in step 0"),
        ("ragged", "observation has the shape of lists of different lengths in step 0"),
        ("nested", r"observation\['arm'\] has the shape \(3,\) in step 1"),
        ("rewards", r"the reward has the shape \(2,\); expected one number"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # Gymnasium's checker warns of the same first
def test_other_shapes_are_refused(kind, said):
    with pytest.raises(WarmstartError, match=said):
        _steps(kind)


class Counting(Odd):
    """Has entries of its own under names that SB3 takes for a Monitor's."""

    def __init__(self, value):
        super().__init__("plain")
        self.value = value

    def info(self):
        return copy.deepcopy(self.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"episode": None}, ""),
        ({"episode": 3}, "'episode' is left out, found 3: stable-baselines3 takes it for a Monitor's"),
        ({"episode": "train"}, "'episode' is left out, found 'train'"),
        ({"episode": {"r": 5.0}}, "'episode' is left out, found {'r': 5.0}"),
        ({"is_success": "yes"}, "'is_success' is left out, found 'yes': .* whether an episode succeeded"),
        ({"is_success": True}, ""),
    ],
)
def test_entries_that_sb3_would_count_are_counted_or_left_out(value, said, caplog):
    name = "odd/Counting-v0"
    gymnasium.register(name, entry_point=lambda **_: Counting(value), max_episode_steps=5)
    env = as_sb3(make_vec(name, 2, 0))
    try:
        model = PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, device="cpu").learn(64)
    finally:
        del gymnasium.registry[name]
    assert [episode["r"] for episode in model.ep_info_buffer] == [5.0] * 12
    assert list(model.ep_success_buffer) == ([True] * 12 if value.get("is_success") is True else [])
    assert bool(caplog.text) == bool(said)
    assert re.search(said, caplog.text)
    assert len(caplog.records) <= 1
