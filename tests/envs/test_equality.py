"""The batched environments against Gymnasium's own: equal in everything, in any physics.

For 320 steps, more than every time limit here; `make slow` takes 1,000, and nominal physics.
"""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.robots.table import GYMNASIUM_TASKS
from warmstart.envs.tasks.contexts import parse_context
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec

STEPS, LONG = 320, 1000
# a time limit that random actions reach in some episodes and miss in others
TIME_LIMIT = {
    "Ant-v5": 100,
    "HalfCheetah-v5": 300,
    "Hopper-v5": 20,
    "Humanoid-v5": 25,
    "HumanoidStandup-v5": 300,
    "InvertedDoublePendulum-v5": 7,
    "InvertedPendulum-v5": 7,
    "Pusher-v5": 100,
    "Reacher-v5": 50,
    "Swimmer-v5": 300,
    "Walker2d-v5": 20,
}
NEVER_TERMINATES = {"HalfCheetah-v5", "HumanoidStandup-v5", "Pusher-v5", "Reacher-v5", "Swimmer-v5"}

LEGGED = [
    "gravity=x0.7,mass=x1.3,friction=x0.5",
    "gravity=x1.2,damping=x2,gear=x0.8",
    "torso.mass=x2,armature=x1.5",
]
CONTEXTS = {
    "Ant-v5": LEGGED,
    "HalfCheetah-v5": [*LEGGED[:2], "timestep=0.005,friction=x2"],
    "Hopper-v5": LEGGED,
    "Humanoid-v5": LEGGED,
    "HumanoidStandup-v5": LEGGED,
    "InvertedDoublePendulum-v5": ["gravity=x0.5", "mass=x1.5,damping=x2", "gear=x0.7"],
    "InvertedPendulum-v5": ["gravity=x0.5", "mass=x1.5,damping=x2", "gear=x0.7"],
    "Pusher-v5": ["mass=x2", "damping=x0.5", "gear=x0.5"],
    "Reacher-v5": ["mass=x2", "damping=x0.5,armature=x2", "gear=x0.5"],
    "Swimmer-v5": ["viscosity=x0.5", "density=x1.5,mass=x1.2", "armature=x2"],
    "Walker2d-v5": LEGGED,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "Ant-v5": {
        "include_cfrc_ext_in_observation": False,
        "exclude_current_positions_from_observation": False,
        "main_body": "aux_1",
        "healthy_z_range": (0.3, 0.9),
        "contact_force_range": (-0.5, 0.5),
    },
    "HalfCheetah-v5": {
        "forward_reward_weight": 2.0,
        "ctrl_cost_weight": 0.3,
        "reset_noise_scale": 0.2,
        "exclude_current_positions_from_observation": False,
        "frame_skip": 3,
    },
    "Hopper-v5": {
        "terminate_when_unhealthy": False,
        "healthy_angle_range": (-0.1, 0.1),
        "healthy_reward": 2.0,
    },
    "Humanoid-v5": {
        "include_cinert_in_observation": False,
        "include_cfrc_ext_in_observation": False,
        "contact_cost_weight": 1e-4,
        "contact_cost_range": (0.0, 1.0),
        "exclude_current_positions_from_observation": False,
    },
    "HumanoidStandup-v5": {
        "include_cvel_in_observation": False,
        "include_qfrc_actuator_in_observation": False,
        "uph_cost_weight": 2,
        "impact_cost_weight": 1e-3,
    },
    "InvertedDoublePendulum-v5": {"healthy_reward": 5.0, "reset_noise_scale": 0.05},
    "InvertedPendulum-v5": {"reset_noise_scale": 0.1},
    "Pusher-v5": {"reward_near_weight": 1.0, "reward_dist_weight": 2.0, "reward_control_weight": 0.5},
    "Reacher-v5": {"reward_dist_weight": 2.0, "reward_control_weight": 0.5},
    "Swimmer-v5": {"exclude_current_positions_from_observation": False, "ctrl_cost_weight": 0.1},
    "Walker2d-v5": {"healthy_z_range": (1.0, 1.5), "exclude_current_positions_from_observation": False},
}


def gymnasium_envs(task_id: str, contexts: list[str], **options: Any) -> SyncVectorEnv:
    """Gymnasium's own environments, built independently; each model changed by its context."""

    def make(context: str) -> gymnasium.Env[Any, Any]:
        env = gymnasium.make(task_id, max_episode_steps=TIME_LIMIT[task_id], **options)
        inner: Any = env.unwrapped
        parameters = Parameters(inner.model)
        changes = parse_context(context)
        inner.frame_skip = parameters.frame_skip(changes, inner.frame_skip)
        parameters.apply(inner.model, changes)
        return env

    makers = [lambda context=context: make(context) for context in contexts]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def assert_equal(ours: Any, theirs: Any, where: str) -> None:
    """Equal to 1e-9, with the same keys, shapes and types."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for key in theirs:
            assert_equal(ours[key], theirs[key], f"{where}/{key}")
    elif theirs.dtype == object:
        assert [value is None for value in ours] == [value is None for value in theirs], where
        for mine, other in zip(ours, theirs, strict=True):
            if other is not None:
                assert_equal(mine, other, where)
    else:
        assert ours.dtype == theirs.dtype, where
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9, err_msg=where)


def compare(
    task: Task, contexts: list[str], steps: int, stepper: str = "auto", **options: Any
) -> tuple[int, int]:
    """Run both with the same seeds and actions; returns the numbers of terminations and truncations."""
    n = len(contexts)
    ours = make_vec(
        task.with_options(time_limit=TIME_LIMIT[task.id], **options), n, 3, n_threads=2, stepper=stepper
    )
    ours.set_context(contexts)  # type: ignore[attr-defined]
    theirs = gymnasium_envs(task.id, contexts, **options)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.single_action_space == theirs.single_action_space
    ours.action_space.seed(1)
    for mine, other in zip(ours.reset(), theirs.reset(seed=3), strict=True):
        assert_equal(mine, other, "reset")
    ended = np.zeros(2, dtype=int)
    for step in range(steps):
        actions = ours.action_space.sample() * np.float32(
            1.2
        )  # beyond the range, too: MuJoCo clips, costs don't
        mine, other = ours.step(actions), theirs.step(actions)
        names = ("observations", "rewards", "terminations", "truncations", "infos")
        for name, a, b in zip(names, mine, other, strict=True):
            assert_equal(a, b, f"{task}, step {step}, {name}")
        ended += [mine[2].sum(), mine[3].sum()]
    ours.close()
    theirs.close()
    return int(ended[0]), int(ended[1])


def _whole_episodes() -> list[Any]:
    """Every task with its physics changed; `make slow` takes long ones, and all nominal ones."""
    quick = ("HalfCheetah-v5", "Hopper-v5")
    slow = pytest.mark.slow
    return [
        *(pytest.param(t, False, STEPS, id=f"{t}-nominal") for t in quick),
        *(pytest.param(t, True, STEPS, id=f"{t}-shifted") for t in GYMNASIUM_TASKS),
        *(pytest.param(t, False, LONG, marks=slow, id=f"{t}-nominal-long") for t in GYMNASIUM_TASKS),
        *(pytest.param(t, True, LONG, marks=slow, id=f"{t}-shifted-long") for t in GYMNASIUM_TASKS),
    ]


@pytest.mark.parametrize(("task_id", "shifted", "steps"), _whole_episodes())
def test_equals_gymnasium(task_id: str, shifted: bool, steps: int) -> None:
    contexts = CONTEXTS[task_id] if shifted else [""] * 2
    if task_id.startswith("Humanoid"):  # by far the slowest in Gymnasium
        contexts = contexts[:2] if shifted else contexts[:1]
    terminations, truncations = compare(Task(task_id), contexts, steps)
    assert truncations > 0
    assert (terminations > 0) == (task_id not in NEVER_TERMINATES)


@pytest.mark.parametrize("task_id", GYMNASIUM_TASKS)
def test_constructor_options_mean_the_same(task_id: str) -> None:
    compare(Task(task_id), ["", CONTEXTS[task_id][0]], 60, **OPTIONS[task_id])


@pytest.mark.parametrize("stepper", ["batch", "threads"])
@pytest.mark.parametrize(
    "task_id", ["HalfCheetah-v5", "InvertedDoublePendulum-v5", "Pusher-v5", "Swimmer-v5"]
)
def test_both_steppers_equal_gymnasium(task_id: str, stepper: str) -> None:
    compare(Task(task_id), CONTEXTS[task_id], 60, stepper)


def test_ant_without_contact_forces_runs_on_the_batch() -> None:
    options = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}
    compare(Task("Ant-v5"), LEGGED, 100, "batch", **options)


def test_humanoid_without_contact_forces_runs_on_the_batch() -> None:
    options = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}
    compare(Task("Humanoid-v5"), LEGGED, 60, "batch", **options)


@pytest.mark.parametrize("task_id", GYMNASIUM_TASKS)
def test_time_limit_is_that_of_the_registry(task_id: str) -> None:
    assert GYMNASIUM_TASKS[task_id]().time_limit == gymnasium.spec(task_id).max_episode_steps
