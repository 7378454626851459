"""What randomization and imperfections cost: the share of the control steps per second, in one process.

Ten parameters per episode, and the medium challenge of the Real-World RL suite, on 64 environments
under random actions. Bars: HalfCheetah (long episodes) at most 5% and 15%; Hopper, whose episodes are so
short that every one draws anew, at most 15% and 25%.

Imperfect actions move a robot otherwise, and other motion takes other time to simulate. So the imperfections
are also compared with the very same motion: no imperfections, but the controls that they had carried out.
"""

import statistics
import time
from typing import Any

import numpy as np

from warmstart.core.threads import available_cores
from warmstart.envs.tasks.hooks import Perturbation
from warmstart.envs.vector import make_vec
from warmstart.sim2real.imperfections.imperfections import challenge
from warmstart.sim2real.imperfections.paths import perturbations
from warmstart.sim2real.randomization.randomization import Randomization, read_terms

ENVS, ROUNDS, STEPS = 64, 15, 300
TASKS = {
    "HalfCheetah-v5": (
        ("torso", "bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"),
        (0.05, 0.15),
    ),
    "Hopper-v5": (("torso", "thigh", "leg", "foot"), (0.15, 0.25)),
}


def ten_terms(bodies: tuple[str, ...]) -> dict[str, Any]:
    """Masses one by one, friction, damping, gears: ten draws."""
    terms = {f"{body}.mass": "x0.8:x1.2" for body in bodies}
    more = {
        "friction": "x0.7:x1.3",
        "damping": "x0.8:x1.2",
        "gear": "x0.9:x1.1",
        "armature": "x0.9:x1.1",
        "gravity": "x0.95:x1.05",
        "solref": "x0.8:x1.2",
    }
    return dict(list((terms | more).items())[:10])


def main() -> None:
    cores = available_cores()
    print(f"{ENVS} environments, {cores} threads, random actions, medians of {ROUNDS} alternating rounds")
    for task, (bodies, bars) in TASKS.items():
        terms, _ = read_terms(ten_terms(bodies))
        assert len(terms) == 10
        medium = challenge("medium")
        arms: dict[str, dict[str, Any]] = {
            "none": {},
            "ten parameters": {"context_source": Randomization(terms, 0)},
            "and medium imperfections": {
                "context_source": Randomization(terms, 0),
                "perturbations": perturbations(medium, 0),
            },
        }
        envs = {
            name: make_vec(task, ENVS, seed=0, n_threads=cores, **options) for name, options in arms.items()
        }
        rng = np.random.default_rng(0)
        size = envs["none"].action_space.shape
        actions = rng.uniform(-1, 1, (STEPS, *size)).astype(np.float32)
        seconds: dict[str, list[float]] = {name: [] for name in envs}
        episodes = dict.fromkeys(envs, 0)
        for env in envs.values():
            env.reset(seed=0)
            run(env, actions)
        for _ in range(ROUNDS):
            for name, env in envs.items():
                start = time.perf_counter()
                episodes[name] += run(env, actions)
                seconds[name].append(time.perf_counter() - start)
        same = against_same_motion(task, terms, medium, actions, cores)
        print(f"\n{task}")
        base = seconds["none"]
        for name, bar in zip(envs, (0.0, *bars), strict=True):
            rate = ENVS * STEPS / statistics.median(seconds[name])
            cost = 1 - statistics.median(a / b for a, b in zip(base, seconds[name], strict=True))
            text = "" if name == "none" else f"costs {100 * cost:5.1f}%  (bar {100 * bar:.0f}%)"
            length = ENVS * STEPS * ROUNDS / max(1, episodes[name])
            print(f"  {name:26} {rate:9,.0f} steps/s  episodes of {length:5.0f} steps  {text}")
        print(f"  imperfections against randomization in the same motion: {100 * same:.1f}%")
        for env in envs.values():
            env.close()


class Recorder(Perturbation):
    """Keeps the actions that are carried out."""

    def __init__(self) -> None:
        self.carried: list[np.ndarray[Any, Any]] = []

    def before_step(self, env: Any, actions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """See `Perturbation.before_step`."""
        self.carried.append(actions.copy())
        return actions


def against_same_motion(
    task: str, terms: Any, medium: Any, actions: np.ndarray[Any, Any], cores: int
) -> float:
    """Share of the throughput that imperfections cost where both environments carry out the same controls."""
    imperfect = make_vec(
        task,
        ENVS,
        seed=0,
        n_threads=cores,
        context_source=Randomization(terms, 0),
        perturbations=(*perturbations(medium, 0), recorder := Recorder()),
    )
    plain: Any = make_vec(task, ENVS, seed=0, n_threads=cores, context_source=Randomization(terms, 0))
    imperfect.reset(seed=0)
    for action in actions:
        imperfect.step(action)
    carried = np.array(recorder.carried)
    ratios = []
    for _ in range(ROUNDS):
        took = []
        for env, given in ((plain, carried), (imperfect, actions)):
            env.reset(seed=0)
            start = time.perf_counter()
            run(env, given)
            took.append(time.perf_counter() - start)
        ratios.append(took[0] / took[1])
    assert np.array_equal(plain.sim.qpos, imperfect.sim.qpos)  # type: ignore[attr-defined]
    plain.close()
    imperfect.close()
    return 1 - statistics.median(ratios)


def run(env: Any, actions: np.ndarray[Any, Any]) -> int:
    """Step through the actions; returns how many episodes ended."""
    ended = 0
    for action in actions:
        _, _, terminations, truncations, _ = env.step(action)
        ended += int((terminations | truncations).sum())
    return ended


if __name__ == "__main__":
    main()
