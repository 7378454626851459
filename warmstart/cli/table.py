"""The subcommands of ``warmstart`` in one table, and how they are parsed."""

from collections.abc import Callable, Sequence

import tyro

from warmstart.cli.console import Command
from warmstart.cli.deploy.demo import Demo
from warmstart.cli.deploy.export import Export
from warmstart.cli.deploy.monitor import Monitor
from warmstart.cli.deploy.run import Robot, Run
from warmstart.cli.deploy.share import Pull, Push
from warmstart.cli.deploy.view import View
from warmstart.cli.doctor import Doctor
from warmstart.cli.identify import Identify
from warmstart.cli.info import Index, Inspect, List, Resume, Status
from warmstart.cli.policy import Evaluate, Similarity, Video
from warmstart.cli.pretrain import Pretrain
from warmstart.cli.probe import Probe
from warmstart.cli.sim2real import Gap, Robustness, Seal
from warmstart.cli.study import Compare, Report
from warmstart.cli.training.single import Train, Transfer
from warmstart.core.errors import unknown_name

_TABLE: dict[str, Callable[..., Command]] = {
    "list": List,
    "train": Train,
    "transfer": Transfer,
    "compare": Compare,
    "resume": Resume,
    "evaluate": Evaluate,
    "similarity": Similarity,
    "video": Video,
    "view": View,
    "report": Report,
    "status": Status,
    "index": Index,
    "pretrain": Pretrain,
    "probe": Probe,
    "identify": Identify,
    "gap": Gap,
    "robustness": Robustness,
    "seal": Seal,
    "run": Run,
    "robot": Robot,
    "monitor": Monitor,
    "inspect": Inspect,
    "export": Export,
    "push": Push,
    "pull": Pull,
    "demo": Demo,
    "doctor": Doctor,
}

_DESCRIPTION = """Start reinforcement learning agents from what was learned elsewhere, and know
whether it helped.

First steps:
  warmstart demo                               a first study, warm against cold, in some five minutes
  warmstart compare cheetah-friction           a warm start against a cold one, to the report
  warmstart train HalfCheetah-v5               train an agent from scratch
  warmstart transfer runs/HalfCheetah-v5 HalfCheetah-v5@gravity=x0.5
                                               start from it in another task
  warmstart probe squeezenet1_1:weights=imagenet Reacher-v5
                                               what a visual encoder tells of a task
  warmstart compare pendulum-reality           what closes the gap to a reality that was hidden
  warmstart list                               tasks, methods, presets and encoders

Every command explains itself with --help, and shows the traceback of an error with --debug."""


def parse(words: Sequence[str]) -> Command:
    """Turn the words after ``warmstart`` into a command.

    Raises:
        SystemExit: Help was asked for (status 0), or the options don't fit the command (status 2).
        WarmstartError: There is no such command.
    """
    if words and not words[0].startswith("-") and words[0] not in _TABLE:
        raise unknown_name("command", words[0], _TABLE)
    command: Command = tyro.extras.subcommand_cli_from_dict(
        _TABLE,
        prog="warmstart",
        description=_DESCRIPTION,
        args=list(words),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return command
