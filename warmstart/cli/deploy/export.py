"""``warmstart export``: a policy as one graph from raw sensors to actuators."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.cli.checkpoints import load_told
from warmstart.cli.console import (
    CheckpointPath,
    Printing,
    Reading,
    check_numbers,
    console,
    note,
    print_json,
    print_table,
)
from warmstart.core.errors import WarmstartError, unknown_name

if TYPE_CHECKING:
    from warmstart.agents.checkpoints.checkpoint import Checkpoint
    from warmstart.sim2real.export.judging import Judged


@dataclass(frozen=True)
class Export(Reading, Printing):
    """One ONNX graph from raw sensor values to actuators, with its contract, checked against the policy.

    The folder holds policy.onnx, contract.json (names, order, units, limits, rate, what it was trained under)
    and run.py, which drives a robot with Python, NumPy and onnxruntime alone. Nothing is written where the
    graph acts otherwise than the policy, or a smaller variant may lose more of the return than allowed.
    """

    checkpoint: CheckpointPath
    """Checkpoint directory, run, SB3 zip, or rsl_rl's or mjlab's .pt."""
    out: Path = Path("policy")
    """Folder to write; an exported policy there is replaced."""
    task: str | None = None
    """Where it is compared with the policy; by default where it was trained."""
    quantize: str | None = None
    """A smaller graph: int8 (weights and activations, calibrated on rollouts), dynamic (weights in int8),
    fp16 or bf16 (weights stored in half precision, computed in float32)."""
    calibration: tuple[Path, ...] = ()
    """Logs of runs, from which int8 takes the ranges of activations; by default it acts in the task."""
    student: str | None = None
    """Widths of a smaller network that learns to act as the policy does, for example 32x32."""
    student_steps: int = 100_000
    """Simulated steps of its lessons."""
    tolerance: float = 0.05
    """Share of the return that a smaller variant may lose: the bad end of the 95% interval counts."""
    episodes: int = 16
    """Closed-loop episodes of each variant."""
    table: bool = False
    """Judge every kind of quantisation, for the table; what --quantize names is written."""

    def run(self) -> int:
        """Export."""
        from warmstart.sim2real.export.compress import KINDS
        from warmstart.sim2real.export.export import check_free, write_export
        from warmstart.sim2real.export.student import widths_of
        from warmstart.sim2real.export.variants import NotGoodError, Wanted, prepare

        check_numbers(self.episodes, 0)
        if self.quantize is not None and self.quantize not in KINDS:
            raise unknown_name("--quantize", self.quantize, KINDS)
        if not 0 <= self.tolerance <= 1:
            raise WarmstartError(f"--tolerance: expected a share from 0 to 1, found {self.tolerance:g}.")
        wanted = Wanted(
            student=() if self.student is None else widths_of(self.student),
            quantize=self.quantize or "",
            tolerance=self.tolerance,
            calibration=self.calibration,
            episodes=self.episodes,
            steps=self.student_steps,
            others=tuple(KINDS) if self.table else (),
        )
        if self.calibration and self.quantize != "int8" and not self.table:
            raise WarmstartError("--calibration is what int8 goes by: give --quantize int8.")
        check_free(self.out)
        self.load_plugins(self.checkpoint)
        checkpoint = load_told(self.checkpoint, self.told)
        with self.progress() as progress:
            update = progress.stage("Exporting")

            def tell(lesson: Any) -> None:
                update(
                    lesson.iteration, lesson.iterations, f"student differs by {lesson.error:.1%} of the range"
                )

            try:
                prepared = prepare(
                    checkpoint, self.task, wanted, trained=training_of(checkpoint), progress=tell
                )
            except NotGoodError as refused:
                if not self.json:
                    print_table(str(checkpoint.path), COLUMNS, map(_row, refused.table))
                raise
        if self.out.exists():
            note(f"The policy that was exported to {self.out} before is replaced.")
        folder = write_export(prepared.exported, self.out)
        contract = prepared.exported.contract
        if self.json:
            table = [asdict(each) for each in prepared.table]
            print_json({"folder": str(folder), "table": table, "contract": contract.to_json()})
            return 0
        print_table(f"{checkpoint.path} in {contract.task}", COLUMNS, map(_row, prepared.table))
        parity = contract.parity
        seen = ", ".join(f"{each.name} {each.dtype}{list(each.shape)}" for each in contract.observations)
        exact = (
            "The same"
            if self.quantize is None and self.student is None
            else "Before it was made smaller the same"
        )
        rate = "no known rate" if contract.rate is None else f"{contract.rate:g} Hz"
        console().print(
            f"{folder}: {seen} → {contract.action.name} {list(contract.action.shape)} at {rate}. "
            f"{exact} as predict to {parity['largest']:.1g} of the range over "
            f"{parity['observations']:,} observations, and to {parity['closed_loop_largest']:.1g} over "
            f"{parity['closed_loop_episodes']} closed-loop episodes."
        )
        note(f"Next: warmstart run {folder}, or python {folder}/run.py --help on the robot.")
        return 0


COLUMNS = ["policy", "size", "p50", "p99", "max (ms)", "action differs", "return", "lost (95% interval)"]


def _row(each: "Judged") -> tuple[str, ...]:
    latency = (f"{value:.3f}" for value in (each.latency.p50, each.latency.p99, each.latency.most))
    lost = "" if not each.size else f"{each.lost:+.1%} ({each.low:+.1%} to {each.high:+.1%})"
    size = f"{each.size / 1024:,.0f} KiB" if each.size else ""
    differs = f"{each.largest:.1e}" if each.size else ""
    return each.name, size, *latency, differs, f"{each.mean:.1f}", lost


def training_of(checkpoint: "Checkpoint") -> dict[str, Any]:
    """What a checkpoint and the trial that it lies in say of its training, for a contract."""
    from warmstart.experiments.records.config import TrialConfig
    from warmstart.experiments.records.records import CONFIG

    found: dict[str, Any] = {}
    if checkpoint.evaluation is not None:
        found["evaluation"] = checkpoint.evaluation
    if checkpoint.task is not None:
        found["task"] = checkpoint.task
    if checkpoint.path is not None and (checkpoint.path.parent / CONFIG).is_file():
        config = TrialConfig.read(checkpoint.path.parent)
        found |= {"method": config.method, "source": config.source, "seed": config.seed}
        names = ("randomize", "imperfections", "disturbances", "curriculum")
        found |= {name: config.world[name] for name in names if name in config.world}
    return found
