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
    from warmstart.agents.algorithms.ppo import PPO as PPO
    from warmstart.agents.algorithms.sac import SAC as SAC
    from warmstart.agents.algorithms.seams import Seams as Seams
    from warmstart.agents.algorithms.td3 import TD3 as TD3
    from warmstart.agents.build import build_agent as build_agent
    from warmstart.agents.build import make_training_env as make_training_env
    from warmstart.agents.checkpoints.checkpoint import Checkpoint as Checkpoint
    from warmstart.agents.checkpoints.checkpoint import save_checkpoint as save_checkpoint
    from warmstart.agents.evaluation import evaluate as evaluate
    from warmstart.agents.loading import load_checkpoint as _load
    from warmstart.agents.resuming.saving import load_training as load_training
    from warmstart.agents.resuming.saving import save_training as save_training
    from warmstart.core.errors import WarmstartError as WarmstartError
    from warmstart.core.trust import trust as trust
    from warmstart.envs.describe import describe as describe
    from warmstart.envs.robots.base import MujocoTask as MujocoTask
    from warmstart.envs.robots.table import register_task as register_task
    from warmstart.envs.sb3 import as_sb3 as as_sb3
    from warmstart.envs.tasks.task import Task as Task
    from warmstart.envs.vector import make_vec as make_vec
    from warmstart.experiments.analysis.summary import summarise as summarise
    from warmstart.experiments.foreign.importing import read_runs as read_runs
    from warmstart.experiments.index.building import index_runs as index_runs
    from warmstart.experiments.report.report import write_report as write_report
    from warmstart.experiments.run.reading import load_run as load_run
    from warmstart.experiments.run.run import run_study as run_study
    from warmstart.experiments.sharing.pulling import pull as pull
    from warmstart.experiments.sharing.pushing import push as push
    from warmstart.experiments.study.study import Study as Study
    from warmstart.sim2real.randomization.randomization import Randomization as Randomization
    from warmstart.sim2real.randomization.randomization import read_terms as read_terms
    from warmstart.sim2real.randomization.wrapper import RandomizedEnv as RandomizedEnv
    from warmstart.transfer.carry.report import TransferReport as TransferReport
    from warmstart.transfer.methods.base import TransferMethod as TransferMethod
    from warmstart.transfer.methods.base import register_method as register_method
    from warmstart.transfer.similarity.similarity import similarity as similarity
    from warmstart.transfer.warm_start import warm_start as warm_start

    load = _load

_HOME = {
    "PPO": "agents.algorithms.ppo",
    "SAC": "agents.algorithms.sac",
    "TD3": "agents.algorithms.td3",
    "TQC": "agents.algorithms.tqc",
    "CrossQ": "agents.algorithms.crossq",
    "Seams": "agents.algorithms.seams",
    "Checkpoint": "agents.checkpoints.checkpoint",
    "save_checkpoint": "agents.checkpoints.checkpoint",
    "load": "agents.loading:load_checkpoint",
    "load_training": "agents.resuming.saving",
    "save_training": "agents.resuming.saving",
    "build_agent": "agents.build",
    "make_training_env": "agents.build",
    "evaluate": "agents.evaluation",
    "WarmstartError": "core.errors",
    "trust": "core.trust",
    "describe": "envs.describe",
    "MujocoTask": "envs.robots.base",
    "register_task": "envs.robots.table",
    "as_sb3": "envs.sb3",
    "Task": "envs.tasks.task",
    "make_vec": "envs.vector",
    "Study": "experiments.study.study",
    "run_study": "experiments.run.run",
    "load_run": "experiments.run.reading",
    "read_runs": "experiments.foreign.importing",
    "push": "experiments.sharing.pushing",
    "pull": "experiments.sharing.pulling",
    "index_runs": "experiments.index.building",
    "summarise": "experiments.analysis.summary",
    "write_report": "experiments.report.report",
    "Randomization": "sim2real.randomization.randomization",
    "read_terms": "sim2real.randomization.randomization",
    "RandomizedEnv": "sim2real.randomization.wrapper",
    "TransferMethod": "transfer.methods.base",
    "register_method": "transfer.methods.base",
    "TransferReport": "transfer.carry.report",
    "similarity": "transfer.similarity.similarity",
    "warm_start": "transfer.warm_start",
}

__all__ = sorted((*_HOME, "__version__"))

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
