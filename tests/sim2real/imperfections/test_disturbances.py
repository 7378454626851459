"""Pushes and noisy starts."""

import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.core.files import json_hash
from warmstart.core.plain import read
from warmstart.envs.vector import make_vec
from warmstart.sim2real.imperfections.disturbances import Disturbances, Push, StartNoise

PUSH = {"push": {"force": [0.1, 0.3], "every": [0.1, 0.2], "duration": 0.05}}
STILL = np.zeros((3, 3), np.float32)


def made(written, n=3, task="Hopper-v5", seed=0):
    perturbations = read(Disturbances, written).perturbations(seed)
    return make_vec(task, n, seed=0, perturbations=perturbations, n_threads=1)


def test_a_push_acts_for_its_time_with_its_size_and_direction():
    """Hopper's control step is 8 ms: 6 steps of a push of 0.05 s, the gaps from 12 to 25 steps."""
    env = made(PUSH)
    env.reset(seed=0)
    weight = env.sim.model.body_subtreemass[1] * 9.81
    forces = []
    for _ in range(40):
        env.step(STILL)
        forces.append(env.sim.read("xfrc_applied")[:, 1, :3].copy())
        assert (env.episode_ids == 0).all()
    forces = np.array(forces)
    assert (forces[:, :, 2] == 0).all()
    sizes = np.linalg.norm(forces, axis=2)
    for size in sizes.T:
        acting = size > 0
        starts = np.flatnonzero(acting[1:] & ~acting[:-1]) + 1
        ends = np.flatnonzero(~acting[1:] & acting[:-1]) + 1
        assert 12 <= starts[0] <= 25
        assert all(12 <= gap <= 26 for gap in np.diff(starts))
        assert ends[0] - starts[0] == 6
        assert len(set(size[starts[0] : ends[0]])) == 1
        assert 0.1 * weight <= size[starts[0]] <= 0.3 * weight
    assert len(np.unique(sizes[sizes > 0])) >= 3
    env.close()


def test_pushes_depend_on_seed_environment_and_episode_only():
    def path(n, seed):
        env = made(PUSH, n, seed=seed)
        env.reset(seed=0)
        seen = [env.step(np.ones((n, 3), np.float32))[0][:2] for _ in range(120)]
        assert env.episode_ids.min() > 0
        env.close()
        return np.array(seen)

    np.testing.assert_array_equal(path(2, 0), path(5, 0))
    assert (path(2, 0) != path(2, 1)).any()


def test_starts_vary_within_their_bounds_and_stay_sound():
    env = made({"start": {"position": 0.2, "velocity": 0.5}}, 200, "Ant-v5")
    plain = make_vec("Ant-v5", 200, seed=0, n_threads=1)
    env.reset(seed=0)
    plain.reset(seed=0)
    moved = env.sim.qpos - plain.sim.qpos
    hinges = moved[:, 7:]
    assert np.abs(hinges).max() <= 0.2 + 1e-12
    np.testing.assert_allclose(hinges.std(axis=0), 0.4 / np.sqrt(12), rtol=0.2)
    assert (moved[:, 2] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(env.sim.qpos[:, 3:7], axis=1), 1, rtol=1e-12)
    kicks = env.sim.qvel - plain.sim.qvel
    assert np.abs(kicks).max() <= 0.5 + 1e-12
    np.testing.assert_allclose(kicks.std(axis=0), 1 / np.sqrt(12), rtol=0.2)
    first = env.sim.qpos.copy()
    env.reset()
    assert (env.sim.qpos[:, 7:] != first[:, 7:]).all()
    env.close()
    plain.close()


def test_a_saved_environment_goes_on_with_the_same_pushes():
    envs = [made(PUSH | {"start": {"position": 0.05}}) for _ in range(2)]
    envs[0].reset(seed=0)
    for _ in range(30):
        envs[0].step(STILL)
    envs[1].load_state_dict(envs[0].state_dict())
    for _ in range(120):
        first, second = (env.step(STILL) for env in envs)
        np.testing.assert_array_equal(first[0], second[0])
    for env in envs:
        env.close()


def test_nothing_is_done_where_nothing_is_asked_for():
    assert read(Disturbances, {}).perturbations(0) == ()
    assert Disturbances(push=Push(force=(0, 0)), start=StartNoise()).perturbations(0) == ()


def test_settings_are_read_and_written():
    written = {"push": {"force": 0.2, "body": "torso", "upwards": True}, "start": {"velocity": 1}}
    found = read(Disturbances, written)
    assert found.push == Push(force=(0.2, 0.2), body="torso", upwards=True)
    assert read(Disturbances, found.to_json()) == found
    sha256 = "d6b33b88d01ca32d07c5c9d5b252e20ca3a76c3ccc60b0301c5a2c02c1699388"
    assert json_hash(found.to_json()) == sha256, "whole numbers stay whole"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"pusch": {}}, "Did you mean 'push'"),
        ({"push": 3}, "push: expected a mapping with force, .*, found 3"),
        ({"push": {"every": 1}}, "push.*'force' is missing"),
        ({"push": {"force": [0.3, 0.1]}}, "expected force from low to high"),
        ({"push": {"force": [1, 2, 3]}}, r"push.force: expected a list of 2 values, found \[1, 2, 3\]"),
        ({"push": {"force": 0.1, "every": 0.05}}, "below 0.05 s, the shortest time"),
        ({"push": {"force": 0.1, "durat": 1}}, "Did you mean 'duration'"),
        ({"push": {"force": "hard"}}, r"push.force\[0\]: expected a number, found 'hard'"),
        ({"push": {"force": [0.1, True]}}, r"push.force\[1\]: expected a number, found True"),
        (
            {"push": {"force": 0.1, "duration": [1, 2]}},
            r"push.duration: expected a whole .*, found \[1, 2\]",
        ),
        ({"push": {"force": 0.1, "body": 3}}, "push.body: expected text, found 3"),
        ({"push": {"force": 0.1, "upwards": 1}}, "push.upwards: expected true or false, found 1"),
        (
            {"start": {"position": [0.1]}},
            r"start.position: expected a whole .*, found \[0.1\]",
        ),
        ([1], r"expected a mapping with push, start, found \[1\]"),
        ({"start": {"position": -1}}, "start.position: expected a number at least 0 and finite, found -1"),
    ],
)
def test_mistakes_are_named(written, said):
    with pytest.raises(WarmstartError, match=said):
        read(Disturbances, written)


def test_an_unknown_body_is_named_and_a_fixed_one_refused():
    with pytest.raises(WarmstartError, match="Did you mean 'torso'"):
        made({"push": {"force": 0.1, "body": "torsso"}}).reset(seed=0)
    with pytest.raises(WarmstartError, match="can't be pushed"):
        made({"push": {"force": 0.1, "body": "world"}}).reset(seed=0)
