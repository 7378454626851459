"""A process that has imported everything a trial needs and forks one process per trial.

Importing torch and what it draws in takes about three seconds, which every trial would pay anew. Speaks JSON
lines: `{"start": ID, "directory": …, "log": …}` and `{"signal": NUMBER, "id": ID}` come in, `{"ready": true}`
and `{"ended": ID, "code": …}` go out. Ends with its input; its children notice and stop. Linux only.
"""

import gc
import json
import os
import select
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

_POLL_SECONDS = 0.05


def main() -> int:
    """Serve until the input ends."""
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    _import_everything()
    if _threads() != 1:
        return 1  # forking beside other threads isn't safe; trials are started directly then
    gc.collect()
    gc.freeze()
    _answer(answers, {"ready": True})
    children: dict[int, int] = {}
    pending = b""
    while True:
        readable, _, _ = select.select([requests], [], [], _POLL_SECONDS)
        if readable:
            received = requests.read(65536)
            if not received:
                return 0
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                _serve(json.loads(line), children, (requests, answers))
        _report_ended(children, answers)


def _serve(request: dict[str, Any], children: dict[int, int], files: tuple[BinaryIO, ...]) -> None:
    if "start" in request:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _run_child(Path(request["directory"]), Path(request["log"]), parent, files)
        children[pid] = request["start"]
        return
    for pid, number in children.items():
        if number == request["id"]:
            os.kill(pid, request["signal"])


def _run_child(directory: Path, log: Path, parent: int, files: tuple[BinaryIO, ...]) -> None:
    """Become the process of a trial; never returns."""
    code = 1
    try:
        for file in files:
            file.close()
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        from warmstart.experiments.trial.trial import main as run

        code = run([str(directory), str(parent)])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _report_ended(children: dict[int, int], answers: BinaryIO) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        _answer(answers, {"ended": children.pop(pid), "code": code})


def _answer(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write((json.dumps(answer) + "\n").encode())


def _import_everything() -> None:
    """Import what trials import, and what torch would import when the first optimizer is built."""
    for module in ("torch._dynamo", "warmstart.experiments.trial.training"):
        import_module(module)


def _threads() -> int:
    """Threads of this process, those of libraries included."""
    return len(list(Path("/proc/self/task").iterdir()))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main())
