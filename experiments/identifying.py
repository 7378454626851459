"""A trial that identifies physics from motion recorded in the reality; others train in the result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmstart.envs.errors import WarmstartError
from warmstart.envs.tasks import Task
from warmstart.experiments.recorder import Recorder
from warmstart.experiments.records import write_json
from warmstart.experiments.trial_config import TrialConfig
from warmstart.experiments.worlds import IDENTIFICATION, trial_reality


def identify_physics(config: TrialConfig, directory: Path, recorder: Recorder) -> None:
    """Record in the reality, fit, write down what was found.

    Args:
        config: The trial; its ``world`` holds the settings under ``identify``.
        directory: Where the result goes.
        recorder: Where progress is recorded.

    Raises:
        WarmstartError: The data can't determine any of the parameters.
    """
    from warmstart.sim2real.identification import identify  # it is slow to import

    recorder.start(0)
    reality = trial_reality(config, directory)
    if reality is None:
        raise WarmstartError("Nothing can be identified without a reality.")
    settings = dict(config.world["identify"])
    parameters = settings.pop("parameters")
    delay, lag = settings.pop("delay", None), float(settings.pop("lag", 0.0))
    recorded, steps = reality.record(float(settings.pop("seconds", 60.0)), seed=config.seed, **settings)
    found = identify(
        Task.parse(config.task),
        recorded,
        parameters,
        delay=None if delay is None else (int(delay[0]), int(delay[1])),
        lag=lag,
        seed=config.seed,
    )
    write_json(
        directory / IDENTIFICATION,
        {
            **found.to_json(),
            "task": found.task_text,
            "recipe": found.recipe,
            "interactions": steps,
        },
        durable=True,
    )
    recorder.end(0, steps, constant=True)


def identification_notes(found: Mapping[str, Any]) -> list[str]:
    """What an identification came to, for the transfer report; nothing where there was none."""
    if not found:
        return []
    late = ", ".join(f" {key} {value:g}" for key, value in found["imperfections"].items())
    notes = [
        f"Trained in the identified task {found['task']}{',' * bool(late)}{late}, from "
        f"{found['interactions']:,} recorded steps."
    ]
    if not found.get("accepted", True):
        notes.append(
            "The fit failed its replay gate: it predicts held-out motion no better than the nominal."
        )
    return notes
