"""Does the viewer hold real time on one core, and how soon does a slider act? HalfCheetah, one page.

The viewer runs on one core. A process that speaks the protocol of viser plays the page: it takes all that is
drawn, and moves a slider some times per second. Latency is counted from its sending to the physics being in
force, and to the end of the first control step under it.
"""

import argparse
import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np

from warmstart.core.threads import decide_threads

TASK = "HalfCheetah-v5"
BAR_SECONDS = 0.1
PAGE = """
import random, sys, threading, time
import msgspec, viser
from websockets.sync.client import connect
url, slider, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
with connect(url, subprotocols=[f"viser-v{viser.__version__}"], max_size=None, compression=None) as page:
    threading.Thread(target=lambda: [None for _ in page], daemon=True).start()
    pose = {"wxyz": (1, 0, 0, 0), "position": (0, -3, 1), "look_at": (0, 0, 0), "up_direction": (0, 0, 1)}
    view = {"fov": 1.0, "near": 0.01, "far": 100.0, "image_height": 600, "image_width": 800}
    page.send(msgspec.msgpack.encode({"type": "ViewerCameraMessage", **pose, **view}))
    time.sleep(2)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(random.uniform(0.2, 0.4))
        update = {"type": "GuiUpdateMessage", "uuid": slider, "updates": {"value": random.uniform(0.5, 2.0)}}
        print(time.monotonic(), flush=True)
        page.send(msgspec.msgpack.encode(update))
"""


def main() -> None:
    """Measure, and print what was found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=20.0)
    chosen = options.parse_args()
    decide_threads(1)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    from warmstart.agents.build import build_agent, make_training_env
    from warmstart.agents.checkpoints.policy import Policy
    from warmstart.agents.settings.defaults import default_config
    from warmstart.agents.viewer.viewer import Viewer
    from warmstart.envs.tasks.task import Task

    config = default_config("ppo", TASK)
    env = make_training_env(config, TASK, 0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    viewer = Viewer({"policy": Policy.from_model(build_agent(config, env, 0))}, Task.parse(TASK), port=port)
    session, slider = viewer.session, viewer.panel.sliders["gravity", None]
    in_force, stepped, waiting = list[float](), list[float](), list[float]()
    change, step = session.change, session.step

    def timed_change(*arguments: object) -> None:
        change(*arguments)  # type: ignore[arg-type]
        in_force.append(time.monotonic())
        waiting.append(in_force[-1])

    def timed_step() -> None:
        step()
        stepped.extend(time.monotonic() for _ in waiting)
        waiting.clear()

    session.change, session.step = timed_change, timed_step  # type: ignore[method-assign]
    words = [sys.executable, "-c", PAGE, f"ws://127.0.0.1:{port}", slider._impl.uuid, str(chosen.seconds)]
    page = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(page.pid, cores[1:] or cores)
    sent: list[float] = []
    reader = threading.Thread(target=lambda: sent.extend(map(float, page.stdout or ())))
    reader.start()
    while not in_force and page.poll() is None:
        viewer.run(0.1)
    start, steps, busy = time.monotonic(), session.shown, time.process_time()
    viewer.run(chosen.seconds)
    elapsed = time.monotonic() - start
    simulated = (session.shown - steps) * session.period
    busy = (time.process_time() - busy) / elapsed
    page.wait()
    viewer.run(0.5)
    reader.join()
    viewer.close()
    env.close()
    count = min(len(sent), len(stepped))
    print(f"{TASK} on one core at speed 1: {simulated / elapsed:.3f}x real time, {busy:.0%} of the core")
    for what, times in (("in force", in_force), ("first step under it", stepped)):
        late = 1000 * (np.array(times[:count]) - np.array(sent[:count]))
        print(
            f"{what}: median {np.median(late):.0f} ms, longest {late.max():.0f} ms of {count} moves "
            f"(bar: {1000 * BAR_SECONDS:.0f} ms)"
        )


if __name__ == "__main__":
    main()
