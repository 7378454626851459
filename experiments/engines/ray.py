"""Ray as the carrier of trials: an actor for each worker, which forks trials as the local engine does.

Of Ray only its core is used: it finds a place for the actors, and carries a directory's name there and an
exit status back. Where a worker doesn't see the run's folder, the trial's files are carried, too.
"""

import contextlib
import os
import signal
import socket
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from typing_extensions import override

from warmstart.core.bounds import Bounds
from warmstart.core.errors import WarmstartError
from warmstart.experiments.engines.base import (
    EXIT_LOST,
    Engine,
    TrialProcess,
    import_extra,
    register_engine,
)
from warmstart.experiments.engines.carrying import pack_changes, pack_trial, unpack_changes, unpack_trial
from warmstart.experiments.engines.local import LocalLauncher
from warmstart.experiments.records.claims import Claim, ClaimedError
from warmstart.experiments.records.status import EXIT_CLAIMED

_POLL_SECONDS, _REACH_SECONDS = 0.02, 10.0
_OBJECT_STORE = 256 << 20
"""Bytes of shared memory of a Ray that is started here; what doesn't fit goes to the disk."""
_CARRIED_VARIABLES = ("MUJOCO_GL", "LP_NUM_THREADS", "WARMSTART_TRUSTED")
"""Of the scheduler's environment, what trials elsewhere see, too."""


@register_engine
@dataclass(frozen=True)
class Ray(Engine):
    """Workers of a Ray cluster, or of a Ray that is started here and ended with the study."""

    name: ClassVar[str] = "ray"
    title: ClassVar[str] = "workers of a Ray cluster"

    address: str = ""
    """Of a running cluster: auto, HOST:PORT or ray://HOST:PORT; none starts a Ray on this machine."""
    gpus: Annotated[float, Bounds(0)] = 0.0
    """Of each trial; without, it sees none."""
    shared: bool | None = None
    """Whether workers see the run's folder under the same path; by default each is asked. Where one doesn't,
    a trial's files go there and back."""
    collect: Annotated[float, Bounds(0.1)] = 30.0
    """Seconds after which the files of a running trial are brought back, training state included; what a lost
    worker of another file system costs."""

    @override
    def launch(self, torch_threads: int, workers: int | None) -> "RayLauncher":
        return RayLauncher(self, torch_threads, workers)


class RayLauncher:
    """Starts trials in actors; each serves one trial at a time, and the next one when it has ended."""

    outlives = False

    def __init__(self, settings: Ray, torch_threads: int, workers: int | None) -> None:
        self.ray = import_extra("ray", "ray")
        self.settings, self._threads = settings, torch_threads
        self._owned = not self.ray.is_initialized()
        if self._owned:
            self._connect(workers)
        room = int(self.ray.cluster_resources().get("CPU", 1) // torch_threads)
        self.workers = workers or max(1, room)
        self._free: list[Any] = []
        self._probe: Path | None = None

    def _connect(self, workers: int | None) -> None:
        """Start a Ray or join one; its handler of SIGTERM, which ends the process at once, isn't taken."""
        from warmstart.core.threads import available_cores

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: starved beside anything else
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # ours; else it warns
        quiet = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "namespace": f"warmstart-{uuid.uuid4().hex}",
        }
        own: dict[str, Any] = {}
        if self.settings.address:
            _check_reachable(self.settings.address)
        else:
            cpus = (workers or available_cores()) * self._threads
            own = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _OBJECT_STORE}
        in_main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM)
        try:
            self.ray.init(address=self.settings.address or "local", **quiet, **own)
        except Exception as error:  # noqa: BLE001 (of many kinds, each with a sentence)
            where = f"join the cluster {self.settings.address}" if self.settings.address else "start here"
            why = " ".join(str(error).split()) or type(error).__name__
            raise WarmstartError(f"Ray can't {where}: {why}") from None
        finally:
            if in_main and before is not None:
                signal.signal(signal.SIGTERM, before)

    def start(self, directory: Path) -> TrialProcess:
        """Have an actor run a trial, as soon as the cluster has room for it."""
        directory = directory.resolve()
        probe = self._probe_in(directory.parent.parent)
        actor = self._free.pop() if self._free else self._new_actor()
        return _RayTrial(self, actor, directory, probe)

    def _probe_in(self, run: Path) -> Path:
        """A file of a name that nobody knows: who sees it sees this very folder."""
        if self._probe is None:
            self._probe = run / f".seen-{uuid.uuid4().hex}"
            self._probe.touch()
        return self._probe

    def _new_actor(self) -> Any:
        kind = self.ray.remote(_Worker)
        options = kind.options(
            num_cpus=self._threads, num_gpus=self.settings.gpus, max_restarts=0, max_concurrency=3
        )
        given = {name: os.environ[name] for name in _CARRIED_VARIABLES if name in os.environ}
        hidden = {} if self.settings.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        return options.remote(self._threads, given | hidden)

    def give_back(self, actor: Any) -> None:
        """Let an actor that has ended its trial serve the next one."""
        self._free.append(actor)

    def close(self) -> None:
        """End the actors; and Ray, unless it was there before."""
        for actor in self._free:
            self.ray.kill(actor)
        self._free.clear()
        if self._probe is not None:
            self._probe.unlink(missing_ok=True)
        if self._owned:
            self.ray.shutdown()


def _check_reachable(address: str) -> None:
    """See that somebody listens at HOST:PORT, which Ray would wait a minute and a half for.

    Raises:
        WarmstartError: Nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise WarmstartError(f"Ray can't join the cluster {address}: {error}.") from None


class _RayTrial:
    """A trial in an actor."""

    def __init__(self, launcher: RayLauncher, actor: Any, directory: Path, probe: Path) -> None:
        self._launcher, self._ray = launcher, launcher.ray
        self._actor, self._directory = actor, directory
        self._code: int | None = None
        self._claim: Claim | None = None
        self._collecting: Any = None
        if launcher.settings.shared is False:
            self._carry()
        else:
            asks = launcher.settings.shared is None
            self._running = actor.run.remote(str(directory), str(probe) if asks else "")

    def _carry(self) -> None:
        """Run the trial in a copy of what it needs; the claim on the original is held here."""
        claim = Claim(self._directory)
        try:
            claim.__enter__()
        except ClaimedError:
            self._launcher.give_back(self._actor)
            self._code = EXIT_CLAIMED
            return
        self._claim, self._due = claim, time.monotonic() + self._launcher.settings.collect
        self._running = self._actor.run_carried.remote(pack_trial(self._directory), self._directory.name)

    def poll(self) -> int | None:
        """Exit status; None while it runs."""
        if self._code is not None:
            return self._code
        try:
            self._collect()
            if not self._ray.wait([self._running], timeout=0)[0]:
                return None
            code, changes = self._ray.get(self._running)
        except self._ray.exceptions.RayTaskError as error:
            self._let_go()
            raise WarmstartError(f"Ray's worker can't run trials: {_last_line(error)}") from None
        except self._ray.exceptions.RayError:
            with contextlib.suppress(Exception):
                self._ray.kill(self._actor)
            self._let_go()
            self._code = EXIT_LOST
            return self._code
        if code is None:  # the worker doesn't see the folder
            self._carry()
            return self._code
        if changes:
            unpack_changes(changes, self._directory)
        self._let_go()
        self._launcher.give_back(self._actor)
        self._code = code
        return self._code

    def _collect(self) -> None:
        """Bring the files of a carried trial back from time to time."""
        if self._claim is None:
            return
        if self._collecting is None:
            if time.monotonic() >= self._due:
                self._collecting = self._actor.changes.remote()
        elif self._ray.wait([self._collecting], timeout=0)[0]:
            changes, self._collecting = self._ray.get(self._collecting), None
            if changes:  # none before it begins, and when it has ended
                unpack_changes(changes, self._directory)
            self._due = time.monotonic() + self._launcher.settings.collect

    def _let_go(self) -> None:
        if self._claim is not None:
            self._claim.__exit__()
            self._claim = None

    def send_signal(self, number: int) -> None:
        """Send the trial's process a signal."""
        if self._code is None:
            self._actor.signal.remote(self._directory.name, int(number))


class _Worker:
    """What an actor does: one trial at a time, in a process forked from a server of its own."""

    def __init__(self, torch_threads: int, variables: dict[str, str]) -> None:
        self._launcher = LocalLauncher(torch_threads, variables=variables)
        self._lock = threading.Lock()
        self._process: TrialProcess | None = None
        self._trial = ""
        self._asked: list[tuple[str, int]] = []
        """Signals for trials by name that came before their processes."""
        self._place: Path | None = None
        self._seen: dict[str, tuple[int, int]] = {}

    def run(self, directory: str, probe: str) -> tuple[int | None, bytes]:
        """Run a trial of a folder that both see.

        Returns:
            Its exit status, None where the folder isn't seen; and nothing.
        """
        if probe and not Path(probe).exists():
            return None, b""
        return self._run(Path(directory)), b""

    def run_carried(self, content: bytes, name: str) -> tuple[int, bytes]:
        """Run a trial in a folder of its own.

        Returns:
            Its exit status, and the files that it wrote since they were asked for last.
        """
        with tempfile.TemporaryDirectory(prefix="warmstart-") as folder:
            place = unpack_trial(content, Path(folder) / "run", name)
            with self._lock:
                self._seen = {}
                pack_changes(place, self._seen)
                self._place = place
            try:
                code = self._run(place)
            finally:
                with self._lock:
                    self._place = None
            return code, pack_changes(place, {})

    def changes(self) -> bytes:
        """The files that a carried trial wrote since they were asked for last."""
        with self._lock:
            return b"" if self._place is None else pack_changes(self._place, self._seen)

    def _run(self, directory: Path) -> int:
        process = self._launcher.start(directory)
        with self._lock:
            self._process, self._trial, asked, self._asked = process, directory.name, self._asked, []
            for name, number in asked:
                if name == directory.name:
                    process.send_signal(number)
        try:
            while (code := process.poll()) is None:
                time.sleep(_POLL_SECONDS)
        finally:
            with self._lock:
                self._process = None
        return code

    def signal(self, name: str, number: int) -> None:
        """Send a trial's process a signal, as soon as there is one."""
        with self._lock:
            if self._process is None:
                self._asked.append((name, number))
            elif self._trial == name:
                self._process.send_signal(number)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
