"""``warmstart view``: policies act live in the browser."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from warmstart.cli.checkpoints import checkpoint_path, load_policies
from warmstart.cli.console import Beside, CheckpointPath, Reading, console
from warmstart.core.errors import WarmstartError


@dataclass(frozen=True)
class View(Reading):
    """Watch a checkpoint act live in the browser: slow it down, change the physics, push it."""

    checkpoint: CheckpointPath
    """Checkpoint directory, run, SB3 zip, or rsl_rl's or mjlab's .pt; NAME=CHECKPOINT gives it a name."""
    task: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="TASK")]] = None
    """Where it acts, for example HalfCheetah-v5@gravity=x0.5; where it was trained by default."""
    beside: Beside = ()
    """Further checkpoints to choose among, or to watch side by side."""
    port: int = 8080
    """Port of this machine to serve the page at."""
    host: str = "127.0.0.1"
    """Address to serve at: 127.0.0.1 is seen from this machine only, 0.0.0.0 from everywhere."""
    seed: int = 0
    """Seed of the first episode."""
    seconds: float | None = None
    """End by itself after so long; by default it goes on until Ctrl-C."""

    def run(self) -> int:
        """Serve it."""
        from warmstart.agents.loading import load_checkpoint
        from warmstart.agents.viewer.viewer import Viewer
        from warmstart.envs.tasks.task import Task

        if self.seed < 0:
            raise WarmstartError(f"Expected a seed of 0 or more, found {self.seed}.")
        if self.seconds is not None and not self.seconds > 0:
            raise WarmstartError(f"Expected a positive number of seconds, found {self.seconds:g}.")
        words = (str(self.checkpoint), *(word for words in self.beside for word in words))
        self.load_plugins(*map(checkpoint_path, words))
        text = self.task
        if text is None:
            text = load_checkpoint(checkpoint_path(words[0]), **self.told).task
        if text is None:
            raise WarmstartError(f"{words[0]} doesn't say where it was trained: give a TASK.")
        task = Task.parse(text)
        viewer = Viewer(load_policies(words, task, self.told), task, self.seed, self.host, self.port)
        try:
            console().print(f"{task} is at {viewer.url}; Ctrl-C ends it.")
            viewer.run(self.seconds)
        except KeyboardInterrupt:
            pass
        finally:
            viewer.close()
        return 0
