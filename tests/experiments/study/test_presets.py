"""Every preset that ships: it says what it asks, resolves, builds, and keeps to its promises."""

import pytest

from warmstart.core.documents import parse_yaml
from warmstart.experiments.pairs.pairs import load_pairs
from warmstart.experiments.run.run import plan
from warmstart.experiments.study.loading import load_study, preset_comment, preset_names
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.transfer.table import METHODS

EXPECTED = {
    "ant-friction",
    "ant-lame",
    "cartpole",
    "cheetah-friction",
    "cheetah-position",
    "hopper-mass",
    "hopper-to-walker",
    "pendulum-sac",
    "pendulum-to-double",
    "smoke",
    "pixels-demo",
    "pendulum-pixels",
    "pendulum-pixels-shifted",
    "reacher-pixels",
    "reacher-pixels-shifted",
    "cheetah-pixels",
    "cheetah-pixels-shifted",
    "carracing-pixels",
}


def single() -> list[str]:
    """Presets that are one study."""
    return [name for name in preset_names() if load_pairs(name) is None]


def studies(name: str) -> tuple[Study, ...]:
    """A preset's studies."""
    pairs = load_pairs(name)
    return (load_study(name),) if pairs is None else pairs.studies


def test_presets_over_pairs_resolve() -> None:
    several = [name for name in preset_names() if load_pairs(name) is not None]
    assert several == ["evidence", "methods"]
    for name in several:
        for study in studies(name):
            made = plan(study)
            assert made.study.baseline == "scratch"
            known = {arm.method.name for arm in made.arms}
            assert known <= set(METHODS)
    evidence = studies("evidence")
    assert len(evidence) >= 16
    assert {len(study.seed_list) for study in evidence} == {10}
    assert sum("x-1" in study.target for study in evidence) >= 4, "pairs in which the source hurts"
    every = {arm.method.name for study in studies("methods") for arm in plan(study).arms}
    assert every == set(METHODS), "the preset runs every method"


def test_the_promised_presets_exist() -> None:
    assert set(preset_names()) >= EXPECTED


@pytest.mark.usefixtures("opengl", "box2d")
@pytest.mark.parametrize("name", single())
def test_preset_resolves_builds_and_reads_back(name: str) -> None:
    made = plan(name)
    assert made.study.name == name
    assert "?" in preset_comment(name), "the comment says what the study asks"
    baselines = {"pixels": "nature_cnn", "reality": "plain"}
    kind = next((kind for kind in baselines if kind in name), "")
    assert made.study.baseline == baselines.get(kind, "scratch")
    seeds = len(made.study.seed_list)
    sights = {repr(arm.vision) for arm in made.arms if arm.method.needs_source}
    assert sum(trial.config.kind == "source" for trial in made.trials) == seeds * len(sights)
    assert sum(trial.config.kind == "target" for trial in made.trials) == seeds * len(made.study.arms)
    again = Study.from_document(parse_yaml(made.study.to_yaml(), "study.yaml"))
    assert again.to_mapping() == made.study.to_mapping()
    hashes = [trial.hash for trial in made.trials]
    assert len(set(hashes)) == len(hashes)
    assert [trial.hash for trial in make_plan(again).trials] == hashes


def test_the_demo_stays_within_its_budget() -> None:
    made = plan("cheetah-friction")
    assert made.steps <= 3_600_000
    assert len(made.study.seed_list) == 7
    assert [arm.name for arm in made.study.arm_list] == ["scratch", "fine_tune"]
    grid = next(trial for trial in made.trials if trial.config.kind == "target").config.grid
    assert grid[0] == 0
    assert 8_000 <= grid[1] <= 16_000
    assert grid[-1] == made.study.target_steps


def test_grids_end_with_training_and_fit_rollouts() -> None:
    for name, study in ((preset, each) for preset in preset_names() for each in studies(preset)):
        assert study.target_steps % study.protocol.every == 0, name
        assert study.source_steps % study.protocol.source_every == 0, name
        for trial in make_plan(study).trials:
            settings = trial.config.algorithm
            if settings.get("algorithm") == "ppo" and not trial.config.vision:
                assert trial.config.steps % (settings["n_envs"] * settings["n_steps"]) == 0, name
