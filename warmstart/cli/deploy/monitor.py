"""``warmstart monitor``: what the logs of runs tell, against what the policy saw in training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from warmstart.cli.console import Printing, console, note, print_json, print_table
from warmstart.core.errors import WarmstartError

if TYPE_CHECKING:
    from warmstart.sim2real.deployment.monitor import Monitored

LogPaths = tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="LOG...")]]


@dataclass(frozen=True)
class Monitor(Printing):
    """What logs of runs tell: return, saturated actions, latency, and drift of observations from training.

    Writes a report and TensorBoard scalars. The exit status is 1 where a dimension drifted so far that it is
    an alarm.
    """

    logs: LogPaths
    """Files that `warmstart run` or an exported policy's run.py wrote; they may still be growing."""
    out: Path = Path("monitor")
    """Folder for report.html, and for tensorboard/LOG."""
    window: float = 1.0
    """Seconds that a point of the curves and of TensorBoard's scalars stands for."""

    def run(self) -> int:
        """Tell it."""
        from warmstart.experiments.report.monitoring import write_monitor_report
        from warmstart.sim2real.deployment.monitor import monitor
        from warmstart.sim2real.deployment.scalars import check_window, names_of, write_scalars
        from warmstart.transfer.replaying.run_logs import read_run_log

        if not self.logs:
            raise WarmstartError("Expected at least one log of a run, found none.")
        check_window(self.window)
        logs = [read_run_log(path) for path in self.logs]
        found = [monitor(log) for log in logs]
        report = write_monitor_report(
            list(zip(logs, found, strict=True)), self.out / "report.html", self.window
        )
        for log, name in zip(logs, names_of(self.logs), strict=True):
            write_scalars(log, self.out / "tensorboard" / name, self.window)
        if self.json:
            print_json([each.to_json() for each in found])
        else:
            for each in found:
                _show(each)
            note(f"report: {report}; scalars: tensorboard --logdir {self.out / 'tensorboard'}")
        return 1 if any(each.alarms for each in found) else 0


def _show(found: "Monitored") -> None:
    """Print what a log tells."""
    from warmstart.sim2real.deployment.monitor import TIMES

    out = console()
    ends = f"safe stop: {found.stop}" if found.stop else "no end"
    out.print(f"{found.path}: {found.steps:,} steps in {found.seconds:.1f} s at {found.rate:g} Hz; {ends}")
    if told := found.told_returns():
        out.print(told)
    rows = [[words, *(f"{value:.3f}" for value in found.times[key].values())] for key, words in TIMES.items()]
    print_table("Times in ms", ["what", "p50", "p99", "max"], rows)
    kinds = [
        [each.name, *(f"{s:.1%}" for s in (each.low, each.high, each.limited))] for each in found.saturation
    ]
    print_table("Saturation, share of steps", ["action", "at low", "at high", "limited"], kinds)
    drift = [
        [each.name, each.unit, f"{each.shift:+.2f}", f"{each.outside:.1%}", each.alarm or "ok"]
        for each in found.drift
    ]
    if drift:
        print_table("Drift", ["dimension", "unit", "shift in std", "outside", "verdict"], drift)
    counts = (
        f"{found.lost:.1%} of the observations lost, {found.unsound} unsound, {found.missed} steps missed"
    )
    out.print(counts)
    for each in found.notes:
        out.print(f"note: {each}")
    if found.drift:
        out.print(f"alarms: {len(found.alarms)}")
    out.print()
