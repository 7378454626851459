"""Made-up runs with realistic curves, for tests of statistics and reports only."""

from typing import Any

import numpy as np

from warmstart.experiments.analysis.curves import Curve, Failure, RunData

ARMS: dict[str, tuple[float, float, float]] = {
    # name: return before training, return at the end, share of the budget that the rise takes
    "scratch": (-60.0, 640.0, 0.35),
    "fine_tune": (520.0, 1650.0, 0.30),
    "feature_extraction": (-40.0, 900.0, 0.20),
    "zero_shot": (540.0, 540.0, 1.0),
    "shuffled": (-90.0, 560.0, 0.40),
}


def curve(
    arm: str,
    seed: int,
    returns: Any,
    steps: Any = None,
    *,
    source_steps: int = 0,
    source_seconds: float = 0.0,
    **options: Any,
) -> Curve:
    values = np.asarray(returns, dtype=np.float64)
    grid = np.arange(len(values)) * 10 if steps is None else np.asarray(steps)
    seconds = options.pop("seconds", grid / 10.0)
    return Curve(
        arm=arm,
        seed=seed,
        steps=grid.astype(np.int64),
        returns=values,
        seconds=np.asarray(seconds, dtype=np.float64),
        source_steps=source_steps,
        source_seconds=source_seconds,
        **options,
    )


def run(**arms: list[list[float]]) -> RunData:
    """Arms by name, each a list of curves (one per seed from 0) on the grid 0, 10, 20, …"""
    curves = tuple(
        curve(name, seed, values) for name, rows in arms.items() for seed, values in enumerate(rows)
    )
    return RunData(name="hand", curves=curves, random_return=0.0)


def realistic(seeds: int = 3, *, name: str = "cheetah-friction", failures: bool = True) -> RunData:
    """A study like the demo: five arms, noisy curves, source agents, transfer reports, a failure."""
    rng = np.random.default_rng(7)
    budget, source_budget, points = 250_000, 600_000, 21
    steps = np.linspace(0, budget, points).astype(np.int64)
    curves, sources = [], []
    for seed in range(seeds):
        luck = rng.normal(scale=0.13)
        source_steps = np.linspace(0, source_budget, points).astype(np.int64)
        rise = 1 - np.exp(-3 * source_steps / source_budget)
        source_returns = -280 + 1600 * rise * (1 + luck) + rng.normal(scale=40, size=points) * rise
        sources.append(curve("source", seed, source_returns, source_steps, seconds=source_steps / 11_500))
        for arm, (start, end, pace) in ARMS.items():
            cold = arm == "scratch"
            where = {"source_steps": 0 if cold else source_budget, "source_seconds": 0.0 if cold else 52.0}
            if arm == "zero_shot":
                curves.append(
                    curve(arm, seed, [start * (1 + luck)], [0], seconds=[0.0], constant=True, **where)
                )
                continue
            rise = 1 - np.exp(-steps / budget / pace)
            noise = np.cumsum(rng.normal(scale=16, size=points)) * rise + rng.normal(scale=22, size=points)
            dip = -260 * np.exp(-(((steps / budget - 0.05) / 0.03) ** 2)) if arm == "fine_tune" else 0
            returns = start + (end * (1 + luck) - start) * rise + noise + dip
            curves.append(curve(arm, seed, returns, steps, seconds=steps / rng.uniform(10e3, 12e3), **where))
    failed = Failure(
        "feature_extraction", seeds - 1, "RuntimeError: size <b>mismatch</b>", "Traceback …\n  x < y"
    )
    if failures:
        curves = [c for c in curves if (c.arm, c.seed) != (failed.arm, failed.seed)]
    return RunData(
        name=name,
        study=study(seeds),
        curves=tuple(curves),
        source_curves=tuple(sources),
        transfers={arm: transfer(arm) for arm in ARMS if arm not in ("scratch",)},
        failures=(failed,) if failures else (),
        random_return=-283.4,
        versions={"warmstart": "0.1.0", "mujoco": "3.17.0", "torch": "2.13.0", "python": "3.11.9"},
    )


def study(seeds: int) -> dict[str, Any]:
    return {
        "name": "cheetah-friction",
        "source": "HalfCheetah-v5",
        "target": "HalfCheetah-v5@gravity=x0.5",
        "source_steps": 600_000,
        "target_steps": 250_000,
        "algorithm": "ppo",
        "arms": [{"name": name, "method": name} for name in ARMS],
        "baseline": "scratch",
        "seeds": list(range(seeds)),
        "evaluation": {"every": 12_500, "episodes": 16, "seed": 1_000_000, "source_every": 30_000},
    }


def transfer(method: str) -> dict[str, Any]:
    layers = [
        ("mlp_extractor.policy_net.0.weight", [64, 17]),
        ("mlp_extractor.policy_net.0.bias", [64]),
        ("mlp_extractor.policy_net.2.weight", [64, 64]),
        ("mlp_extractor.value_net.0.weight", [64, 17]),
        ("mlp_extractor.value_net.2.weight", [64, 64]),
        ("action_net.weight", [6, 64]),
        ("value_net.weight", [1, 64]),
        ("log_std", [6]),
        ("normalizer.mean", [17]),
        ("normalizer.var", [17]),
    ]
    action = "permuted" if method == "shuffled" else "copied"
    entries = []
    for name, shape in layers:
        head = method == "feature_extraction" and not name.startswith(("mlp", "norm"))
        entries.append(
            {
                "name": name,
                "source_shape": shape,
                "target_shape": shape,
                "action": "reinitialised" if head else action,
                "frozen": method == "feature_extraction" and not head,
                "reason": "last layer: starts fresh" if head else "same name and shape",
            }
        )
    return {
        "method": method,
        "algorithm": "ppo",
        "source": "checkpoint of HalfCheetah-v5",
        "target": "HalfCheetah-v5@gravity=x0.5",
        "steps": 16_384 if method == "fine_tune" else 0,
        "counts": {
            **{done: [e["action"] for e in entries].count(done) for done in (action, "reinitialised")},
            "frozen": sum(bool(e["frozen"]) for e in entries),
        },
        "notes": ["The critic was fitted to the frozen policy's returns before the actor moved."]
        if method == "fine_tune"
        else [],
        "entries": entries,
    }
