"""``warmstart gap``, ``robustness``, ``seal``, ``identify`` and what ``list`` says of them."""

import json

import pytest

from warmstart.__main__ import main
from warmstart.sim2real.recording import record


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "hopper"
    assert main(["train", "Hopper-v5", "--steps", "2048", "--out", str(path)]) == 0
    return path


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


def test_a_map_is_printed_and_drawn(run, capsys, tmp_path):
    picture = tmp_path / "new" / "map.png"
    sweeps = ("--sweep", "torso.mass=x0.5:x2:3", "--sweep", "friction=x0.6:x1.4:2")
    words = ("robustness", run, run, "Hopper-v5", *sweeps, "--episodes", "2")
    status, out, err = _run(capsys, *words, "--out", picture, "--trained", "friction=x0.8:x1.2")
    assert status == 0, err
    assert out.count("torso.mass down, friction to the right") == 2
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
        (("robustness", "RUN", "Hopper-v5"), "what to sweep: --sweep torso.mass=x0.5:x2:7"),
        (("robustness", "RUN", "--sweep", "a=x1:x2:3"), "at least one CHECKPOINT and a TASK"),
        (("robustness", "RUN", "Hopper-v5", "--sweep", "torso.mass=x1:x2"), "PARAMETER=RANGE:POINTS"),
        (("robustness", "RUN", "Hopper-v5", "--sweep", "torso.mas=x1:x2:2"), "Did you mean 'torso.mass'"),
        (("robustness", "RUN", "Hopper-v5", "--sweep", "torso.mass=x1:x2:2", "--out", "a.bmp"), "'.bmp'"),
        (("seal", "nowhere.yaml"), "There is no file nowhere.yaml"),
        (("identify", "Hopper-v5", "--fit", "torso.mass=x1:x2"), "DATA) or a --reality"),
        (("identify", "Hopper-v5", "--reality", "hopper-worn"), "Expected what to fit"),
        (("identify", "Hopper-v5", "nowhere.npz", "--fit", "torso.mass=x0.5:x2"), "nowhere.npz"),
        (("identify", "Ant-v5", "--reality", "hopper-worn", "--fit", "a=x1:x2"), "stands for Hopper-v5"),
    ],
)
def test_mistakes_are_named(words, said, run, capsys):
    status, _, err = _run(capsys, *(run if word == "RUN" else word for word in words))
    assert status == 2
    assert said in err
    assert "Traceback" not in err
