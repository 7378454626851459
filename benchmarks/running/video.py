"""How long filming an episode of 1,000 steps of Hopper takes: one policy, and three side by side.

An untrained policy acts; the episode doesn't end when it falls.
"""

import argparse
import tempfile
import time
from pathlib import Path

from warmstart.core.threads import decide_threads

TASK = "Hopper-v5:terminate_when_unhealthy=false"
BAR_SECONDS = 15.0


def main() -> None:
    """Measure, and print a line for each film."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=480)
    options.add_argument("--most", type=int, default=3, help="policies side by side")
    chosen = options.parse_args()
    decide_threads(1)
    from warmstart.agents.build import build_agent, make_training_env
    from warmstart.agents.checkpoints.policy import Policy
    from warmstart.agents.settings.defaults import default_config
    from warmstart.agents.video import record_video
    from warmstart.envs.tasks.task import Task

    config = default_config("ppo", TASK)
    env = make_training_env(config, TASK, 0)
    policy = Policy.from_model(build_agent(config, env, 0))
    for panes in dict.fromkeys((1, chosen.most)):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            policies = {str(pane): policy for pane in range(panes)}
            film = record_video(policies, Task.parse(TASK), Path(folder) / "a.mp4", 8.0, size=chosen.size)
        took = time.perf_counter() - start
        bar = f" (bar: {BAR_SECONDS:g} s)" if panes == 1 else ""
        print(
            f"{panes} in a film: 1,000 steps, {film.frames} frames at {film.fps:.1f} per second, "
            f"in {took:.1f} s{bar}"
        )
    env.close()


if __name__ == "__main__":
    main()
