"""The runner as files beside an exported policy, which run there without this package."""

import shutil
from pathlib import Path

from warmstart.sim2real.deployment.runtime import contract

RUN = '''"""Run the policy in this folder on a robot; needs Python 3.11, NumPy and onnxruntime.

    pip install numpy onnxruntime
    python run.py --robot udp://HOST:PORT --log run.csv
"""

import sys

try:
    from runtime.main import main
except ImportError as error:
    sys.exit(f"{error}. The policy needs NumPy and onnxruntime: pip install numpy onnxruntime")
sys.exit(main())
'''
"""Text of ``run.py``."""


def copy_runtime(folder: Path) -> None:
    """Write ``run.py`` and ``runtime/`` into an exported policy's folder, in place of those there."""
    source, target = Path(contract.__file__).parent, folder / "runtime"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "run.py").write_text(RUN, encoding="utf-8")
