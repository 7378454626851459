"""A trial that identifies physics from motion recorded in the reality; others train in the result."""

from pathlib import Path

from warmstart.core.bounds import Settings, State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import write_json
from warmstart.core.plain import read
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.recorder import Recorder
from warmstart.experiments.trial.worlds import IDENTIFICATION, trial_reality
from warmstart.sim2real.identification.settings import IdentifySettings


def identify_physics(config: TrialConfig, directory: Path, recorder: Recorder) -> None:
    """Record in the reality, fit, write down what was found.

    A fit that fails its replay gate is written down, too, but not for use: ``task`` then is the nominal one,
    ``recipe`` and ``imperfections`` are empty, and the arms train in the nominal simulation.

    Raises:
        WarmstartError: The data can't determine any of the parameters.
    """
    from warmstart.sim2real.identification.identify import identify  # it is slow to import

    recorder.start(0)
    reality = trial_reality(config, directory)
    if reality is None:
        raise WarmstartError("Nothing can be identified without a reality.")
    settings: IdentifySettings = read(IdentifySettings, config.world["identify"])
    recorded, steps = reality.record(settings, config.seed)
    found = identify(config.task, recorded, settings.parameters, settings, seed=config.seed)
    use: State = {"task": found.task_text, "recipe": found.recipe}
    if not found.accepted:
        use = {"task": found.task, "recipe": {}, "imperfections": {}}
    write_json(directory / IDENTIFICATION, {**found.to_json(), **use, "interactions": steps}, durable=True)
    recorder.end(0, steps, constant=True)


def identification_notes(found: Settings) -> list[str]:
    """What an identification came to, for the transfer report; nothing where there was none."""
    if not found:
        return []
    losses, steps = found["losses"], f"{found['interactions']:,} recorded steps"
    if found["accepted"]:
        others = {key: value for key, value in found["imperfections"].items() if key != "noise"}
        late = "".join(f", {key} {value}" for key, value in others.items())
        noisy = ", and what is left over as its sensors' noise" if found["noise"] else ""
        notes = [f"Identified from {steps}: {found['task']}{late}{noisy}."]
    else:
        notes = [
            f"The fit from {steps} was rejected, since it predicts held-out motion no better than the "
            f"nominal model (loss {losses['held_fitted']:.3g} against {losses['held_nominal']:.3g}): trained "
            "in the nominal simulation instead."
        ]
    if found["excluded"]:
        names = ", ".join(found["excluded"])
        notes.append(f"The recorded motion doesn't determine {names}: the fit leaves that nominal.")
    return notes
