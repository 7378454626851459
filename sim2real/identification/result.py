"""What an identification found: estimates with intervals, losses, the verdict of the replay gate."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from warmstart.core.bounds import Settings


@dataclass(frozen=True)
class Estimate:
    """One fitted parameter, as the number of its term (a factor, an offset or a value).

    Attributes:
        name: The parameter or pattern, as it was given.
        operation: What the number does: ``scale``, ``add`` or ``set``.
        number: The fit.
        low: Lower end of its 95% interval.
        high: Upper end.
        unit: Unit of the physical value.
        nominal: The physical value without the fit, of the first parameter that is meant.
        value: The same with it.
        at_bound: Whether the fit lies at an end of the range, which then is too narrow.
    """

    name: str
    operation: str
    number: float
    low: float
    high: float
    unit: str
    nominal: float
    value: float
    at_bound: bool

    @property
    def ratio(self) -> float | None:
        """Value by nominal; None where the nominal is 0."""
        return self.value / self.nominal if self.nominal else None


@dataclass(frozen=True)
class Losses:
    """Mean loss per measured number, in units of the noise: about 1 where a model explains everything.

    Attributes:
        train_nominal: Of the nominal model on a part of the recordings that were fitted.
        train_fitted: Of the fitted one.
        held_nominal: Of the nominal model on those that were held out.
        held_fitted: Of the fitted one.
    """

    train_nominal: float
    train_fitted: float
    held_nominal: float
    held_fitted: float


@dataclass(frozen=True)
class Identification:
    """What was found out about a robot.

    Attributes:
        task: The nominal task.
        estimates: The fitted parameters.
        excluded: Parameters that the data doesn't determine, which stay nominal, with the reason.
        delay: Control steps after which a command acts most often; None where it wasn't asked for.
        delays: Fewest and most, where that changes; the same twice where it doesn't, None likewise.
        lag: Time constant, s, with which drives follow their commands; None where it wasn't asked for.
        noise: Standard deviation of what the fit leaves over of each position and velocity that the task's
            observation has, by its name there and in its unit: the sensors' noise, and what no parameter
            explains.
        delay_losses: Loss of a quick fit under each delay that was tried.
        losses: How well nominal and fitted model replay the recordings.
        margin: By which share the fitted model must beat the nominal one on what was held out.
        task_text: The task with the fitted physics.
        recipe: Randomization about the fit, as `read_terms` reads it.
        seed: That of the fit.
        notes: What was guessed or left out of the recordings, and what looks odd in the fit.
    """

    task: str
    estimates: tuple[Estimate, ...]
    excluded: dict[str, str]
    delay: int | None
    delays: tuple[int, int] | None
    lag: float | None
    noise: dict[str, float]
    delay_losses: dict[int, float]
    losses: Losses
    margin: float
    task_text: str
    recipe: Settings
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def imperfections(self) -> Settings:
        """Delay, lag and noise, as `Imperfections` reads them, without those that there aren't."""
        found: dict[str, Any] = {}
        if self.delays and self.delays[1]:
            low, high = self.delays
            found["action_delay"] = high if low == high else [low, high]
        if self.lag:
            found["action_lag"] = float(f"{self.lag:.4g}")
        if self.noise:
            found["noise"] = [{"std": std, "sensors": [name]} for name, std in self.noise.items()]
        return found

    @property
    def accepted(self) -> bool:
        """Whether the fitted model replays what was held out better than the nominal one, by the margin."""
        return self.losses.held_fitted <= (1 - self.margin) * self.losses.held_nominal

    @property
    def message(self) -> str:
        """The verdict in a sentence."""
        nominal, fitted = self.losses.held_nominal, self.losses.held_fitted
        found = f"loss on held-out recordings {fitted:.3g} against {nominal:.3g} of the nominal model"
        if self.accepted:
            return f"accepted: {found}, {1 - fitted / nominal:.0%} less"
        return (
            f"rejected: {found}; expected at least {self.margin:.0%} less. The nominal physics is as good, "
            "or what differs is none of these parameters: fit others, or record more motion."
        )

    def table(self) -> list[dict[str, str]]:
        """Rows of a table: parameter, nominal, fitted, ratio, interval, verdict."""
        sure = "identified" if self.accepted else "fitted, but the fit is rejected: take the nominal value"
        rows = [
            {
                "parameter": each.name,
                "nominal": f"{each.nominal:.4g} {each.unit}".strip(),
                "fitted": f"{each.value:.4g} {each.unit}".strip(),
                "number": _write(each.operation, each.number),
                "95% interval": f"{_write(each.operation, each.low)} to {_write(each.operation, each.high)}",
                "verdict": "at the end of its range: widen it" if each.at_bound else sure,
            }
            for each in self.estimates
        ]
        rows += [
            {"parameter": name, "nominal": "", "fitted": "", "number": "", "95% interval": "", "verdict": why}
            for name, why in self.excluded.items()
        ]
        return rows

    def to_json(self) -> Settings:
        """Plain values."""
        written = asdict(self)
        written["delay_losses"] = {str(key): value for key, value in self.delay_losses.items()}
        written["estimates"] = [{**asdict(each), "ratio": each.ratio} for each in self.estimates]
        return {
            **written,
            "accepted": self.accepted,
            "message": self.message,
            "imperfections": self.imperfections,
        }

    def save(self, path: str | Path) -> Path:
        """Write it as YAML where the path ends in ``.yaml`` or ``.yml``, else as JSON."""
        target, plain = Path(path), json.loads(json.dumps(self.to_json()))
        target.parent.mkdir(parents=True, exist_ok=True)
        yaml_wanted = target.suffix in (".yaml", ".yml")
        text = yaml.safe_dump(plain, sort_keys=False) if yaml_wanted else json.dumps(plain, indent=2) + "\n"
        target.write_text(text, encoding="utf-8")
        return target


def _write(operation: str, number: float) -> str:
    if operation == "add":
        return f"{'-=' if number < 0 else '+='}{abs(number):.4g}"
    return f"{'x' if operation == 'scale' else ''}{number:.4g}"
