"""``warmstart doctor``: what this machine has, what is missing, and what each missing thing is for."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from warmstart.cli.console import Printing, print_json, print_table
from warmstart.core.threads import available_cores

_RENDER_PROBE = """
from warmstart.envs.vector import make_vec
env = make_vec("InvertedPendulum-v5:obs=pixels", 1, n_threads=1)
assert env.reset(seed=0)[0].any()
import sys
print(next(name for name in ("egl", "osmesa", "glfw") if f"mujoco.{name}" in sys.modules))
env.close()
"""
"""A frame as tasks draw it, in a process of its own: a broken driver may end the process."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What was checked."""
    ok: bool
    """Whether it is as it should be."""
    found: str
    """What was found."""
    advice: str = ""
    """What to do about it, and what works without it."""


@dataclass(frozen=True)
class Doctor(Printing):
    """What this machine has and lacks for warmstart, and what to do about it."""

    def run(self) -> int:
        """Look, and say what was found."""
        from warmstart.core.plain import to_plain

        checks = diagnose()
        if self.json:
            print_json(to_plain(checks))
        else:
            rows = [("ok" if c.ok else "MISSING", c.name, c.found, "" if c.ok else c.advice) for c in checks]
            print_table("", ["", "what", "found", "what to do"], rows)
        return 0 if all(check.ok for check in checks) else 1


def diagnose() -> list[Check]:
    """Run every check, in the order in which they are shown. Nothing is changed or installed."""
    return [check for produce in _CHECKS for check in produce()]


def _python() -> Iterator[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", sys.version_info >= (3, 11), found, "warmstart needs Python 3.11 or newer.")


def _packages() -> Iterator[Check]:
    for name in ("warmstart", "gymnasium", "mujoco", "stable-baselines3", "torch", "numpy", "tensorboard"):
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Check(name, False, "not installed", "Install with: pip install warmstart")
            continue
        if name == "mujoco" and found == "4.0.0":
            yield Check(name, False, found, "4.0.0 has a wrong Newton Hessian; use 3.17 or 4.0.1.")
        else:
            yield Check(name, True, found)


def _cores() -> Iterator[Check]:
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    found = f"{available_cores()} (OMP_NUM_THREADS {threads}); studies run one single-threaded trial per core"
    yield Check("cores", True, found)


def _gpu() -> Iterator[Check]:
    import torch

    none = "none; small state policies train on the CPU in any case"
    yield Check("gpu", True, torch.cuda.get_device_name(0) if torch.cuda.is_available() else none)


def _rendering() -> Iterator[Check]:
    command = [sys.executable, "-c", _RENDER_PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        found, why = "", "no frame within a minute"
    else:
        found = done.stdout.strip()
        lines = done.stderr.strip().splitlines()
        why = lines[-1] if lines else f"drawing a frame ended with status {done.returncode}"
        if done.returncode == 0:
            yield Check("rendering", True, f"{found} draws a frame")
            return
    advice = "Frames and `video` need it, states don't. On Debian: apt-get install libegl1 libgl1-mesa-dri"
    yield Check("rendering", False, why.removeprefix("warmstart.core.errors.WarmstartError: "), advice)


def _weights() -> Iterator[Check]:
    folder = os.environ.get("WARMSTART_WEIGHTS", "")
    files = sorted(path.name for path in Path(folder).glob("*.safetensors")) if folder else []
    listed = ", ".join(files) or "no .safetensors files"
    found = f"{folder}: {listed}" if folder else "WARMSTART_WEIGHTS not set"
    advice = "It has to name a folder of weight files; encoders of other weights work without it."
    yield Check("pretrained weights", not folder or bool(files), found, advice)


def _browser() -> Iterator[Check]:
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "firefox"))), None)
    yield Check("browser", True, found or "none found; reports are single HTML files, open them elsewhere")


_CHECKS: tuple[Callable[[], Iterator[Check]], ...]
_CHECKS = (_python, _packages, _cores, _gpu, _rendering, _weights, _browser)
