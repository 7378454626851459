"""The runner's loop at 500 Hz: how late steps come, and what importing it costs.

A policy as large as a trained one (two layers of 256) is run by the ``run.py`` of an exported folder, in a
process of its own, against a simulated robot behind UDP (Hopper at 500 Hz), which takes another core. Imports
are timed in fresh processes, less what Python itself takes. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

TASK = "Hopper-v5:frame_skip=1"
HIDDEN = 256
GOAL_MS, GOAL_IMPORT = 1.0, 0.3
PARTS = (
    "pass",
    "import numpy",
    "import onnxruntime",
    "import runtime.main",
    "import runtime.main, onnxruntime",
)


def export(folder: Path) -> None:
    """An untrained policy of the task with its contract and its runner."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from warmstart.envs.vector import make_vec
    from warmstart.sim2real.deployment.copying import copy_runtime
    from warmstart.sim2real.deployment.runtime.contract import Contract, write_contract
    from warmstart.sim2real.deployment.signals import action_signal, observation_signals

    env: Any = make_vec(TASK, 1, 0)
    (observation,), action, rate = observation_signals(env), action_signal(env), 1 / env.sim.dt[0]
    env.close()
    sizes = [observation.shape[0], HIDDEN, HIDDEN, action.shape[0]]
    rng, nodes, known, last = np.random.default_rng(0), [], [], observation.name
    for i, (n, m) in enumerate(pairwise(sizes)):
        weight = (rng.standard_normal((n, m)) / np.sqrt(n)).astype(np.float32)
        known += [
            numpy_helper.from_array(weight, f"w{i}"),
            numpy_helper.from_array(np.zeros(m, "f4"), f"b{i}"),
        ]
        out = action.name if i == len(sizes) - 2 else f"t{i}"
        nodes += [helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"g{i}"])]
        nodes += [helper.make_node("Tanh", [f"g{i}"], [out])]
        last = out
    ends = [(observation.name, sizes[0]), (action.name, sizes[-1])]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in ends]
    graph = helper.make_graph(nodes, "policy", infos[:1], infos[1:], known)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "policy.onnx")
    write_contract(Contract("ppo", (observation,), action, float(rate), task=TASK), folder)
    copy_runtime(folder)


def run(folder: Path, seconds: float) -> dict[str, float]:
    """Run it, and read from the log how late steps came, in ms."""
    from warmstart.sim2real.deployment.simulated import simulated_robot
    from warmstart.transfer.replaying.run_logs import read_run_log

    log = folder / "run.csv"
    with simulated_robot(TASK) as address:
        words = [sys.executable, "run.py", "--robot", address, f"--seconds={seconds}", f"--log={log}"]
        words += ["--stale-after=1", "--pause-after=1"]  # how late it is shall be seen, not end it
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The run failed. {done.stdout}{done.stderr}")
    found = read_run_log(log)
    acted = {name: found.columns[name][found.acted] for name in ("late", "compute", "round_trip")}
    result = {"steps": float(len(acted["late"])), "rate_hz": found.rate}
    for name, values in acted.items():
        for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            result[f"{name}_{label}_ms"] = 1e3 * float(np.nanquantile(values, share))
    result["missed"] = seconds * found.rate - result["steps"]
    return result


def imports(folder: Path, repeats: int = 7) -> dict[str, float]:
    """Median seconds of each part's import in a fresh process; of all but the first, less the first's."""
    found = {}
    for code in PARTS:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
            times.append(time.perf_counter() - start)
        found[code] = float(np.median(times)) - found.get("pass", 0.0)
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(folder)
        parts, loop = imports(folder), run(folder, given.seconds)
    if given.json:
        print(json.dumps({"imports": parts, "loop": loop}, indent=1))
        return
    print(f"{loop['steps']:.0f} steps at {loop['rate_hz']:.0f} Hz, {loop['missed']:.0f} missed")
    for name in ("late", "compute", "round_trip"):
        print(f"  {name:<10}", *(f"{q} {loop[f'{name}_{q}_ms']:.3f} ms " for q in ("p50", "p99", "max")))
    print(f"  goal: late p99 below {GOAL_MS:g} ms: {'met' if loop['late_p99_ms'] < GOAL_MS else 'MISSED'}")
    for code, seconds in parts.items():
        print(f"  {code:<38} {seconds:.3f} s")
    met = parts[PARTS[-1]] < GOAL_IMPORT
    print(f"  goal: imports below {GOAL_IMPORT:g} s: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
