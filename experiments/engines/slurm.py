"""SLURM as the carrier of trials, through submitit: a job for each trial.

Jobs go on without a scheduler; their numbers are noted in the trials' directories, where the next scheduler
finds them. Nothing that submitit pickles is read back: a job notes how it ended in a file of its own.
"""

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from typing_extensions import override

from warmstart.core.bounds import Bounds, Count
from warmstart.core.errors import WarmstartError
from warmstart.core.files import read_json, write_json
from warmstart.experiments.engines.base import (
    EXIT_LOST,
    Engine,
    TrialProcess,
    import_extra,
    register_engine,
)
from warmstart.experiments.engines.carrying import JOB, JOBS
from warmstart.experiments.engines.job import TrialJob, goes_on, noted_code

MOST_JOBS = 100
"""Jobs at a time where nothing else is said."""
_SECONDS_BETWEEN_POLLS = 1.0
_SECONDS_BETWEEN_QUERIES = 5.0
_NO_SLURM = "There is no SLURM on this machine: run this where `sbatch`, `srun` and `squeue` are."


@register_engine
@dataclass(frozen=True)
class Slurm(Engine):
    """Jobs of a SLURM cluster, on a file system that they share with this machine."""

    name: ClassVar[str] = "slurm"
    title: ClassVar[str] = "jobs of a SLURM cluster"

    partition: str | None = None
    """Partition, or several with commas between them; the cluster's usual one by default."""
    time: Count = 24 * 60
    """Minutes that a job may take; one that takes longer keeps its training state and is queued again."""
    mem: str | None = None
    """Memory of a job, as in 4GB; the cluster's usual amount by default."""
    cpus: Count | None = None
    """Cores of a job; as many as a trial has threads by default."""
    gpus: Annotated[int, Bounds(0)] = 0
    """GPUs of a job; without, it sees none."""
    account: str | None = None
    """Account that is charged."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that a node must have."""
    signal_before: Annotated[int, Bounds(20)] = 90
    """Seconds before its end at which SLURM tells a job, so that it can write its state."""
    requeues: Annotated[int, Bounds(0)] = 1000
    """How often a job that ran out of its time is queued again."""
    setup: tuple[str, ...] = ()
    """Lines of shell that a job begins with, such as `module load cuda`."""
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Other options of sbatch, without their dashes: `{nodelist: "a[1-4]"}`."""
    cluster: Literal["slurm", "local"] = "slurm"
    """`local` has submitit start the jobs as processes of this machine, to try things out."""

    @override
    def launch(self, torch_threads: int, workers: int | None) -> "SlurmLauncher":
        return SlurmLauncher(self, torch_threads, workers or MOST_JOBS)


class SlurmLauncher:
    """Submits jobs, and finds those again that were submitted before."""

    outlives = True

    def __init__(self, settings: Slurm, torch_threads: int, workers: int) -> None:
        self.workers = workers
        self.settings, self._threads = settings, torch_threads
        self._submitit = import_extra("submitit", "slurm")
        self.queue = _Queue(settings.cluster)
        self._executor: Any = None

    def _executor_of(self, run: Path) -> Any:
        if self._executor is None:
            of = self.settings
            try:
                most = {f"{of.cluster}_max_num_timeout": of.requeues}
                self._executor = self._submitit.AutoExecutor(run / JOBS, cluster=of.cluster, **most)
            except RuntimeError:
                raise WarmstartError(_NO_SLURM) from None
            common = {"timeout_min": of.time, "cpus_per_task": of.cpus or self._threads}
            if of.gpus:
                common["gpus_per_node"] = of.gpus
            own = ("partition", "account", "qos", "constraint", "mem")
            told = {name: getattr(of, name) for name in own if getattr(of, name) is not None}
            self._executor.update_parameters(
                **common,
                name="warmstart",
                slurm_signal_delay_s=of.signal_before,
                slurm_setup=list(of.setup) or None,
                slurm_additional_parameters={"requeue": True, **told, **of.parameters},
            )
        return self._executor

    def start(self, directory: Path) -> TrialProcess:
        """Submit a trial's job, unless one that was submitted before is still queued or runs.

        Raises:
            WarmstartError: SLURM refuses it.
        """
        directory = directory.resolve()
        noted = read_json(directory / JOB) or {}
        job, same = noted.get("job"), noted.get("cluster") == self.settings.cluster
        if same and isinstance(job, str) and goes_on(directory, job) and self.queue.holds(job):
            return _SlurmTrial(self.queue, directory, job)
        executor = self._executor_of(directory.parent.parent)
        task = TrialJob(str(directory), self._threads, bool(self.settings.gpus))
        try:
            submitted = executor.submit(task)
        except Exception as error:  # noqa: BLE001 (submitit's own, sbatch's, the file system's)
            said = getattr(error, "stderr", None) or getattr(error, "output", None) or error
            said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
            raise WarmstartError(f"SLURM doesn't take a job: {' '.join(said.split())}") from None
        job = str(submitted.job_id)
        self.queue.add(job, submitted)
        write_json(directory / JOB, {"cluster": self.settings.cluster, "job": job})
        return _SlurmTrial(self.queue, directory, job)

    def close(self) -> None:
        """Leave the jobs to themselves."""


class _Queue:
    """Which jobs are queued or run, asked for all of them at once and not too often."""

    def __init__(self, cluster: Literal["slurm", "local"]) -> None:
        self._cluster = cluster
        self._jobs: set[str] = set()
        self._local: dict[str, Any] = {}
        self._asked = -math.inf

    def add(self, job: str, submitted: Any) -> None:
        """Note a job that was just submitted."""
        self._jobs.add(job)
        self._local[job] = submitted

    def holds(self, job: str) -> bool:
        """Whether a job is queued or runs, as far as is known."""
        if self._cluster == "local":
            return not self._local[job].done() if job in self._local else _is_process(job)
        if time.monotonic() - self._asked >= _SECONDS_BETWEEN_QUERIES:
            self._ask()
        return job in self._jobs

    def _ask(self) -> None:
        """Ask SLURM; where it doesn't answer, all stays as it was, and nothing counts as lost."""
        command = ["squeue", "--me", "--noheader", "--format=%i"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        except FileNotFoundError:
            raise WarmstartError(_NO_SLURM) from None
        except subprocess.SubprocessError:
            return
        finally:
            self._asked = time.monotonic()
        self._jobs = set(told.split())

    def cancel(self, job: str, number: int) -> None:
        """Send a job's processes a signal; SIGKILL ends the job."""
        if self._cluster == "local":
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(job), number)
            return
        what = [] if number == signal.SIGKILL else [f"--signal={signal.Signals(number).name}"]
        subprocess.run(["scancel", *what, job], capture_output=True, timeout=60, check=False)


def _is_process(job: str) -> bool:
    """Whether a job of submitit's local executor, which is named by its controller's process, still runs."""
    try:
        words = Path(f"/proc/{int(job)}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    return b"submitit.local._local" in words


class _SlurmTrial:
    """A trial's job."""

    def __init__(self, queue: _Queue, directory: Path, job: str) -> None:
        self._queue, self._directory, self.job = queue, directory, job
        self._looked = self._missed = 0.0
        self._code: int | None = None

    def poll(self) -> int | None:
        """Exit status of the trial in its job; None while the job is queued, runs or was queued again."""
        now = time.monotonic()
        if self._code is not None or now - self._looked < _SECONDS_BETWEEN_POLLS:
            return self._code
        self._looked = now
        code = noted_code(self._directory, self.job)
        if not goes_on(self._directory, self.job):
            self._code = code
        elif self._queue.holds(self.job):
            self._missed = 0.0
        elif not self._missed:  # its last word may be on its way
            self._missed = now
        elif now - self._missed > 2 * _SECONDS_BETWEEN_QUERIES:
            self._code = EXIT_LOST if code is None else code
        return self._code

    def send_signal(self, number: int) -> None:
        """Send the job's processes a signal."""
        self._queue.cancel(self.job, number)
