import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.transfer.moving_square import SIZE, MovingSquare, generator, picture
from warmstart.core.errors import WarmstartError
from warmstart.envs.vector import make_vec
from warmstart.transfer.frames.collect import collect_frames
from warmstart.transfer.frames.data import FrameData, FrameSampler, join_frames


def collect(env=None, steps=40, policy=None, seed=0, **options):
    return collect_frames(env or MovingSquare(), steps, policy, rng=np.random.default_rng(seed), **options)


def numbered(starts, n_envs=2):
    """Frames that hold the number of their step and environment."""
    starts = np.repeat(np.asarray(starts, dtype=bool)[:, None], n_envs, axis=1)
    steps = len(starts)
    frames = np.zeros((steps, n_envs, 8, 8, 3), dtype=np.uint8)
    frames[:, :, 0, 0, 0], frames[:, :, 0, 0, 1] = np.arange(steps)[:, None], np.arange(n_envs)
    actions = np.arange(steps * n_envs, dtype=np.float32).reshape(steps, n_envs, 1)
    return FrameData(frames, actions, starts)


def test_columns_hold_whole_episodes_with_their_last_frames():
    data = collect(steps=40)
    assert data.frames.shape == (40, 4, SIZE, SIZE, 3)
    for env, length in enumerate(range(7, 11)):
        starts = np.flatnonzero(data.starts[:, env])
        np.testing.assert_array_equal(starts, np.arange(0, 40, length + 1))  # one frame more than steps
        last = starts[1:] - 1
        assert np.isnan(data.actions[last, env]).all()
        going = np.setdiff1d(np.arange(39), last)
        assert np.isfinite(data.actions[going, env]).all()


def test_frames_states_and_actions_belong_together():
    data = collect(steps=30)
    for step, env in np.ndindex(30, 4):
        np.testing.assert_array_equal(data.frames[step, env], picture(data.state[step, env]))
    for step, env in data.starts_at((0, 1)):
        moved = np.clip(data.state[step, env] + 0.2 * data.actions[step, env], 0, 1)
        np.testing.assert_allclose(data.state[step + 1, env], moved, atol=1e-6)


def test_frames_alone_have_no_state():
    data = collect(MovingSquare(with_state=False), steps=20)
    assert data.state is None
    assert np.array_equal(data.frames, collect(steps=20).frames)


def test_same_seed_same_frames_and_another_seed_others():
    first, again, other = collect(), collect(), collect(seed=1)
    for name in ("frames", "actions", "starts", "state"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.frames, other.frames)


def test_random_actions_are_held():
    data = collect(MovingSquare(2, length=500), steps=400, hold=4)
    changes = (data.actions[1:-1] != data.actions[:-2]).any(axis=2).mean()
    assert 0.3 < changes < 0.5  # a hold lasts 2.5 steps on average
    always = collect(MovingSquare(2, length=500), steps=100, hold=1).actions
    assert (always[1:-1] != always[:-2]).any(axis=2).all()


def test_some_episodes_are_more_vigorous_than_others():
    data = collect(MovingSquare(8, length=500), steps=200, hold=1)
    largest = np.nanmax(np.abs(data.actions), axis=(0, 2))
    assert largest.max() > 0.8
    assert largest.min() < 0.5


def test_discrete_actions_are_one_hot():
    env = SyncVectorEnv([lambda: _Discrete()] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    data = collect(env, steps=12)
    known = data.actions[np.isfinite(data.actions).all(axis=2)]
    assert data.actions.shape == (12, 2, 3)
    np.testing.assert_array_equal(known.sum(axis=1), 1)
    env.close()


class _Discrete(gymnasium.Env):
    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((8, 8, 3), np.uint8), {}

    def step(self, action):
        return np.full((8, 8, 3), action, np.uint8), 0.0, False, bool(self.np_random.random() < 0.2), {}


def test_a_policy_acts_alone_or_beside_random_actions():
    def policy(observations):
        return 1 - 2 * observations["state"]

    alone = collect(policy=policy, random_share=0.0)
    known = np.isfinite(alone.actions).all(axis=2)
    np.testing.assert_allclose(alone.actions[known], (1 - 2 * alone.state)[known], atol=1e-6)
    mixed = collect(policy=policy, random_share=0.5, steps=200)
    known = np.isfinite(mixed.actions).all(axis=2)
    follows = np.isclose(mixed.actions, 1 - 2 * mixed.state, atol=1e-5).all(axis=2)[known].mean()
    assert 0.4 < follows < 0.6


def test_windows_never_cross_the_end_of_an_episode():
    starts = [1, 0, 0, 1, 0, 1, 0, 0, 0, 0]
    data = numbered(starts)
    found = {tuple(window) for window in data.starts_at((0, 2)).tolist()}
    assert found == {(step, env) for step in (0, 5, 6, 7) for env in (0, 1)}


@pytest.mark.parametrize("offsets", [(0,), (0, 1), (0, 3), (0, 1, 2)])
def test_samples_hold_the_frames_of_one_episode(offsets):
    data = collect(steps=60)
    episodes = np.cumsum(data.starts, axis=0) * 10 + np.arange(4)
    marked = FrameData(
        np.zeros((60, 4, 8, 8, 3), np.uint8) + episodes[:, :, None, None, None].astype(np.uint8),
        np.arange(240, dtype=np.float32).reshape(60, 4, 1),
        data.starts,
    )
    batch = FrameSampler(marked, offsets).sample(128, generator())
    assert batch.frames.shape == (len(offsets), 128, 8, 8, 3)
    assert (batch.frames == batch.frames[:1]).all()
    steps = batch.actions[:, :, 0] - batch.actions[:1, :, 0]
    assert (steps == 4 * torch.tensor(offsets)[:, None]).all()


def test_every_window_is_drawn_equally_often():
    data = numbered([1, 0, 0, 0, 1, 0])
    batch = FrameSampler(data, (0, 1)).sample(8000, generator())
    _, counts = batch.frames[0, :, 0, 0, :2].unique(dim=0, return_counts=True)
    assert len(counts) == 8
    assert counts.min() > 850


def test_samples_come_from_the_generator_alone():
    sampler = FrameSampler(collect(), (0, 2))
    torch.manual_seed(0)
    first = sampler.sample(16, generator(5))
    torch.manual_seed(1)
    assert torch.equal(sampler.sample(16, generator(5)).frames, first.frames)
    assert not torch.equal(sampler.sample(16, generator(6)).frames, first.frames)


def test_too_few_frames():
    with pytest.raises(WarmstartError, match=r"episodes of at least 12 frames, found 160 frames of"):
        FrameSampler(collect(), (0, 11))


def test_tasks_side_by_side():
    first = collect(steps=20, task="A")
    second = collect(MovingSquare(3, action_space=spaces.Box(-1, 1, (3,), np.float32)), steps=20, task="B")
    joined = join_frames([first, second])
    assert joined.frames.shape[:2] == (20, 7)
    assert joined.tasks == ("A", "B")
    assert np.isnan(joined.actions[:, :4, 2]).all()
    np.testing.assert_array_equal(joined.actions[:, 4:], second.actions)
    np.testing.assert_array_equal(joined.frames[:, :4], first.frames)


def test_tasks_of_other_sizes_cannot_be_joined():
    other = numbered([1] + 19 * [0])
    with pytest.raises(WarmstartError, match=r"one size, found .*8, 8.* and .*32, 32.* option size"):
        join_frames([collect(steps=20), other])
    with pytest.raises(WarmstartError, match="at least one task"):
        join_frames([])


def test_observations_without_pixels():
    env = make_vec("CartPole-v1", 2)
    with pytest.raises(WarmstartError, match=r"colour frames.*obs=pixels"):
        collect(env)
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1}, "at least 2 steps"),
        ({"hold": 0}, "hold of at least 1"),
        ({"random_share": 0.5}, "1 without a policy"),
        (
            {"policy": lambda observations: np.zeros((1, 2)), "random_share": 0.0},
            r"\(1, 2\), expected \(4, 2\)",
        ),
    ],
)
def test_mistakes_in_what_is_asked_for(options, message):
    with pytest.raises(WarmstartError, match=message):
        collect(**options)


def test_shapes_are_checked():
    data = numbered([1, 0])
    with pytest.raises(WarmstartError, match=r"uint8 and shape .*found float32"):
        FrameData(data.frames.astype(np.float32), data.actions, data.starts)
    with pytest.raises(WarmstartError, match=r"actions with 3 axes, the first \(2, 2\)"):
        FrameData(data.frames, data.actions[:1], data.starts)


def test_frames_of_a_mujoco_task(opengl):
    env = make_vec("InvertedPendulum-v5:obs=pixels+state,size=24", 3, n_threads=1)
    data = collect(env, steps=30, task="InvertedPendulum-v5")
    env.close()
    assert data.frames.shape == (30, 3, 24, 24, 3)
    assert data.state.shape == (30, 3, 4)
    assert np.isfinite(data.state).all()
    assert data.starts.sum() > 3
