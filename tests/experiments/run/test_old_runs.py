"""A run directory and a zip that be725d8 made, before the rooms had rooms: reported and used as ever.

The study of `tests/data/old_run` has a fine-tuned arm, and arms with randomization, imperfections and a
curriculum, a privileged critic and a history, judged in a reality. Reports, films and logs are left out.
"""

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import warmstart
from warmstart.__main__ import main

DATA = Path(__file__).parents[2] / "data"
RETURNS = {
    "26d28fc6c8ba71c9": [25.0, 26.0, 28.0],
    "49235512eb684ba8": [38.0, 33.0, 23.0],
    "5aafa6ece2d63f8f": [32.0, 37.0, 21.0],
    "cd39d9213d64d6da": [31.0, 28.0, 25.0],
    "db2a5a5dfd45635c": [21.0, 19.0, 36.0],
    "ff925d254e83bf57": [38.0, 33.0, 23.0],
}
"""What each trial's checkpoint reached in three episodes, evaluated by be725d8 with the seed 7."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the old run, which may be written to."""
    return Path(shutil.copytree(DATA / "old_run", tmp_path / "old"))


def test_it_is_reported_with_the_same_numbers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((run / "summary.json").read_text())
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").stat().st_size > 100_000
    after = json.loads((run / "summary.json").read_text())
    assert [arm["name"] for arm in after["arms"]] == [arm["name"] for arm in before["arms"]]
    judged = {arm["name"]: arm.pop("verdict") for arm in after["arms"] if arm.pop("headline")}
    assert judged["fine_tune"]["reason"] == "The source agent hasn't learnt."  # which be725d8 didn't ask
    earlier = {arm["name"]: arm.pop("verdict") for arm in before["arms"] if arm.pop("headline")}
    assert judged | {"fine_tune": None} == earlier | {"fine_tune": None}
    assert [arm | {"verdict": None, "headline": None} for arm in after["arms"]] == [
        arm | {"verdict": None, "headline": None} for arm in before["arms"]
    ]
    assert after["notes"] == [*after["unlearnt"], *before["notes"]]


@pytest.mark.parametrize("trial", RETURNS)
def test_its_checkpoints_act_as_they_did(trial: str) -> None:
    checkpoint = warmstart.load(DATA / "old_run" / "trials" / trial / "checkpoint")
    found = warmstart.evaluate(checkpoint.policy(), "InvertedPendulum-v5", episodes=3, seed=7)
    np.testing.assert_array_equal(found.returns, RETURNS[trial])


def test_a_zip_that_was_written_for_plain_sb3_is_read() -> None:
    checkpoint = warmstart.load(DATA / "old_run_source.zip")
    found = warmstart.evaluate(checkpoint.policy(), "InvertedPendulum-v5", episodes=3, seed=7)
    np.testing.assert_array_equal(found.returns, [37.0, 28.0, 19.0])  # the source's, without its normaliser


STUDY = """\
name: new
source: {source}
target: InvertedPendulum-v5@pole.mass=x2
target_steps: 512
seeds: 1
algorithm: {{name: ppo, n_envs: 8, n_steps: 32, batch_size: 64, n_epochs: 2, net_arch: [8],
  normalize_obs: true}}
arms: [scratch, {{method: fine_tune, critic_fit_steps: 0}}]
evaluation: {{every: 256, episodes: 2}}
"""


def test_an_agent_starts_from_a_trial_of_it(run: Path, tmp_path: Path) -> None:
    study = tmp_path / "new.yaml"
    study.write_text(STUDY.format(source=run / "trials" / "49235512eb684ba8" / "checkpoint"))
    assert main(["compare", str(study), "--out", str(tmp_path / "new")]) == 0


def test_it_can_be_run_again(run: Path) -> None:
    assert main(["compare", str(run), "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("module", "name"),
    [("transfer.freezing", "FreezingOptimizer"), ("agents.normalization", "FastVecNormalize")],
)
def test_what_sb3_pickled_by_its_path_is_still_found_there(module: str, name: str) -> None:
    assert getattr(importlib.import_module(f"warmstart.{module}"), name).__name__ == name
