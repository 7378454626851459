"""A stand-in for the real robot: a simulation that is wrong where nobody may look, which counts its use.

A reality is a file: the task that the training side believes in, what is different in truth, and a seal (a
hash of it all). What acts in it gets what a robot gives: observations, rewards and recordings of its
positions and velocities; no parameters, and no start but its own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.bounds import Before, Natural, Settings
from warmstart.core.documents import dump_yaml, parse_yaml, read_yaml
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.files import json_hash
from warmstart.core.plain import check
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.tasks.hooks import Perturbation
from warmstart.envs.tasks.modules import check_modules
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.identification.recording import record, recording_steps
from warmstart.sim2real.identification.settings import RecordingSettings
from warmstart.sim2real.imperfections.disturbances import Disturbances
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.paths import perturbations
from warmstart.sim2real.recordings.trajectories import Trajectories

Array = NDArray[Any]
_TRUE, _STILL = Imperfections(), Disturbances()
_FILES = "warmstart.sim2real.realities"
_SEAL = re.compile(r"^sha256:.*\n?", re.MULTILINE)


def _task(written: Any) -> Any:
    return Task.parse(written) if isinstance(written, str) else written


@dataclass(frozen=True)
class Reality:
    """What is true while the training side believes in ``task``.

    Raises:
        WarmstartError: A part of it isn't sound.
    """

    name: str
    """What it is called."""
    task: Annotated[Task, Before(_task)]
    """The task as the training side knows it, nominal."""
    description: str = ""
    """One sentence for lists; it may say what kind of thing is wrong, not by how much."""
    context: str = ""
    """How the physics differs, as in a task's text."""
    integrator: str | None = None
    """MuJoCo's integrator, where it is another one than the task's."""
    imperfections: Imperfections = _TRUE
    """What sensors, actuators and links do wrong."""
    disturbances: Disturbances = _STILL
    """What happens from outside."""
    seed: Natural = 0
    """Of noise, delays and pushes."""

    def __post_init__(self) -> None:
        check(self)
        if not self.name:
            raise WarmstartError("A reality needs a name.")

    @classmethod
    def from_plain(cls, value: Any) -> Any:
        """Leave the seal of a file out, which is of the rest, and what it says nothing about."""
        if not isinstance(value, Mapping):
            return value
        return {key: item for key, item in value.items() if key != "sha256" and item is not None}

    @property
    def sha256(self) -> str:
        """Hash of everything in it."""
        return json_hash(self.to_json())

    def to_json(self) -> Settings:
        """Plain values, hidden ones among them."""
        optional = {
            "context": self.context,
            "integrator": self.integrator,
            "imperfections": {} if self.imperfections.is_off else self.imperfections.to_json(),
            "disturbances": self.disturbances.to_json(),
        }
        differing = {key: value for key, value in optional.items() if value}
        task = {"name": self.name, "description": self.description, "task": str(self.task)}
        return {**task, **differing, "seed": self.seed}

    def make(self, n_envs: int = 1, seed: int | None = None, *, n_threads: int | None = None) -> "RealityEnv":
        """Make environments in it; see `make_vec`."""
        env = make_vec(self._truth, n_envs, seed, n_threads=n_threads, perturbations=self._perturbations())
        return RealityEnv(env, self)

    def record(self, settings: RecordingSettings, seed: int = 0) -> tuple[Trajectories, int]:
        """Move the robot and record its positions and velocities, as one would to identify it.

        Args:
            settings: How. Without a ``noise_std`` recordings have the bias, noise and resolution of the
                reality's own sensors; what else these do wrong isn't in recordings, which are taken to be
                complete and on time.
            seed: Of the excitation, start states and measurement noise.

        Returns:
            The recordings, and the steps that they took in the reality.

        Raises:
            WarmstartError: It isn't a simulated MuJoCo robot, or it falls at once.
        """
        steps = recording_steps(self.task, settings.seconds)
        found = record(
            self._truth,
            steps,
            settings.signal,
            seed,
            settings.noise_std or 0.0,
            amplitude=settings.amplitude,
            sensors=self.imperfections if settings.noise_std is None else None,
            perturbations=self._perturbations(),
        )
        return found, steps

    @property
    def _truth(self) -> Task:
        options = {} if self.integrator is None else {"integrator": self.integrator}
        task = self.task.with_options(**options)
        return task.with_context(self.context) if self.context else task

    def _perturbations(self) -> Sequence[Perturbation]:
        return *self.disturbances.perturbations(self.seed), *perturbations(self.imperfections, self.seed)


class RealityEnv(VectorEnv[Any, Any, Any]):
    """Environments of a reality: what a robot gives, and nothing else.

    Infos hold what the vector interface needs (final observations), not what the simulation knows. Episodes
    begin where the reality begins them, and nothing puts it back into a state in which it was.

    Attributes:
        name: The reality's.
        sha256: Its seal.
        task: The nominal task.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], reality: Reality) -> None:
        self.__env = env
        self.name, self.sha256 = reality.name, reality.sha256
        self.task = reality.task
        self.__interactions = 0
        self.num_envs, self.spec, self.metadata = env.num_envs, env.spec, env.metadata
        self.render_mode = None
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.observation_space, self.action_space = env.observation_space, env.action_space

    @property
    def interactions(self) -> int:
        """Steps taken so far, all environments together."""
        return self.__interactions

    @property
    def n_diverged(self) -> int:
        """Simulations that diverged so far, which ended their episodes."""
        return int(getattr(self.__env, "n_diverged", 0))

    @property
    def observation_layout(self) -> Layout | None:
        """Names of the observations."""
        layout: Layout | None = getattr(self.__env, "observation_layout", None)
        return layout

    @property
    def action_layout(self) -> Layout | None:
        """Names of the actions."""
        layout: Layout | None = getattr(self.__env, "action_layout", None)
        return layout

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes.

        Raises:
            WarmstartError: Options other than ``reset_mask`` are asked for: a robot can't be put anywhere.
        """
        if options and set(options) != {"reset_mask"}:
            raise WarmstartError(
                f"A reality begins its episodes itself: expected no options but reset_mask, found "
                f"{', '.join(sorted(options))}."
            )
        observations, infos = self.__env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        return observations, _public(infos)

    @override
    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        self.__interactions += self.num_envs
        observations, rewards, terminations, truncations, infos = self.__env.step(actions)
        return observations, rewards, terminations, truncations, _public(infos)

    @override
    def close_extras(self, **kwargs: Any) -> None:
        self.__env.close(**kwargs)


def _public(infos: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that the vector interface needs."""
    found = {name: infos[name] for name in ("final_obs", "_final_obs") if name in infos}
    if "_final_obs" in found:
        found |= {"final_info": {}, "_final_info": found["_final_obs"]}
    return found


def reality_names() -> tuple[str, ...]:
    """Names of the realities that ship with warmstart."""
    files = resources.files(_FILES).iterdir()
    return tuple(sorted(item.name.removesuffix(".yaml") for item in files if item.name.endswith(".yaml")))


def load_reality(name: str | Path) -> Reality:
    """Read a reality by its name or file, and check its seal.

    Raises:
        WarmstartError: There is none, it was edited after it was sealed, or it never was sealed.
    """
    if str(name) in reality_names():
        text = resources.files(_FILES).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        document = parse_yaml(text, f"reality {name}")
    else:
        path = Path(name).expanduser()
        if not path.is_file():
            if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
                raise WarmstartError(
                    f"There is no reality at {path}. Those that ship: {', '.join(reality_names())}."
                )
            raise unknown_name("reality", str(name), reality_names())
        document = check_modules(read_yaml(path))
    reality = document.read(Reality)
    seal = document.data.get("sha256")
    if seal is None:
        raise WarmstartError(
            f"{document.source} isn't sealed: write its hash into it with `warmstart seal {name}`, so that "
            "results can be told from those of an edited one."
        )
    if seal != reality.sha256:
        raise WarmstartError(
            f"{document.source} was edited after it was sealed: its seal is sha256 {str(seal)[:12]}…, what "
            f"it says now has {reality.sha256[:12]}…. Restore it, or give it another name and seal it anew."
        )
    return reality


def seal_reality(path: Path) -> Reality:
    """Write a reality's hash into its file, in place of an older one.

    Raises:
        WarmstartError: It can't be read, or a part isn't sound.
    """
    document = check_modules(read_yaml(path))
    reality = document.read(Reality)
    if reality == Reality(reality.name, reality.task, reality.description, seed=reality.seed):
        raise WarmstartError(
            f"{document.source} differs in nothing from {reality.task}: expected a context, an integrator, "
            "imperfections or disturbances."
        )
    try:  # what doesn't run is not sealed
        env = reality.make(1, seed=0, n_threads=1)
        try:
            env.reset()
            env.step(0 * env.action_space.sample())
        finally:
            env.close()
    except WarmstartError as error:
        raise WarmstartError(f"{document.source}: {error}") from None
    text = _SEAL.sub("", path.read_text(encoding="utf-8")).rstrip("\n")
    path.write_text(text + "\n" + dump_yaml({"sha256": reality.sha256}), encoding="utf-8")
    return reality
