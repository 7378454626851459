"""warmstart: start reinforcement learning agents from what was learned elsewhere, and know whether it helped.

Importing this package is light: it loads neither torch nor mujoco, so that threads and ``MUJOCO_GL`` can
still be chosen. The names below are loaded when they are first used. Gymnasium learns of ``warmstart/…`` ids
(``gymnasium.make_vec("warmstart/HalfCheetah-v5", num_envs=64)``).

May import: core, envs, agents, transfer, sim2real, experiments.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from warmstart.envs.registration import register as _register

if TYPE_CHECKING:
    from warmstart.agents.algorithms.ppo import PPO
    from warmstart.agents.algorithms.sac import SAC
    from warmstart.agents.algorithms.seams import Seams
    from warmstart.agents.algorithms.td3 import TD3
    from warmstart.agents.build import build_agent, make_training_env
    from warmstart.agents.checkpoints.checkpoint import Checkpoint, save_checkpoint
    from warmstart.agents.checkpoints.loading import load_checkpoint as load
    from warmstart.agents.evaluation import evaluate
    from warmstart.core.errors import WarmstartError
    from warmstart.envs.describe import describe
    from warmstart.envs.robots.base import MujocoTask
    from warmstart.envs.robots.table import register_task
    from warmstart.envs.sb3 import as_sb3
    from warmstart.envs.tasks.task import Task
    from warmstart.envs.vector import make_vec
    from warmstart.experiments.analysis.summary import summarise
    from warmstart.experiments.report.report import write_report
    from warmstart.experiments.run.run import load_run, run_study
    from warmstart.experiments.study.study import Study
    from warmstart.sim2real.randomization.randomization import Randomization, read_terms
    from warmstart.transfer.carry.report import TransferReport
    from warmstart.transfer.methods.base import TransferMethod, register_method
    from warmstart.transfer.warm_start import warm_start

_HOME = {
    "PPO": "agents.algorithms.ppo",
    "SAC": "agents.algorithms.sac",
    "TD3": "agents.algorithms.td3",
    "Seams": "agents.algorithms.seams",
    "Checkpoint": "agents.checkpoints.checkpoint",
    "save_checkpoint": "agents.checkpoints.checkpoint",
    "load": "agents.checkpoints.loading:load_checkpoint",
    "build_agent": "agents.build",
    "make_training_env": "agents.build",
    "evaluate": "agents.evaluation",
    "WarmstartError": "core.errors",
    "describe": "envs.describe",
    "MujocoTask": "envs.robots.base",
    "register_task": "envs.robots.table",
    "as_sb3": "envs.sb3",
    "Task": "envs.tasks.task",
    "make_vec": "envs.vector",
    "Study": "experiments.study.study",
    "run_study": "experiments.run.run",
    "load_run": "experiments.run.run",
    "summarise": "experiments.analysis.summary",
    "write_report": "experiments.report.report",
    "Randomization": "sim2real.randomization.randomization",
    "read_terms": "sim2real.randomization.randomization",
    "TransferMethod": "transfer.methods.base",
    "register_method": "transfer.methods.base",
    "TransferReport": "transfer.carry.report",
    "warm_start": "transfer.warm_start",
}

__all__ = [
    "PPO",
    "SAC",
    "TD3",
    "Checkpoint",
    "MujocoTask",
    "Randomization",
    "Seams",
    "Study",
    "Task",
    "TransferMethod",
    "TransferReport",
    "WarmstartError",
    "__version__",
    "as_sb3",
    "build_agent",
    "describe",
    "evaluate",
    "load",
    "load_run",
    "make_training_env",
    "make_vec",
    "read_terms",
    "register_method",
    "register_task",
    "run_study",
    "save_checkpoint",
    "summarise",
    "warm_start",
    "write_report",
]

__version__: str

_register()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("warmstart")
    if name not in _HOME:
        raise AttributeError(f"module 'warmstart' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    value = getattr(import_module(f"warmstart.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
