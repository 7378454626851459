"""The runner's command: ``python run.py --robot udp://HOST:PORT``, beside an exported policy."""

import argparse
import importlib
import math
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .contract import Contract, DeploymentError, read_contract
from .log import Log
from .loop import Runner
from .outcome import Outcome, RunError
from .policy import Policy
from .robot import Robot
from .safety import Limits, Watchdog, read_limits
from .udp import UdpRobot

FAILED, MISTAKE = 1, 2


def open_robot(text: str) -> Robot:
    """A robot from ``udp://HOST:PORT`` or ``module:Class``, which is made without arguments.

    Raises:
        DeploymentError: The text is neither, nobody answers, or the class isn't a robot.
    """
    if text.startswith("udp://"):
        host, _, port = text.removeprefix("udp://").rpartition(":")
        if not host or not port.isdecimal():
            raise DeploymentError(f"Expected a robot as udp://HOST:PORT, found {text}.")
        return UdpRobot(host, int(port))
    module, _, name = text.partition(":")
    if not module or not name:
        raise DeploymentError(f"Expected a robot as udp://HOST:PORT or module:Class, found {text}.")
    sys.path.insert(0, "")
    try:
        robot = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError) as error:
        raise DeploymentError(f"The robot {text} can't be made: {error}.") from None
    except Exception as error:  # a driver may fail in any way
        raise DeploymentError(f"The robot {text} can't be made: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove("")
    wanted = ("rate", "observations", "action", "measured", "observe", "act")
    missing = [each for each in wanted if not hasattr(robot, each)]
    if missing:
        raise DeploymentError(f"{text} is no robot: it has no {', '.join(missing)}.")
    found: Robot = robot
    return found


def check_settings(contract: Contract, seconds: float, limits: Limits, watchdog: Watchdog) -> None:
    """See that settings are sound, before a robot is reached.

    Raises:
        DeploymentError: One isn't.
    """
    if not seconds > 0:
        raise DeploymentError(f"Expected to run for more than 0 s, found {seconds}.")
    watchdog.check()
    read_limits(limits, contract)


def close_robot(robot: Robot) -> None:
    """Close a robot that can be closed."""
    close = getattr(robot, "close", None)
    if close is not None:
        close()


def run_policy(
    folder: Path,
    robot: Robot,
    log: Path | None = None,
    seconds: float = math.inf,
    limits: Limits | None = None,
    watchdog: Watchdog | None = None,
    facts: dict[str, Any] | None = None,
) -> tuple[Outcome, Path]:
    """Run an exported policy on a robot.

    Args:
        folder: Where the policy lies.
        robot: The robot.
        log: A file that isn't there yet; None names one by the time, here.
        seconds: How long.
        limits: Of commands.
        watchdog: When to give up.
        facts: What else the log's first line says.

    Returns:
        How it went, and the log.

    Raises:
        DeploymentError: It can't be run, or ended in an error; the message says which.
    """
    limits, watchdog = limits or Limits(), watchdog or Watchdog()
    policy = Policy(folder)
    check_settings(policy.contract, seconds, limits, watchdog)
    runner = Runner(policy, robot, limits, watchdog)
    path = log or Path(time.strftime("run-%Y%m%d-%H%M%S.csv"))
    said = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "limits": vars(limits)}
    written = Log(path, policy.contract, robot, {**said, "watchdog": vars(watchdog), **(facts or {})})
    try:
        return runner.run(written, seconds), path
    finally:
        written.close()


def status_of(outcome: Outcome) -> int:
    """The exit status: 0 where the time was up, 130 and 143 after Ctrl-C and SIGTERM, else 1."""
    if outcome.finished:
        return 0
    return FAILED if outcome.signal is None else 128 + outcome.signal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the policy beside this folder; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="run.py", description="Run this policy on a robot, at its control rate, until a safe stop."
    )
    here = Path(__file__).parents[1]
    add = parser.add_argument
    add("--robot", required=True, help="udp://HOST:PORT, or module:Class of your own")
    add("--seconds", type=float, default=math.inf, metavar="S", help="how long; endless by default")
    add("--log", type=Path, metavar="FILE", help="new file to write; run-DATE.csv by default")
    add("--policy", type=Path, default=here, metavar="FOLDER", help="this folder by default")
    several: dict[str, Any] = {"nargs": "+", "default": []}
    text = "narrower range of an action in its unit; or NAME=x0.5, a share of its range around the middle"
    add("--limit", **several, metavar="NAME=LOW:HIGH", help=text)
    text = "how far a target angle or position may lie from the measured one, in rad or m"
    add("--relative-limit", **several, metavar="NAME=DISTANCE", help=text)
    text = "largest change of an action in units per second"
    add("--rate-limit", **several, metavar="NAME=RATE", help=text)
    text = "what a safe stop commands: zeros, the last command, or the default joint positions"
    add("--stop", choices=("zero", "hold", "default"), default="zero", help=text)
    text = "age of the newest sound observation that ends the run; 0.1, or ten control steps if longer"
    add("--stale-after", type=float, metavar="S", help=text)
    text = "lateness of a step that ends the run; 0.1, or ten control steps if longer"
    add("--pause-after", type=float, metavar="S", help=text)
    text = "time to wait for the first observation; 5 by default"
    add("--first-within", type=float, default=5.0, metavar="S", help=text)
    given = parser.parse_args(arguments)
    try:
        limits = Limits(tuple(given.limit), tuple(given.relative_limit), tuple(given.rate_limit), given.stop)
        watchdog = Watchdog(given.stale_after, given.pause_after, given.first_within)
        check_settings(read_contract(given.policy), given.seconds, limits, watchdog)
        robot = open_robot(given.robot)
        try:
            outcome, log = run_policy(given.policy, robot, given.log, given.seconds, limits, watchdog)
        finally:
            close_robot(robot)
    except DeploymentError as error:
        print(error, file=sys.stderr)
        return FAILED if isinstance(error, RunError) else MISTAKE
    except KeyboardInterrupt:
        print("Interrupted before the run began; nothing was commanded.", file=sys.stderr)
        return 128 + signal.SIGINT
    print(f"{outcome}\nLog: {log}")
    return status_of(outcome)
