"""A trial that is interrupted and started again ends with the bits of one that never was."""

from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.experiments.trial.test_pixel_studies import study as pixel_study
from tests.experiments.trial.test_reality_studies import study as reality_study
from tests.experiments.trial.test_trial import PPO, SAC, lay_out, tiny
from warmstart.agents.resuming import training_state
from warmstart.core.errors import WarmstartError
from warmstart.experiments.records.records import TRAINING
from warmstart.experiments.records.status import read_status
from warmstart.experiments.study.loading import load_study
from warmstart.experiments.trial import resuming, training
from warmstart.experiments.trial.trial import run_trial
from warmstart.sim2real.curricula.table import CURRICULA
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.transfer.table import METHODS

FIT = {"critic_fit_steps": 64, "warm_up_steps": 32, "critic_updates": 8}
OPTIONS: dict[str, dict[str, Any]] = {
    "fine_tune": FIT,
    "shuffled": FIT,
    "guarded": {**FIT, "least_trial": 4},
    "best_source": FIT,
    "feature_extraction": {},
    "gradual_unfreezing": FIT,
    "l2_sp": FIT,
    "ewc": {**FIT, "fisher_steps": 64},
    "partial_reset": FIT,
    "shrink_perturb": {**FIT, "soft": 0.01},
    "layer_norm": FIT,
    "kickstart": {"fade_steps": 240},
    "distill": {"critic_fit_steps": 64, "critic_updates": 8, "updates": 5},
    "qdagger": {"critic_fit_steps": 64, "critic_updates": 8, "updates": 5},
    "jump_start": {"critic_fit_steps": 64, "critic_updates": 8, "guide_steps": 240, "updates": 5},
    "wsrl": FIT,
    "rlpd": {"data_steps": 64},
    "clone": {"data_steps": 64, "updates": 5, "critic_fit_steps": 64, "critic_updates": 8},
    "residual": FIT,
    "progressive": FIT,
    "lora": FIT,
    "input_adapter": FIT,
}
STEPS, AT = 256, 200
"""How long it trains, and where it is interrupted: while what fades still does."""


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes by ten seconds whenever it is looked at: a state before every few rollouts."""
    monkeypatch.setattr(resuming, "time", SimpleNamespace(monotonic=count(0.0, 10.0).__next__))
    monkeypatch.setattr(resuming, "FIRST_AFTER", 15.0)
    monkeypatch.setattr(resuming, "SHARE", 1.0)
    monkeypatch.setattr(training, "film", lambda *_: ())  # draws for seconds, and changes nothing


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Source agents that are done, by algorithm."""
    found = {}
    for algorithm in (PPO, SAC):
        trials = lay_out(study(algorithm, "fine_tune"), tmp_path_factory.mktemp("sources") / "run")
        run_trial(trials["source"])
        found[algorithm["name"]] = trials["source"]
    return found


def study(algorithm: dict[str, Any], method: str, **changes: Any) -> Any:
    arms = ("scratch",) if method == "scratch" else ("scratch", {"method": method, **OPTIONS[method]})
    return tiny(algorithm=algorithm, arms=arms, target_steps=STEPS, **changes)


def interrupted(directory: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a trial until a step of its training, where it is interrupted, and again to its end."""
    with monkeypatch.context() as patch:

        def stop(self: Any) -> bool:
            if self.num_timesteps >= at and list((directory / TRAINING).glob("*")):
                raise KeyboardInterrupt
            return True

        patch.setattr(training._Progress, "_on_step", stop)
        with pytest.raises(KeyboardInterrupt):
            run_trial(directory)
    assert read_status(directory).state == "interrupted"
    run_trial(directory)


def same_bits(first: Path, second: Path) -> None:
    names = ("records.jsonl", "transfer.json", "checkpoint/policy.safetensors", "best/policy.safetensors")
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    if (first / "curriculum.json").exists():
        assert (first / "curriculum.json").read_bytes() == (second / "curriculum.json").read_bytes()


def both(plan: Any, arm: str, source: Path | None, tmp_path: Path) -> Iterator[Path]:
    for name in ("whole", "parts"):
        directory = lay_out(plan, tmp_path / name)[arm]
        if source is not None:
            there = directory.parent / source.name
            for file in there.glob("*"):
                file.unlink()
            there.rmdir()
            there.symlink_to(source)
        yield directory


def check(
    plan: Any, arm: str, source: Path | None, tmp_path: Path, patch: Any, capfd: Any, at: int = AT
) -> str:
    """Compare a trial that was interrupted with one that wasn't; returns what the former printed."""
    whole, parts = both(plan, arm, source, tmp_path)
    run_trial(whole)
    capfd.readouterr()
    interrupted(parts, at, patch)
    told = capfd.readouterr().out
    assert "Continued from step" in told, told
    assert "statistical" not in told, told
    same_bits(whole, parts)
    assert not (parts / TRAINING).exists()
    return str(told)


@pytest.mark.parametrize("name", ["ppo", "sac", "td3", "tqc", "crossq"])
def test_every_algorithm(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    algorithm = PPO if name == "ppo" else {**SAC, "name": name, "critic_net_arch": [8]}
    check(study(algorithm, "scratch"), "scratch", None, tmp_path, monkeypatch, capfd)


STATEFUL = ("fine_tune", "qdagger", "rlpd", "jump_start", "shrink_perturb")
"""Methods that are interrupted off policy in the default run; `make slow` takes all of them."""
CASES = [
    pytest.param(algorithm, method, marks=[pytest.mark.slow] if slow else [])
    for method in OPTIONS
    for algorithm in ("ppo", "sac")
    if algorithm in METHODS[method].algorithms
    for slow in [algorithm == "sac" and method not in STATEFUL]
]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_every_method(
    name: str,
    method: str,
    sources: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plan = study(PPO if name == "ppo" else SAC, method)
    check(plan, method, sources[name], tmp_path, monkeypatch, capfd)


WORLD = """
name: small
target: {target}
target_steps: 256
algorithm: {{name: {algorithm}, {small}}}
seeds: 1
evaluation: {{every: 64, episodes: 2}}
arms:
  - scratch
  - {{name: made, method: scratch{world}}}
"""
SMALL = {
    "ppo": "n_envs: 4, n_steps: 16, batch_size: 32, n_epochs: 2, net_arch: [8]",
    "sac": "n_envs: 2, learning_starts: 32, batch_size: 16, net_arch: [8], buffer_size: 500",
}
RANDOM = "randomize: {pole.mass: x0.5:x2, cart.mass: x0.5:x2}"
IMPERFECT = (
    "imperfections: {noise: 0.01, action_delay: 1}, "
    "disturbances: {push: {force: 0.1, every: 0.2, duration: 0.05}}"
)
PACED = "curriculum: {method: paced, success: 5, window: 4}"
WORLDS = {
    "randomized": ("InvertedPendulum-v5", f", {RANDOM}"),
    "curriculum": (
        "InvertedPendulum-v5",
        f", {RANDOM}, {PACED}",
    ),
    "imperfect": ("InvertedPendulum-v5", f", {RANDOM}, {IMPERFECT}"),
    "history": ("InvertedPendulum-v5", f", {RANDOM}, history: 3"),
    "every imperfection": (
        "InvertedPendulum-v5",
        ", imperfections: {noise: 0.01, bias: 0.01, drift: 0.01, quantisation: 0.01, dropout: 0.1, "
        "stuck: 0.1, observation_delay: [0, 2], observation_loss: 0.1, action_repeat: 2, action_loss: 0.1, "
        "action_delay: [0, 2], action_noise: 0.1, dead_band: 0.01, backlash: 0.01, rate_limit: 40, "
        "action_lag: 0.02, motor_strength: [0.8, 1.2], saturation: 0.9}",
    ),
    "adr": (
        "InvertedPendulum-v5",
        f", {RANDOM}, curriculum: {{method: adr, success: 5, t_low: 2, t_high: 5, buffer: 4}}",
    ),
    "doraemon": (
        "InvertedPendulum-v5",
        f", {RANDOM}, curriculum: {{method: doraemon, success: 5, episodes_per_update: 8}}",
    ),
    "rewarded": ("InvertedPendulum-v5", ""),
    "gymnasium": ("CartPole-v1", ""),
    "gymnasium, randomized": ("CartPole-v1", ", randomize: {length: x0.5:x2}"),
}


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
@pytest.mark.parametrize("world", WORLDS)
def test_every_world(
    world: str,
    algorithm: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    target, options = WORLDS[world]
    if algorithm == "sac" and target == "CartPole-v1":
        pytest.skip("choices aren't for SAC")
    text = WORLD.format(target=target, algorithm=algorithm, small=SMALL[algorithm], world=options)
    if world == "rewarded":
        text = text.replace("name: made", "name: made, reward: state_entropy")
        options = "reward"
    (tmp_path / "study.yaml").write_text(text)
    check(
        load_study(tmp_path / "study.yaml"),
        "made" if options else "scratch",
        None,
        tmp_path,
        monkeypatch,
        capfd,
    )


@pytest.mark.parametrize(("arm", "at"), [("everything", 300), ("everything", 460), ("privileged", 300)])
def test_a_reality(
    arm: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resuming, "EVERY", 15.0)
    check(reality_study(), arm, None, tmp_path, monkeypatch, capfd, at)


@pytest.mark.parametrize("arm", ["cnn", "staged", "frozen"])
@pytest.mark.usefixtures("opengl")
def test_frames(
    arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resuming, "EVERY", 5.0)
    plan = replace(pixel_study(), target_steps=512)
    check(plan, arm, None, tmp_path, monkeypatch, capfd, 400)


def test_every_curriculum_and_imperfection_is_here() -> None:
    text = str(WORLDS)
    assert [name for name in CURRICULA if f"method: {name}," not in text] == []
    named = (each.name for each in fields(Imperfections))
    assert [name for name in named if f" {name}: " not in text.replace("{", " ")] == []


def test_every_trained_method_is_here() -> None:
    assert set(OPTIONS) == {name for name, method in METHODS.items() if method.trains} - {"scratch"}


def test_a_damaged_state_is_passed_over_for_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resuming, "EVERY", 15.0)
    remembered = resuming.kept_states

    def damaged(directory: Path, *words: Any) -> Any:
        newest = max((directory / TRAINING).glob("*"), default=None)
        if newest is not None:
            content = bytearray(newest.read_bytes())
            content[-1] ^= 1
            newest.write_bytes(content)
        return remembered(directory, *words)

    monkeypatch.setattr(training, "kept_states", damaged)
    told = check(study(PPO, "scratch"), "scratch", None, tmp_path, monkeypatch, capfd)
    assert "is passed over: it isn't what was written" in told


def test_what_has_no_state_is_said_once_and_begun_anew(tmp_path: Path) -> None:
    told: list[str] = []

    def gather() -> Any:
        raise WarmstartError("Thing has no state that could be kept.")

    keeper = resuming.StateKeeper(tmp_path, gather, lambda: True, told.append)
    keeper()
    keeper()
    assert told == [
        "Interrupted from here on, this training would begin anew: Thing has no state that could be kept."
    ]
    assert list(resuming.kept_states(tmp_path)) == []


def test_a_buffer_that_outgrows_its_state_is_said_and_the_last_state_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training_state, "MOST_REPLAY", 8_000)
    told = check(study(SAC, "scratch"), "scratch", None, tmp_path, monkeypatch, capfd)
    assert "this training would go on from its last state: The replay buffer holds more than 0 MiB" in told
