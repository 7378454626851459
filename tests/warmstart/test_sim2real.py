"""``warmstart gap``, ``robustness``, ``seal``, ``identify`` and what ``list`` says of them."""

import json
import shutil

import numpy as np
import pytest

from warmstart.__main__ import main
from warmstart.core.documents import parse_yaml
from warmstart.core.plain import read
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.run.run import prepare
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.trial import run_trial
from warmstart.sim2real.identification.recording import record
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.paths import perturbations

FIT = ("identify", "Hopper-v5", "--reality", "hopper-worn", "--fit", "torso.mass=x0.5:x2")
"""What is right; a mistake follows."""
SMALL = """
target: Hopper-v5
algorithm: {name: ppo, n_envs: 4, n_steps: 32, n_epochs: 1, batch_size: 64, net_arch: [16]}
target_steps: 256
evaluation: {every: 256, episodes: 2}
"""
RUN = f"{SMALL}name: hopper\nseeds: 1\narms: [scratch]\n"
STUDY = f"""{SMALL}
name: tiny
reality: hopper-worn
judge_range: none
seeds: 2
baseline: plain
arms:
  - {{name: plain, method: scratch}}
  - {{name: oracle, method: scratch, reality_steps: 256}}
"""


def lay_out(text, path):
    """Train a study's agents, as `compare` does, in this process."""
    made = make_plan(Study.from_document(parse_yaml(text, "tiny.yaml")))
    prepare(made, path)
    for trial in made.unique:
        run_trial(path / "trials" / trial.hash)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return lay_out(RUN, tmp_path_factory.mktemp("runs") / "hopper")


def _run(capsys, *words):
    capsys.readouterr()
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def test_gap_of_a_run_and_its_oracle(run, capsys):
    words = ("gap", run, "--reality", "hopper-worn", "--episodes", "2", "--range")
    status, out, err = _run(capsys, *words, "none", "--oracle", run)
    assert status == 0, err
    assert "hopper-worn" in out
    assert "below the oracle" in out
    assert "steps were taken in hopper-worn" in err
    status, out, _ = _run(capsys, *words, "light", "--json")
    found = json.loads(out)
    (policy,) = found["policies"]
    assert policy["policy"] == "hopper"
    assert policy["reality"] > 0
    assert len(found["sha256"]) == 64
    assert policy["in_range"] > 0
    status, out, _ = _run(capsys, *words, "none", "--json")
    assert json.loads(out)["policies"][0]["in_range"] is None


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return lay_out(STUDY, tmp_path_factory.mktemp("study") / "tiny")


def test_the_oracle_of_a_run_is_the_arm_that_was_trained_in_the_reality(study, run, capsys):
    options = ("--reality", "hopper-worn", "--episodes", "2", "--range", "none", "--json")
    status, out, err = _run(capsys, "gap", study, *options)
    assert status == 0, err
    rows = {row["policy"]: row for row in json.loads(out)["policies"]}
    assert set(rows) == {"plain", "oracle"}
    assert rows["oracle"]["below_oracle"] == 0
    assert rows["plain"]["below_oracle"] == pytest.approx(
        rows["oracle"]["reality"] - rows["plain"]["reality"]
    )
    chance = json.loads(out)["random_return"]
    best = max(rows.values(), key=lambda row: row["nominal"])
    share = (best["reality"] - chance) / (best["nominal"] - chance)
    assert best["kept"] == pytest.approx(share if best["nominal"] > chance else float("nan"), nan_ok=True)
    status, out, err = _run(capsys, "gap", run, "--oracle", study, *options)
    named = {row["policy"]: row for row in json.loads(out)["policies"]}
    assert set(named) == {"hopper", "oracle"}
    assert named["oracle"]["reality"] == rows["oracle"]["reality"]
    trials = sorted((study / "trials").iterdir())
    trained = [t for t in trials if (t / "checkpoint").is_dir()]
    plain = [t for t in trained if "reality_steps" not in (t / "trial.json").read_text()]
    status, out, err = _run(capsys, "gap", *plain, *options)
    assert len(json.loads(out)["policies"]) == 2, "two checkpoints are two policies"
    status, out, err = _run(
        capsys, "gap", run, "--oracle", study, "--reality", "hopper-worn", "--range", "lite"
    )
    assert status == 2
    assert "With --range none it isn't judged in one" in err


def test_seeds_of_an_arm_share_a_map(study, capsys):
    sweep = ("--sweep", "torso.mass=x0.8:x1.2:2", "--episodes", "2", "--json")
    words = ("robustness", study, "Hopper-v5", *sweep)
    status, out, err = _run(capsys, *words)
    assert status == 0, err
    assert [each["policy"] for each in json.loads(out)["maps"]] == ["plain", "oracle"]


def test_a_map_is_printed_and_drawn(run, capsys, tmp_path):
    picture, copy = tmp_path / "new" / "map.png", tmp_path / "other" / run.name
    shutil.copytree(run, copy)
    sweeps = ("--sweep", "torso.mass=x0.5:x2:3", "--sweep", "friction=x0.6:x1.4:2")
    words = ("robustness", run, copy, "Hopper-v5", *sweeps, "--episodes", "2")
    status, out, err = _run(capsys, *words, "--out", picture, "--trained", "friction=x0.8:x1.2")
    assert status == 0, err
    assert f"{run.parent.name}/hopper: torso.mass down, friction to the right" in out
    assert "other/hopper: torso.mass down" in out
    assert "of the cells reach" in out
    assert picture.stat().st_size > 10_000
    status, out, _ = _run(capsys, *words[:2], *words[3:], "--json", "--threshold", "1")
    (found,) = json.loads(out)["maps"]
    assert len(found["means"]) == 3
    assert found["area_above"] == 1


def test_a_reality_of_ones_own(run, capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntask: Hopper-v5\ncontext: torso.mass=x1.2\n")
    status, _, err = _run(capsys, "gap", run, "--reality", path)
    assert status == 2
    assert f"warmstart seal {path}" in err
    status, out, err = _run(capsys, "seal", path)
    assert status == 0, err
    assert "mine is sealed" in out
    status, out, err = _run(capsys, "gap", run, "--reality", path, "--episodes", "2", "--range", "none")
    assert status == 0, err


def test_identify_from_a_file(capsys, tmp_path):
    recorded = record("InvertedPendulum-v5@pole.mass=x1.5", 200, seed=0, noise_std=0.002)
    data = recorded.save_npz(tmp_path / "motion.npz")
    words = ("identify", "InvertedPendulum-v5", data, "--fit", "pole.mass=x0.5:x2.5", "--delay", "0", "0")
    status, out, err = _run(capsys, *words, "--out", tmp_path / "found.yaml")
    assert status == 0, err
    assert "accepted" in out
    assert "task: InvertedPendulum-v5@" in out
    assert (tmp_path / "found.yaml").read_text()
    status, out, _ = _run(capsys, *words, "--json")
    (estimate,) = json.loads(out)["estimates"]
    assert estimate["ratio"] == pytest.approx(1.5, rel=0.05)


def test_a_delay_that_changes_is_printed_and_a_rejected_fit_is_not(capsys, tmp_path):
    late = perturbations(read(Imperfections, {"action_delay": [0, 1]}), 0)
    task = "InvertedPendulum-v5@gear=x0.8"
    recorded = record(task, 300, noise_std=0.002, amplitude=0.3, perturbations=late)
    words = (
        "identify",
        "InvertedPendulum-v5",
        recorded.save_npz(tmp_path / "motion.npz"),
        "--fit",
        "gear=x0.5:x2",
    )
    status, out, err = _run(capsys, *words, "--delay", "0", "1")
    assert status == 0, err
    assert "control steps, changing from 0 to 1" in out
    assert "action_delay:" in out
    nothing = record("InvertedPendulum-v5", 300, amplitude=0.3).save_npz(tmp_path / "same.npz")
    status, out, err = _run(capsys, *words[:2], nothing, *words[3:], "--delay", "0", "0")
    assert status == 1, err
    assert "rejected: " in out
    assert "task: " not in out
    assert "samples can be used" in err


def test_options_of_identify_may_be_repeated(capsys, tmp_path):
    """What is fitted and what columns are called: several words after a flag, or the flag several times."""
    motion = record("InvertedPendulum-v5@pole.mass=x1.5,gear=x0.8", 200, seed=0, noise_std=0.002)
    names = {"cart": "slider.position", "cart_speed": "slider.velocity", "push": "slide.ctrl"}
    rows = [
        np.concatenate([[item.time[k]], item.qpos[k], item.qvel[k], item.ctrl[k], [number]])
        for number, item in enumerate(motion)
        for k in range(len(item))
    ]
    data = tmp_path / "motion.csv"
    header = "time,cart,hinge.angle,cart_speed,hinge.velocity,push,episode"
    np.savetxt(data, rows, delimiter=",", header=header, comments="")
    renamed = [f"{theirs}={ours}" for theirs, ours in names.items()]
    words = ("identify", "InvertedPendulum-v5", data, "--delay", "0", "0", "--json")
    found = []
    for fit, rename in (
        (("--fit", "pole.mass=x0.5:x2.5", "gear=x0.5:x1.2"), ("--rename", *renamed)),
        (
            ("--fit", "pole.mass=x0.5:x2.5", "--fit", "gear=x0.5:x1.2"),
            ("--rename", renamed[0], "--rename", *renamed[1:]),
        ),
    ):
        status, out, err = _run(capsys, *words, *fit, *rename)
        assert status == 0, err
        found.append(json.loads(out)["estimates"])
        assert [each["name"] for each in found[-1]] == ["pole.mass", "gear"], "none is dropped"
    assert found[0] == found[1]


def test_help_of_identify_names_every_format(capsys):
    _, out, _ = _run(capsys, "identify", "--help")
    for word in (".npz", ".csv", ".parquet", "LeRobot", "minari:ID", "(repeatable)"):
        assert word in out, f"{word} isn't in the help"


@pytest.mark.parametrize("words", [("--angles", "degrees"), ("--rename", "t=time")])
def test_what_is_about_data_is_refused_with_a_reality(capsys, words):
    told = ("identify", "InvertedPendulum-v5", "--reality", "pendulum-worn", "--fit", "pole.mass=x0.5:x2.5")
    status, _, err = _run(capsys, *told, *words)
    assert status == 2
    assert "--rename and --angles are about DATA" in err


def test_identify_in_a_reality(capsys):
    words = ("identify", "InvertedPendulum-v5", "--reality", "pendulum-worn", "--seconds", "6")
    status, out, err = _run(capsys, *words, "--fit", "pole.mass=x0.5:x2.5", "gear=x0.5:x1.2")
    assert status == 0, out + err
    assert "150 steps were taken in pendulum-worn" in err


def test_what_there_is_is_listed(capsys):
    _, out, _ = _run(capsys, "list", "realities")
    assert "cheetah-worn" in out
    _, out, _ = _run(capsys, "list", "recipes", "--json")
    assert {row["kind"] for row in json.loads(out)["recipes"]} == {"recipe", "challenge", "curriculum"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gap", "RUN", "--reality", "hoper-worn"), "Did you mean 'hopper-worn'"),
        (("gap", "RUN", "--reality", "cheetah-worn"), "`warmstart transfer` carries the policy over"),
        (("gap", "RUN", "--reality", "hopper-worn", "--range", "wide"), "Unknown recipe 'wide'"),
        (("gap", "RUN", "--reality", "hopper-worn", "--episodes", "0"), "at least 1 episode"),
        (("gap", "nowhere", "--reality", "hopper-worn"), "There is no checkpoint at nowhere"),
        (("gap", "--reality", "hopper-worn"), "at least one CHECKPOINT, found none"),
        (
            ("robustness", "RUN", "Hopper-v5", *("--sweep", "gravity=x1:x2:2") * 2),
            "two different parameters to sweep, found gravity twice",
        ),
        (
            (
                "robustness",
                "RUN",
                "Hopper-v5",
                "--sweep",
                "gravity=x1:x2:2",
                "--trained",
                "gravity=oops",
                "--trained",
                "friction=x1:x2",
            ),
            "gravity: expected a range",
        ),
        (("robustness", "RUN", "Hopper-v5"), "what to sweep: --sweep torso.mass=x0.5:x2:7"),
        (("robustness", "RUN", "--sweep", "a=x1:x2:3"), "at least one CHECKPOINT and a TASK"),
        (("robustness", "RUN", "Hopper-v5", "--sweep", "torso.mass=x1:x2"), "PARAMETER=RANGE:POINTS"),
        (("robustness", "RUN", "Hopper-v5", "--sweep", "torso.mas=x1:x2:2"), "Did you mean 'torso.mass'"),
        (("robustness", "RUN", "Hopper-v5", "--sweep", "torso.mass=x1:x2:2", "--out", "a.bmp"), "'.bmp'"),
        (("seal", "nowhere.yaml"), "There is no file nowhere.yaml"),
        (("identify", "Hopper-v5", "--fit", "torso.mass=x1:x2"), "DATA) or a --reality"),
        (("identify", "Hopper-v5", "--reality", "hopper-worn"), "Expected what to fit"),
        (("identify", "Hopper-v5", "--reality", "hopper-worn", "--fit"), "Expected what to fit"),
        ((*FIT, "--window", "nan"), "window: expected a number above 0 and finite, found nan"),
        ((*FIT, "--window", "0"), "window: expected a number above 0 and finite, found 0"),
        ((*FIT, "--window", "-1"), "window: expected a number above 0 and finite, found -1"),
        ((*FIT, "--seconds", "nan"), "seconds: expected a number above 0 and finite, found nan"),
        ((*FIT, "--seed", "-1"), "seed: expected a number at least 0, found -1"),
        ((*FIT, "--delay", "2", "1"), "delay: expected a delay from fewest to most control steps"),
        ((*FIT, "--fit", "torso.mass=x0.6:x2"), "--fit: torso.mass is given twice"),
        ((*FIT, "--fit", "friction=x1.5:x2"), "with the nominal value in it (1), found 1.5 to 2"),
        (("identify", "Hopper-v5", "nowhere.npz", "--fit", "torso.mass=x0.5:x2"), "nowhere.npz"),
        (("identify", "Ant-v5", "--reality", "hopper-worn", "--fit", "a=x1:x2"), "stands for Hopper-v5"),
    ],
)
def test_mistakes_are_named(words, said, run, capsys):
    status, _, err = _run(capsys, *(run if word == "RUN" else word for word in words))
    assert status == 2
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--randomize", "hevy"], "--randomize: Unknown recipe 'hevy'. Did you mean 'heavy'?"),
        (["--randomize", "light", "medium"], "--randomize: expected one recipe, found light, medium."),
        (["--randomize", "gear=x2"], "--randomize: expected a range such as x0.5:x1.5"),
        (["--imperfections", "sever"], "--imperfections: Unknown challenge 'sever'."),
    ],
)
def test_a_world_that_cant_be_is_refused_by_its_option(words, said, tmp_path, capsys):
    assert main(["train", "InvertedPendulum-v5", "--out", str(tmp_path / "run"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_agent_is_trained_in_a_randomized_imperfect_simulation(tmp_path):
    words = ["--randomize", "light", "gear=x0.5:x1", "--imperfections", "action_delay=1"]
    run = tmp_path / "run"
    assert main(["train", "InvertedPendulum-v5", "--steps", "512", "--out", str(run), *words]) == 0
    configs = map(TrialConfig.read, (run / "trials").iterdir())
    (world,) = (config.world for config in configs if config.kind == "target")
    assert world["imperfections"] == {"action_delay": {"low": 1, "high": 1}}
    assert any(term.get("name") == "gear" or "gear" in str(term) for term in world["randomize"].values())
    words = ["transfer", str(run), "InvertedPendulum-v5@gear=x0.8", "--steps", "512", *words[:2]]
    assert main([*words, "--out", str(tmp_path / "warm"), "--option", "critic_fit_steps=0"]) == 0
