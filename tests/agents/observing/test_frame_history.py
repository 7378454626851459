import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from warmstart.agents.observing.frames import EncodedVectorEnv, StackedVectorEnv, frame_space
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3


class Counter(gymnasium.Env):
    """Shows how many steps the episode has had, as the brightness of its pixels."""

    def __init__(self, first: int, length: int, with_state: bool = False) -> None:
        frame = spaces.Box(0, 255, (4, 5, 3), np.uint8)
        self.observation_space = frame
        if with_state:
            self.observation_space = spaces.Dict({"pixels": frame, "state": spaces.Box(-9, 9, (2,))})
        self.action_space = spaces.Box(-1, 1, (1,))
        self.first, self.length, self.with_state, self.t = first, length, with_state, 0

    def _observe(self):
        frame = np.full((4, 5, 3), self.first + self.t, np.uint8)
        return (
            {"pixels": frame, "state": np.array([self.t, -self.t], np.float32)} if self.with_state else frame
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        self.t += 1
        return self._observe(), 1.0, self.t == self.length, False, {}

    def saved(self):
        return self.t


def counters(*lengths, with_state=False):
    makers = [lambda i=i, n=n: Counter(100 * i, n, with_state) for i, n in enumerate(lengths)]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


class Brightness:
    """Encodes a frame as its brightness and the square of it; remembers how many frames it was given."""

    def __init__(self):
        self.frames = 0

    def __call__(self, frames):
        assert frames.dtype == np.uint8
        self.frames += len(frames)
        value = frames[:, 0, 0, :1].astype(np.float32)
        return np.concatenate([value, value**2 / 10], axis=1)


def act(n):
    return np.zeros((n, 1), np.float32)


def test_features_and_their_differences_by_hand():
    env = EncodedVectorEnv(counters(9), Brightness(), 2, frames=3, difference=5.0)
    assert env.single_observation_space.shape == (8,)
    first, _ = env.reset()
    assert first.dtype == np.float32
    np.testing.assert_allclose(first, [[0, 0, 0, 0, 0, 0, 0, 0]])
    env.step(act(1))
    seen, *_ = env.step(act(1))  # brightness 0, 1, 2
    np.testing.assert_allclose(seen, [[1, 0.1, 2, 0.4, 5, 0.5, 5, 1.5]], rtol=1e-6)
    env = EncodedVectorEnv(counters(9), Brightness(), 2, frames=1)
    env.reset()
    np.testing.assert_allclose(env.step(act(1))[0], [[1, 0.1]], rtol=1e-6)


def test_only_new_frames_are_encoded_and_each_once():
    encode = Brightness()
    env = EncodedVectorEnv(counters(3, 5), encode, 2, frames=3)
    env.reset()
    assert encode.frames == 2
    env.step(act(2))
    assert encode.frames == 4
    env.step(act(2))
    env.step(act(2))  # the first episode ends: its last frame and the next one's first are new
    assert encode.frames == 9


@pytest.mark.parametrize("with_state", [False, True])
def test_final_observations_and_the_history_of_the_next_episode(with_state):
    env = EncodedVectorEnv(counters(3, 9, with_state=with_state), Brightness(), 2, frames=2, difference=1.0)
    env.reset()
    for _ in range(3):
        seen, _, terminations, _, infos = env.step(act(2))
    assert terminations.tolist() == [True, False]
    final = infos["final_obs"]
    assert final[1] is None
    np.testing.assert_allclose(final[0][:4], [3, 0.9, 1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(seen[0][:4], [0, 0, 0, 0], atol=0)  # nothing moved before the first frame
    np.testing.assert_allclose(seen[1][:4], [103, 1060.9, 1, 20.5], rtol=1e-5)
    if with_state:
        np.testing.assert_allclose(final[0][4:], [3, -3])
        np.testing.assert_allclose(seen[0][4:], [0, 0])


def test_stacks_hold_the_last_frames_oldest_first_channels_first():
    env = StackedVectorEnv(counters(3), frames=3)
    assert env.single_observation_space.shape == (9, 4, 5)
    assert env.single_observation_space.dtype == np.uint8
    env.reset()
    env.step(act(1))
    seen, *_ = env.step(act(1))
    assert [int(seen[0, c, 0, 0]) for c in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    seen, _, _, _, infos = env.step(act(1))
    assert [int(infos["final_obs"][0][c, 1, 1]) for c in range(0, 9, 3)] == [1, 2, 3]
    assert not seen.any(), "a new episode's stack repeats its first frame"
    seen_before = seen.copy()
    env.step(act(1))
    np.testing.assert_array_equal(seen, seen_before)  # what was handed out doesn't change any more


def test_stacks_beside_the_state_and_through_the_sb3_adapter():
    env = as_sb3(StackedVectorEnv(counters(2, 5, with_state=True), frames=2))
    first = env.reset()
    assert first["pixels"].shape == (2, 6, 4, 5)
    env.step(act(2))
    _, _, dones, infos = env.step(act(2))
    assert dones.tolist() == [True, False]
    assert infos[0]["terminal_observation"]["pixels"][3:].max() == 2
    assert infos[0]["terminal_observation"]["state"].tolist() == [2, -2]


def test_attributes_inside_are_reachable_and_layouts_are_opaque():
    env = EncodedVectorEnv(counters(4, with_state=True), Brightness(), 2, block="abc")
    layout = env.observation_layout
    assert layout.names[:4] == ("feature[0]", "feature[1]", "feature[2]", "feature[3]")
    assert {d.block for d in layout.dimensions[:4]} == {"abc"}
    assert len(layout) == 6
    assert layout.dimensions[4].block == ""
    with pytest.raises(AttributeError):
        _ = env.nonsense


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1, 1, (5,)), "obs=pixels"),
        (spaces.Box(0, 255, (8, 8, 1), np.uint8), "not grey-scale or alpha"),
        (spaces.Box(0, 255, (8, 8, 4), np.uint8), "not grey-scale or alpha"),
        (spaces.Box(0, 1, (8, 8, 3), np.float32), "uint8 from 0 to 255"),
        (spaces.Box(0, 255, (3, 8, 8), np.uint8), "channels last"),
        (spaces.Dict({"image": spaces.Box(0, 255, (8, 8, 3), np.uint8)}), "obs=pixels"),
        (spaces.Discrete(3), "obs=pixels"),
    ],
)
def test_observations_that_are_no_frames_are_refused(space, message):
    with pytest.raises(WarmstartError, match=message):
        frame_space(space)


def test_a_history_needs_a_frame():
    with pytest.raises(WarmstartError, match="at least 1 frame"):
        StackedVectorEnv(counters(3), frames=0)


@pytest.mark.usefixtures("opengl")
def test_state_dict_restores_simulation_and_history():
    from warmstart.envs.vector import make_vec

    def build():
        env = make_vec("InvertedPendulum-v5:obs=pixels,size=16", 2, seed=0)
        return EncodedVectorEnv(env, lambda f: f.reshape(len(f), -1)[:, :50].astype(np.float32), 50, frames=3)

    env, other = build(), build()
    env.reset(seed=0)
    env.step(np.ones((2, 1), np.float32))
    other.reset(seed=4)
    other.load_state_dict(env.state_dict())
    for _ in range(3):
        a, b = (e.step(np.ones((2, 1), np.float32))[0] for e in (env, other))
        np.testing.assert_array_equal(a, b)
