"""Divergence, saved states and frames of the batched environment."""

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.robots.base import MujocoTask
from warmstart.envs.tasks.hooks import Perturbation
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec

STEPPERS = [("HalfCheetah-v5", "batch"), ("HalfCheetah-v5", "threads"), ("Ant-v5", "threads")]


def make(task: str, n: int, **arguments: Any) -> BatchedEnv:
    env = make_vec(task, n, 0, **arguments)
    assert isinstance(env, BatchedEnv)
    return env


def actions_for(env: BatchedEnv, steps: int) -> np.ndarray:
    shape = (steps, *env.action_space.shape)  # type: ignore[misc]
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(("task", "stepper"), STEPPERS)
def test_a_diverged_simulation_is_noticed_terminated_counted_and_reset(
    task: str, stepper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env, calm = make(task, 3, stepper=stepper, n_threads=2), make(task, 3, stepper=stepper)
    env.reset()
    calm.reset()
    actions = actions_for(env, 6)
    sound = env.step(actions[0])[0]
    calm.step(actions[0])
    env.sim.qvel[1] = 1e12
    with pytest.warns(UserWarning, match="simulation of environment 1 diverged"):
        observations, rewards, terminations, truncations, infos = env.step(actions[1])
    assert terminations.tolist() == [False, True, False]
    assert not truncations.any()
    assert env.n_diverged == 1
    assert infos["final_info"]["diverged"][1]
    np.testing.assert_array_equal(infos["final_obs"][1], sound[1])
    assert rewards[1] == 0
    assert np.isfinite(observations).all()
    assert np.abs(env.sim.qvel[1]).max() < 10, "it started anew"
    expected = calm.step(actions[1])
    np.testing.assert_array_equal(observations[[0, 2]], expected[0][[0, 2]])
    # the next one is counted, without a second warning, and the episodes go on
    env.sim.qpos[2, 3] = np.nan
    env.step(actions[2])
    assert env.n_diverged == 2
    for action in actions[3:]:
        assert np.isfinite(env.step(action)[0]).all()
    assert env.n_diverged == 2
    assert not list(tmp_path.iterdir()), "MuJoCo left no log file"


@dataclass(frozen=True)
class Falling(MujocoTask):
    """Spheres in a simulation with too little memory for many contacts, which is an error in MuJoCo."""

    def model(self) -> mujoco.MjModel:
        spheres = "".join(
            f"<body pos='{3 * i} 0 2'><freejoint name='j{i}'/><geom size='.2'/></body>" for i in range(6)
        )
        slider = "<body><joint name='s' type='slide' axis='1 0 0'/><geom size='.1' pos='0 9 5'/></body>"
        return mujoco.MjModel.from_xml_string(
            f"<mujoco><size memory='6K'/><worldbody><geom type='plane' size='5 5 .1'/>{spheres}{slider}"
            "</worldbody><actuator><motor joint='s' ctrlrange='-1 1' ctrllimited='true'/></actuator></mujoco>"
        )

    def reward(self, sim: Any, actions: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return np.ones(sim.n), {"x": sim.qpos[:, 0]}

    def observe(self, sim: Any) -> np.ndarray:
        observed: np.ndarray = sim.qpos
        return observed


@pytest.mark.parametrize("stepper", ["batch", "threads"])
def test_an_error_of_mujoco_ends_the_episode_of_its_simulation_only(stepper: str) -> None:
    env, calm = (
        BatchedEnv(Task("Falling-v0"), Falling(), 3, 0, stepper=stepper, n_threads=2) for _ in range(2)
    )
    env.reset()
    calm.reset()
    env.sim.qpos[1, 2::7] = 0.1
    action = np.zeros((3, 1))
    with pytest.warns(UserWarning, match="environment 1 diverged"):
        observations, rewards, terminations, _, infos = env.step(action)
    assert terminations.tolist() == [False, True, False]
    assert rewards.tolist() == [1, 0, 1]
    assert infos["final_info"]["diverged"].tolist() == [False, True, False]
    np.testing.assert_array_equal(observations[[0, 2]], calm.step(action)[0][[0, 2]])
    for _ in range(10):
        np.testing.assert_array_equal(env.step(action)[0][[0, 2]], calm.step(action)[0][[0, 2]])
    assert env.n_diverged == 1


class OneSubstepKick(Perturbation):
    """Lets a simulation diverge in the first substep only."""

    def __init__(self) -> None:
        self.kick = False

    def on_substep(self, env: BatchedEnv, substep: int) -> None:
        if self.kick and substep == 0:
            env.sim.qvel[0] = 1e12


@pytest.mark.parametrize("stepper", ["batch", "threads"])
def test_divergence_in_the_middle_of_a_control_step_is_noticed(stepper: str) -> None:
    kick = OneSubstepKick()
    env = make("HalfCheetah-v5", 2, stepper=stepper, perturbations=[kick])
    env.reset()
    env.step(actions_for(env, 1)[0])
    kick.kick = True
    with pytest.warns(UserWarning, match="diverged"):
        *_, infos = env.step(actions_for(env, 1)[0])
    assert infos["final_info"]["diverged"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("task", "stepper"),
    [*STEPPERS, ("Hopper-v5", "batch"), ("Humanoid-v5", "threads"), ("InvertedDoublePendulum-v5", "batch")],
)
def test_a_restored_environment_continues_bit_for_bit(task: str, stepper: str) -> None:
    task += ":time_limit=30"
    contexts = ["gravity=x0.6", "mass=x1.4,damping=x2", ""]
    env = make(task, 3, stepper=stepper, n_threads=2)
    env.set_context(contexts)
    env.reset()
    actions = actions_for(env, 90)
    for action in actions[:40]:
        env.step(action)
    env.set_context("mass=x0.8", [2])
    state = pickle.loads(pickle.dumps(env.state_dict()))
    other = make(task, 3, stepper=stepper)
    other.load_state_dict(state)
    assert other.context_names == env.context_names
    for action in actions[40:]:
        mine, theirs = env.step(action), other.step(action)
        for a, b in zip(mine[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        for name, values in mine[4].items():
            if not name.startswith(("final", "_final")):
                np.testing.assert_array_equal(values, theirs[4][name])
    assert env.contexts == other.contexts
    np.testing.assert_array_equal(env.context_values(), other.context_values())


def test_a_state_of_something_else_is_refused() -> None:
    env = make("Hopper-v5", 2)
    with pytest.raises(
        WarmstartError, match="Expected the state of 3 environments of Hopper-v5, found that of 2"
    ):
        make("Hopper-v5", 3).load_state_dict(env.state_dict())


def test_frames_show_the_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make("HalfCheetah-v5:width=96,height=64", 2, render_mode="rgb_array")
    env.reset()
    try:
        first = env.render([1])
    except WarmstartError as error:
        if "OpenGL" not in str(error):
            raise
        pytest.skip(f"no rendering here: {error}")
    assert first is not None
    assert len(first) == 1
    assert first[0].shape == (64, 96, 3)
    assert first[0].std() > 10
    for action in actions_for(env, 20):
        env.step(action)
    frames = env.render()
    assert frames is not None
    assert len(frames) == 2
    assert (frames[1] != first[0]).any()
    env.close()
    assert make("HalfCheetah-v5", 1).render() is None


def test_no_opengl_is_explained() -> None:
    code = (
        "from warmstart.envs.vector import make_vec\n"
        "env = make_vec('Hopper-v5', 1, 0, render_mode='rgb_array')\n"
        "env.reset(); env.step(env.action_space.sample() * 0)\n"
        "try:\n    env.render()\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    hidden = {**os.environ, "MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "egl"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=hidden, check=True
    )
    assert done.stdout.startswith("WarmstartError")
    assert "libegl1 libgl1-mesa-dri" in done.stdout
