"""Search for PPO's hyperparameters on a task: what `warmstart.agents.settings.ppo` holds was found so.

    python benchmarks/tuning.py Hopper-v5 --trials 40 --steps 600000 --out runs/tuning

Each trial is a study of one cold arm. Its seeds are `SEEDS`, which no table reports. A candidate's score is
the mean over its seeds of the mean evaluation over the last third of training, less half their standard
deviation: what learns once and stands still the next time is no default. After each seed the median of the
candidates before decides whether it goes on. Optuna's journal and the studies' folders lie in ``--out``: the
same command continues after an interruption, and two of them side by side (`taskset -c 0`, `taskset -c 1`)
share the search. Needs the extra ``tune``.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from warmstart.core.errors import WarmstartError
from warmstart.core.threads import decide_threads

SEEDS = tuple(range(1000, 1010))
"""What candidates are tried on, in this order."""
SPACE: dict[str, tuple[Any, ...]] = {
    "learning_rate": (1e-4, 2e-4, 3e-4, 4.2e-4, 6e-4, 8e-4, 1e-3),
    "learning_rate_decay": ("linear", "constant"),
    "n_envs": (8, 16, 32, 64),
    "rollout": (512, 1024, 2048, 4096, 8192),
    "batch_size": (64, 128, 256, 512),
    "n_epochs": (5, 10, 20),
    "gamma": (0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999),
    "gae_lambda": (0.9, 0.92, 0.95, 0.98),
    "log_std_init": (0.0, -0.5, -1.0, -2.0),
    "ent_coef": (0.0, 1e-4, 1e-3, 3e-3),
    "vf_coef": (0.25, 0.5, 1.0),
    "clip_range": (0.1, 0.2, 0.3),
    "max_grad_norm": (0.5, 1.0, 2.0),
    "net_arch": ("64x64", "128x128", "256x256"),
    "activation": ("tanh", "relu"),
    "recompute_advantages": (False, True),
    "clip_range_vf": (None, 0.2),
    "normalize_advantage": (True, False),
    "target_kl": (None, 0.02, 0.03, 0.05),
    "adam_betas": ("0.9,0.999", "0.99,0.99"),
    "normalize_obs": (True, False),
}
"""What is searched. ``rollout`` is transitions per update: n_envs × n_steps."""
START: dict[str, Any] = {
    "learning_rate": 3e-4,
    "learning_rate_decay": "linear",
    "n_envs": 16,
    "rollout": 2048,
    "batch_size": 64,
    "n_epochs": 10,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "log_std_init": 0.0,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "clip_range": 0.2,
    "max_grad_norm": 0.5,
    "net_arch": "64x64",
    "activation": "tanh",
    "recompute_advantages": False,
    "clip_range_vf": None,
    "normalize_advantage": True,
    "target_kl": None,
    "adam_betas": "0.9,0.999",
    "normalize_obs": True,
}
"""SB3's own values at 16 environments, with a learning rate that falls: where the search begins."""
TIANSHOU = START | {
    "n_envs": 8,
    "vf_coef": 0.25,
    "recompute_advantages": True,
    "clip_range_vf": 0.2,
    "normalize_advantage": False,
}
"""Tianshou's values for MuJoCo (thu-ml/tianshou, ``mujoco_ppo.py``), but for its initial log σ."""


def settings(chosen: dict[str, Any]) -> dict[str, Any]:
    """A study's ``algorithm`` for a point of the space."""
    found = {name: value for name, value in chosen.items() if name != "rollout"}
    found["n_steps"] = chosen["rollout"] // chosen["n_envs"]
    found["net_arch"] = [int(width) for width in chosen["net_arch"].split("x")]
    found["adam_betas"] = [float(value) for value in chosen["adam_betas"].split(",")]
    return {"name": "ppo", **found}


def digest(chosen: dict[str, Any], steps: int) -> str:
    """Name of a candidate's folder: the same values go on where they were."""
    return hashlib.sha256(json.dumps([chosen, steps], sort_keys=True).encode()).hexdigest()[:12]


def returns(folder: Path, task: str, algorithm: dict[str, Any], steps: int, seeds: list[int]) -> list[float]:
    """Mean evaluation over the last third of training, for each seed."""
    from warmstart.experiments.run.reading import load_run
    from warmstart.experiments.run.run import run_study

    every = max(steps // 20, 1)
    text = {
        "name": folder.name,
        "target": task,
        "algorithm": algorithm,
        "target_steps": steps,
        "seeds": seeds,
        "arms": ["scratch"],
        "evaluation": {"every": every, "episodes": 8},
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_suffix(".yaml")
    path.write_text(json.dumps(text))
    run_study(path, folder, workers=1, progress="none")
    curves = sorted(load_run(folder).curves, key=lambda curve: curve.seed)
    return [float(curve.returns[curve.steps > steps * 2 / 3].mean()) for curve in curves]


def main() -> int:
    """Search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task")
    parser.add_argument(
        "--trials", type=int, default=40, help="candidates in all, those of earlier calls too"
    )
    parser.add_argument("--steps", type=int, default=600_000)
    parser.add_argument("--seeds", type=int, default=3, help=f"how many of {SEEDS[0]} to {SEEDS[-1]}")
    parser.add_argument("--out", type=Path, default=Path("runs/tuning"))
    parser.add_argument("--start", nargs="*", default=[], metavar="NAME=VALUE", help="changes to START")
    parser.add_argument("--vary", nargs="*", help="names to search; all others stay as they start")
    words = parser.parse_args()
    if not 2 <= words.seeds <= len(SEEDS):
        parser.error(
            f"--seeds: expected 2 to {len(SEEDS)}; one seed tells luck from skill no more than one throw."
        )
    unknown = [name for name in words.vary or () if name not in SPACE]
    if unknown:
        parser.error(f"--vary: unknown {unknown[0]}; known: {', '.join(SPACE)}.")
    try:
        import optuna
    except ImportError:
        parser.error("Optuna is missing: pip install 'warmstart[tune]'.")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    decide_threads(1)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    logging.getLogger("warmstart").setLevel(logging.ERROR)
    start = dict(START)
    for word in words.start:
        name, _, value = word.partition("=")
        if name not in START:
            parser.error(f"--start: unknown {name}; known: {', '.join(START)}.")
        try:
            start[name] = json.loads(value)
        except ValueError:
            start[name] = value
    name = words.task.replace("/", "_")
    folder = words.out / name
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.log")))
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=os.getpid())
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        pruner=pruner,
        direction="maximize",
        load_if_exists=True,
    )
    vary = words.vary or list(SPACE)
    if not study.trials:
        for first in (start, TIANSHOU):
            study.enqueue_trial({each: first[each] for each in vary}, skip_if_exists=True)

    def objective(trial: Any) -> float:
        chosen = start | {each: trial.suggest_categorical(each, SPACE[each]) for each in vary}
        if chosen["rollout"] % chosen["batch_size"] or chosen["rollout"] < chosen["n_envs"]:
            raise optuna.TrialPruned
        found: list[float] = []
        for count in range(1, words.seeds + 1):
            seeds = list(SEEDS[:count])
            where = folder / f"candidate-{digest(chosen, words.steps)}"
            try:
                found = returns(where, words.task, settings(chosen), words.steps, seeds)
            except KeyboardInterrupt:
                study.enqueue_trial(trial.params)
                raise
            trial.report(fmean(found), count)
            if count < words.seeds and trial.should_prune():
                break
        trial.set_user_attr("returns", found)
        print(f"{trial.number}: {[round(r) for r in found]} {trial.params}", flush=True)
        if len(found) < words.seeds:
            raise optuna.TrialPruned
        return fmean(found) - 0.5 * pstdev(found)

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)

    def enough(study: Any, _: Any) -> None:
        if len(study.get_trials(deepcopy=False, states=states)) >= words.trials:
            study.stop()

    if len(study.get_trials(deepcopy=False, states=states)) < words.trials:
        try:
            study.optimize(objective, callbacks=[enough])
        except KeyboardInterrupt:
            print(
                f"tuning.py: interrupted. The same command goes on where it was, in {folder}.",
                file=sys.stderr,
            )
            return 130
    done = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    for trial in sorted(done, key=lambda t: -(t.value or 0.0))[:10]:
        print(f"{trial.value:9.1f} {[round(r) for r in trial.user_attrs['returns']]} {trial.params}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WarmstartError as wrong:
        print(f"tuning.py: {wrong}", file=sys.stderr)
        sys.exit(2)
