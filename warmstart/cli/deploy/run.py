"""``warmstart run`` and ``warmstart robot``: an exported policy on a robot, and a simulated one."""

import contextlib
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from warmstart.cli.console import Extensible, Printing, TaskText, console, note, print_json
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.sim2real.deployment.flaws import Flaws
from warmstart.sim2real.deployment.runtime.safety import Limits, Watchdog


@dataclass(frozen=True)
class Robot(Extensible):
    """Simulate a robot behind UDP in real time, for `warmstart run`, or an exported policy's own run.py.

    It prints its address, stands still until the first command, and goes on until it is interrupted.
    """

    task: TaskText
    """What it is, for example HalfCheetah-v5@torso.mass=x1.3."""
    port: int = 0
    """UDP port on this machine (127.0.0.1); 0 takes any that is free."""
    attached: bool = False
    """End when standard input is closed, for programs that start it."""
    flaws: Annotated[Flaws, tyro.conf.arg(name="")] = field(default_factory=Flaws)
    seed: int = 0
    """Of start states, and of what happens to packets."""

    def run(self) -> int:
        """Simulate it."""
        from warmstart.sim2real.deployment.simulated import SimulatedRobot

        self.load_plugins()
        robot = SimulatedRobot(self.task, self.flaws, self.seed, self.port)
        try:
            print(robot.address, flush=True)
            robot.serve(self.attached)
        finally:
            robot.close()
            if robot.overruns:
                note(f"The simulation was late {robot.overruns} times; its time stood still meanwhile.")
        return 0


@dataclass(frozen=True)
class Run(Extensible, Printing):
    """Run an exported policy on a robot at its control rate, within limits, until a safe stop; all is logged.

    The robot is one behind UDP, a Python class of your own, or a simulation of the policy's own task. A
    policy that doesn't fit it is refused before the first action. The exit status is 0 where the time was up,
    1 where a watchdog or a failure ended the run.
    """

    policy: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="POLICY")]]
    """Folder that `warmstart export` wrote."""
    robot: str | None = None
    """udp://HOST:PORT, or module:Class of your own; a simulated robot by default."""
    task: str | None = None
    """Task of the simulated robot; the one that the policy was trained in by default."""
    seconds: float = math.inf
    """How long; endless by default."""
    log: Path | None = None
    """File to write, which isn't there yet; run-DATE.csv by default."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)
    watchdog: Annotated[Watchdog, tyro.conf.arg(name="")] = field(default_factory=Watchdog)
    flaws: Annotated[Flaws, tyro.conf.arg(name="")] = field(default_factory=Flaws)
    seed: int = 0
    """Of the simulated robot's start states, and of what happens to its packets."""

    def run(self) -> int:
        """Run it."""
        from warmstart.sim2real.deployment.runtime.contract import DeploymentError
        from warmstart.sim2real.deployment.runtime.outcome import RunError

        try:
            return self._run()
        except RunError as error:
            note(str(error))
            return 1
        except DeploymentError as error:
            raise WarmstartError(str(error)) from error

    def _run(self) -> int:
        from warmstart.sim2real.deployment.runtime.contract import read_contract
        from warmstart.sim2real.deployment.runtime.main import (
            check_settings,
            close_robot,
            open_robot,
            run_policy,
            status_of,
        )
        from warmstart.sim2real.deployment.simulated import simulated_robot

        self.load_plugins()
        contract = read_contract(self.policy)
        check_settings(contract, self.seconds, self.limits, self.watchdog)
        task = self.task or contract.task
        if self.robot is not None and (self.task is not None or self.flaws != Flaws()):
            raise WarmstartError(
                "--task and what is wrong with a link are a simulated robot's: leave out them or --robot."
            )
        if self.robot is None and task is None:
            raise WarmstartError("The policy doesn't say what it was trained in: give --robot or --task.")
        with contextlib.ExitStack() as stack:
            address = self.robot
            if address is None:
                assert task is not None
                read(Flaws, asdict(self.flaws))
                address = stack.enter_context(simulated_robot(task, self.flaws, self.seed, self.plugin))
            robot = open_robot(address)
            stack.callback(close_robot, robot)
            facts = {"robot": self.robot or f"simulated {task}", "flaws": asdict(self.flaws)}
            outcome, log = run_policy(
                self.policy, robot, self.log, self.seconds, self.limits, self.watchdog, facts
            )
        if self.json:
            print_json({**outcome.to_json(), "log": str(log)})
        else:
            console().print(str(outcome))
            note(f"log: {log}")
        return status_of(outcome)
