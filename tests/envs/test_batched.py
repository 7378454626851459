"""The batched environment itself: seeds, resets, contexts, hooks, bad input."""

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from warmstart.core.errors import WarmstartError
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.robots.table import GYMNASIUM_TASKS
from warmstart.envs.tasks.hooks import Perturbation
from warmstart.envs.vector import make_vec


def make(task: str, n: int = 4, seed: int | None = 0, **arguments: Any) -> BatchedEnv:
    env = make_vec(task, n, seed, **arguments)
    assert isinstance(env, BatchedEnv)
    return env


def roll(env: BatchedEnv, steps: int, seed: int = 5) -> list[tuple[np.ndarray, ...]]:
    """Steps with fixed random actions: observations, rewards, terminations, truncations of each."""
    rng = np.random.default_rng(seed)
    low, high = env.single_action_space.low, env.single_action_space.high  # type: ignore[attr-defined]
    return [
        env.step(rng.uniform(low, high, env.action_space.shape).astype(np.float32))[:4] for _ in range(steps)
    ]


def assert_same(a: list[tuple[np.ndarray, ...]], b: list[tuple[np.ndarray, ...]]) -> None:
    for x, y in zip(a, b, strict=True):
        for one, other in zip(x, y, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("task", GYMNASIUM_TASKS)
def test_spaces_layouts_and_metadata(task: str) -> None:
    env = make(task, 2)
    observations, _ = env.reset()
    assert env.observation_space.contains(observations)
    assert env.observation_space.dtype == np.float64
    assert len(env.observation_layout) == observations.shape[1]
    assert len(env.action_layout) == env.single_action_space.shape[0]  # type: ignore[index]
    assert env.observation_layout.names[0] != "obs[0]"
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert env.spec is not None
    assert env.spec.id == task
    env.close()


@pytest.mark.parametrize("task", ["Hopper-v5", "Ant-v5:time_limit=20"])
@pytest.mark.parametrize("n_threads", [2, 3])
def test_same_seed_same_bits_whatever_the_threads(task: str, n_threads: int) -> None:
    runs = []
    for threads in (1, n_threads):
        env = make(task, 5, seed=11, n_threads=threads)
        env.reset()
        runs.append(roll(env, 60))
        env.close()
    assert_same(*runs)


def test_environment_i_has_seed_plus_i_whatever_the_number() -> None:
    few, many = make("Hopper-v5", 2, seed=3), make("Hopper-v5", 6, seed=1)
    np.testing.assert_array_equal(few.reset()[0], many.reset()[0][2:4])
    np.testing.assert_array_equal(few.reset(seed=9)[0], many.reset(seed=[9, 10, 0, 0, 0, 0])[0][:2])
    assert (few.reset()[0] != few.reset()[0]).any(), "without a seed the generators go on"


def test_reset_mask_resets_only_some() -> None:
    env = make("HalfCheetah-v5", 3)
    env.reset()
    before = roll(env, 5)[-1][0]
    after, infos = env.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert (after[1] != before[1]).any()
    assert infos["_x_position"].tolist() == [False, True, False]
    with pytest.raises(WarmstartError, match="reset_mask of 3 booleans"):
        env.reset(options={"reset_mask": np.array([False, False])})


def test_returned_arrays_are_not_views_of_the_simulation() -> None:
    env = make("HalfCheetah-v5", 2)
    observations, infos = env.reset()
    kept = observations.copy(), infos["x_position"].copy()
    roll(env, 3)
    np.testing.assert_array_equal(observations, kept[0])
    np.testing.assert_array_equal(infos["x_position"], kept[1])


def test_context_takes_effect_at_the_next_reset() -> None:
    env = make("HalfCheetah-v5", 3)
    env.reset()
    nominal = env.sim.model_field("body_mass")[0].copy()
    env.set_context("mass=x2", [1])
    roll(env, 2)
    np.testing.assert_array_equal(env.sim.model_field("body_mass")[1], nominal)
    assert env.contexts == ((), (), ())
    env.reset()
    np.testing.assert_allclose(env.sim.model_field("body_mass")[1], 2 * nominal)
    np.testing.assert_array_equal(env.sim.model_field("body_mass")[[0, 2]], [nominal, nominal])
    assert [len(context) for context in env.contexts] == [0, 1, 0]
    privileged = env.context_values()
    assert privileged.shape == (3, len(env.context_names)) == (3, 7)
    np.testing.assert_allclose(privileged[1], 2 * privileged[0])
    env.set_context((), [1])
    env.reset()
    np.testing.assert_array_equal(env.sim.model_field("body_mass")[1], nominal)


@pytest.mark.parametrize("stepper", ["batch", "threads"])
def test_environments_do_not_leak_their_context(stepper: str) -> None:
    """Each environment of a mixed batch goes exactly as it would alone."""
    contexts = ["", "gravity=x0.5", "mass=x1.5,friction=x0.5", "timestep=0.005"]
    mixed = make("HalfCheetah-v5", 4, seed=2, stepper=stepper, n_threads=2)
    mixed.set_context(contexts)
    mixed.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 4, 6)).astype(np.float32)
    together = np.array([mixed.step(a)[0] for a in actions])
    for i, context in enumerate(contexts):
        alone = make("HalfCheetah-v5" + (f"@{context}" if context else ""), 1, seed=2 + i, stepper=stepper)
        alone.reset()
        np.testing.assert_array_equal(
            np.array([alone.step(a[i : i + 1])[0][0] for a in actions]), together[:, i]
        )


def test_timestep_keeps_the_control_period_or_is_refused() -> None:
    env = make("HalfCheetah-v5", 2)
    env.set_context("timestep=0.0025", [1])
    env.reset()
    assert env.sim.n_substeps.tolist() == [5, 20]
    np.testing.assert_allclose(env.sim.dt, 0.05)
    with pytest.raises(WarmstartError, match=r"control period of 0.05 s"):
        env.set_context("timestep=0.007")


class Masses:
    """Draws the masses of an episode from its environment and number."""

    terms = (("mass", "scale"),)

    def __init__(self) -> None:
        self.episodes: list[tuple[list[int], list[int]]] = []

    def draw(self, env_ids: np.ndarray, episode_ids: np.ndarray) -> np.ndarray:
        self.episodes.append((env_ids.tolist(), episode_ids.tolist()))
        return (1 + 0.1 * env_ids + 0.01 * episode_ids)[:, None]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@pytest.mark.parametrize("stepper", ["batch", "threads"])
def test_a_context_can_hold_at_once_and_what_was_drawn_stays(stepper: str) -> None:
    source = Masses()
    env = make("HalfCheetah-v5", 2, stepper=stepper, context_source=source)
    nominal = make("HalfCheetah-v5", 1).sim.model_field("body_mass")[0, 1]
    env.reset(seed=0)
    env.step(np.zeros((2, 6)))
    before = env.sim.qpos.copy(), env.sim.qvel.copy()
    env.set_context("gravity=x0.5", [1], now=True)
    assert np.array_equal(env.sim.qpos, before[0])
    assert np.array_equal(env.sim.qvel, before[1])
    assert env.sim.model_field("opt.gravity")[:, 2].tolist() == [-9.81, -9.81 / 2]
    assert env.sim.model_field("body_mass")[:, 1] == pytest.approx(nominal * np.array([1.0, 1.1]))
    assert list(map(str, env.contexts[1])) == ["gravity=x0.5"]
    assert env.elapsed.tolist() == [1, 1]


def test_context_source_draws_at_every_episode() -> None:
    source = Masses()
    env = make("HalfCheetah-v5:time_limit=3", 2, context_source=source)
    env.reset()
    nominal = env.sim.model.body_mass
    roll(env, 4)
    assert source.episodes == [([0, 1], [0, 0]), ([0, 1], [1, 1])]
    np.testing.assert_allclose(env.sim.model_field("body_mass"), np.outer([1.01, 1.11], nominal))
    env.reset(seed=4)
    assert source.episodes[-1] == ([0, 1], [0, 0]), "a seed starts the count anew"
    assert env.context_names[0] == "body.torso.mass"


class Meddler(Perturbation):
    """Halves actions, pushes the robot at every substep, marks observations."""

    def __init__(self) -> None:
        self.resets: list[list[int]] = []
        self.substeps: list[int] = []

    def on_reset(self, env: BatchedEnv, ids: np.ndarray) -> None:
        self.resets.append(ids.tolist())
        env.sim.qpos[ids, 0] = 7.0

    def before_step(self, env: BatchedEnv, actions: np.ndarray) -> np.ndarray:
        return actions * np.float32(0.5)

    def on_substep(self, env: BatchedEnv, substep: int) -> None:
        self.substeps.append(substep)

    def on_observations(self, env: BatchedEnv, observations: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return observations + 100


@pytest.mark.parametrize("stepper", ["batch", "threads"])
def test_perturbations_act_everywhere(stepper: str) -> None:
    meddler = Meddler()
    env = make("HalfCheetah-v5:time_limit=2", 2, perturbations=[meddler], stepper=stepper)
    plain = make("HalfCheetah-v5:time_limit=2", 2, stepper=stepper)
    assert env.reset()[0] - plain.reset()[0] == pytest.approx(100)
    assert (env.sim.qpos[:, 0] == 7).all()
    actions = np.full((2, 6), 0.8, dtype=np.float32)
    env.step(actions)
    *_, infos = env.step(actions)
    plain.step(actions / 2)
    *_, expected = plain.step(actions / 2)
    for mine, other in zip(infos["final_obs"], expected["final_obs"], strict=True):
        np.testing.assert_allclose(mine, other + 100, atol=1e-9)
    assert meddler.resets == [[0, 1], [0, 1]]
    assert meddler.substeps == [0, 1, 2, 3, 4] * 2


def test_a_perturbation_that_does_nothing_changes_no_bit() -> None:
    runs = []
    for perturbations in ((), (Perturbation(),)):
        env = make("Hopper-v5", 3, perturbations=perturbations)
        env.reset()
        runs.append(roll(env, 50))
    assert_same(*runs)


def test_actuators_can_be_left_out() -> None:
    whole, part = make("Ant-v5", 1), make("Ant-v5:without=[hip_4,ankle_4]", 1)
    assert part.action_layout.names == tuple(
        name for name in whole.action_layout.names if not name.startswith(("hip_4", "ankle_4"))
    )
    part.reset()
    part.step(np.zeros((1, 6)))
    with pytest.raises(WarmstartError, match=r"actuator 'hip_5'.*hip_4"):
        make("Ant-v5:without=[hip_5]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Hopper-v5:healty_reward=2", "healthy_reward"),
        ("Hopper-v5:healthy_reward=much", "expected a number, found 'much'"),
        ("Hopper-v5:healthy_z_range=0.5", "expected a list.*found 0.5"),
        ("Hopper-v5:time_limit=0", "expected a number at least 1, found 0"),
        ("Hopper-v5:frame_skip=2.5", "expected a whole number, found 2.5"),
        ("Hopper-v5:xml_file=/nowhere/model.xml", "found nothing at /nowhere/model.xml"),
        ("Hopper-v5:obs=pixel", "Did you mean 'pixels'"),
        ("Hopper-v5:size=64", "add obs=pixels"),
        ("Hopper-v5@torso.mess=2", "torso.mass"),
    ],
)
def test_bad_tasks_are_explained(text: str, message: str) -> None:
    with pytest.raises(WarmstartError, match=message):
        make_vec(text)


def test_bad_actions_are_explained() -> None:
    env = make("Hopper-v5", 2)
    env.reset()
    with pytest.raises(WarmstartError, match=r"shape \(2, 3\), found \(3,\)"):
        env.step(np.zeros(3))
    with pytest.raises(WarmstartError, match=r"finite actions.*environment 1"):
        env.step(np.array([[0, 0, 0], [0, np.nan, 0]]))
    with pytest.raises(WarmstartError, match="n_envs=0"):
        make_vec("Hopper-v5", 0)


def test_an_integrator_of_ones_own_changes_the_motion_and_an_unknown_one_is_named():
    def end(task):
        env = make_vec(task, 1, seed=0, n_threads=1)
        env.reset(seed=0)
        for _ in range(20):
            observations, *_ = env.step(np.full(env.action_space.shape, 0.5, np.float32))
        env.close()
        return observations

    own, euler, rk4 = (end(f"Hopper-v5{option}") for option in ("", ":integrator=Euler", ":integrator=RK4"))
    assert (own == rk4).all()
    assert (own != euler).any()
    with pytest.raises(
        WarmstartError, match=r"integrator of Hopper-v5: Unknown integrator 'rk4'\. Valid: Euler, RK4"
    ):
        make_vec("Hopper-v5:integrator=rk4")
