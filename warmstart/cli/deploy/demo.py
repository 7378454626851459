"""``warmstart demo``: the first study, for someone who has just installed the package."""

from dataclasses import dataclass
from pathlib import Path

from warmstart.cli.console import Printing, console
from warmstart.cli.study import show


@dataclass(frozen=True)
class Demo(Printing):
    """A warm start against a cold one, trained here, to the report: some five minutes on two cores.

    The same as `warmstart compare cheetah-friction`.
    """

    pixels: bool = False
    """Learn from images (`warmstart compare pixels-demo`): which encoder, frozen or trained, warm or cold."""
    workers: int | None = None
    """Trials side by side; one per core by default."""
    out: Path | None = None
    """Folder of the run; runs/NAME by default. Running the same command again continues it."""

    def run(self) -> int:
        """Compare, and say where the report is."""
        from warmstart.experiments.run.run import run_study

        study = "pixels-demo" if self.pixels else "cheetah-friction"
        result = run_study(study, self.out, workers=self.workers)
        status = show(result, self.json)
        if not self.json:
            console().print(f"Open it in a browser: {result.report.resolve().as_uri()}")
        return status
