"""The command ``warmstart``: parsing, and one clear message for whatever goes wrong."""

import contextlib
import ctypes
import errno
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence

FAILED, USAGE = 1, 2
_LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8", "glfw": "", "cgl": "", "wgl": ""}
"""Values of ``MUJOCO_GL``, with the library that each needs on Linux and that may be missing."""
_SWITCHES = ("", "disable", "disabled", "off", "false", "0", "on", "enable", "enabled", "true", "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Words after ``warmstart``; those of the process by default.

    Returns:
        Exit status: 0 done, 1 something failed, 2 a mistake in what was asked for, 130 interrupted (Ctrl-C),
        143 terminated (SIGTERM), 129 the terminal was closed (SIGHUP), 138 preempted (SIGUSR1).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    signals: list[int] = []
    try:
        from warmstart.core.threads import ENDINGS, signals_as_interrupt

        with signals_as_interrupt(signals, (signal.SIGINT, *ENDINGS), "warmstart: Interrupted."):
            _prepare()
            from warmstart.cli.table import parse

            return parse(words).run()
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else USAGE
    except KeyboardInterrupt as stopped:
        status = 128 + next((number for number in signals if number != signal.SIGINT), signal.SIGINT)
        eval("0")  # noqa: S307 (else Python ends by SIGINT where the signal came inside of an `exec`)
        return _say(str(stopped) or "Interrupted.", status, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 (every error ends in one message)
        return _report(error, debug)


def _prepare() -> None:
    """Decide threads before torch is imported, and see that ``MUJOCO_GL`` doesn't stop mujoco's import.

    MuJoCo loads the library that the variable names when it is imported, and fails without it; what doesn't
    draw must not depend on that. The renderer tries every backend by itself.
    """
    from warmstart.core.errors import readable, unknown_name
    from warmstart.core.threads import decide_threads

    class Readable(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return readable(super().format(record))

    if logging.lastResort is not None:  # what tells warnings where nobody has set up logging
        logging.lastResort.setFormatter(Readable())

    decide_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    os.environ.setdefault("LP_NUM_THREADS", "0")
    wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
    if wanted in _SWITCHES:
        return
    if wanted not in _LIBRARIES:
        raise unknown_name("value of the environment variable MUJOCO_GL:", wanted, _LIBRARIES)
    try:
        if _LIBRARIES[wanted]:
            ctypes.CDLL(_LIBRARIES[wanted])
    except OSError:
        del os.environ["MUJOCO_GL"]
        why = f"{_LIBRARIES[wanted]} can't be loaded"
        print(f"warmstart: MUJOCO_GL={wanted} is ignored: {why}.", file=sys.stderr)


def _report(error: Exception, debug: bool) -> int:
    from warmstart.core.errors import WarmstartError

    if isinstance(error, WarmstartError):
        return _say(str(error), USAGE, debug)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" ({error.filename})" if error.filename else ""
        advice = "free some space and run the same command again; finished trials are not repeated"
        return _say(f"The disk is full{where}. Nothing recorded is lost: {advice}.", FAILED, debug)
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return _say(f"{error.strerror or error}{where}", USAGE, debug)
    kind = type(error).__name__
    return _say(f"Unexpected {kind}: {error}\nRun with --debug for the traceback.", FAILED, debug)


def _say(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    from warmstart.core.errors import readable

    with contextlib.suppress(OSError):  # the terminal is closed
        print(f"warmstart: {readable(message)}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
