"""The index holds what the runs hold, whole or not at all, and comes out the same each time."""

import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.index.made import finish, made_run, make_run
from tests.hostile import FILES
from warmstart.__main__ import main
from warmstart.core.errors import WarmstartError
from warmstart.core.files import DiskFullError
from warmstart.experiments.index import building
from warmstart.experiments.index.building import index_runs
from warmstart.experiments.index.tables import TABLES, markdown
from warmstart.experiments.records.claims import Claim
from warmstart.experiments.records.status import StatusWriter
from warmstart.experiments.run.reading import load_run

ROOT = Path(__file__).parents[3]
OLD = ROOT / "tests" / "data" / "old_run"


def rows(index, question, *values):
    """Rows of a question as dicts."""
    with closing(sqlite3.connect(index.path)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(question, values)]


def everything(path):
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def old_run(folder):
    return Path(shutil.copytree(OLD, folder, ignore=shutil.ignore_patterns("checkpoint", "realities")))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs with numbers that are made up, and an old one."""
    folder = tmp_path_factory.mktemp("many") / "runs"
    made_run(folder / "cheetah", "cheetah", "HalfCheetah-v5")
    made_run(folder / "sub" / "hopper", "hopper", "Hopper-v5", seeds=1)
    old_run(folder / "old")
    return folder


def test_it_holds_what_the_report_reads(runs, tmp_path):
    index = index_runs(runs, tmp_path / "index.sqlite")
    assert index.skipped == {}
    assert index.rows["trials"] == 9 + 5 + 7
    told = rows(index, "SELECT run, study, kind, source, target, done, trials, started FROM runs")
    assert [row["run"] for row in told] == ["cheetah", "old", "sub/hopper"]
    assert told[1] == {
        "run": "old",
        "study": "old",
        "kind": "comparison",
        "source": "InvertedPendulum-v5",
        "target": "InvertedPendulum-v5",
        "done": 7,
        "trials": 7,
        "started": pytest.approx(1795884401.6197731, abs=1e-6),
    }
    for run in ("cheetah", "old", "sub/hopper"):
        data = load_run(runs / run)
        assert len(data.curves) >= 3
        for curve in (*data.curves, *data.source_curves):
            found = rows(
                index,
                "SELECT step, mean_return, mean_length, evaluations.training_seconds FROM trials "
                "JOIN evaluations USING (run, trial) WHERE run = ? AND arm = ? AND seed = ? ORDER BY step",
                run,
                curve.arm,
                curve.seed,
            )
            assert [row["step"] for row in found] == curve.steps.tolist()
            assert [row["mean_return"] for row in found] == curve.returns.tolist()
            assert [row["mean_length"] for row in found] == curve.lengths.tolist()
            assert [row["training_seconds"] for row in found] == curve.seconds.tolist()
    (trial,) = rows(index, "SELECT * FROM trials WHERE arm = 'fine_tune' AND seed = 1")
    assert trial["state"] == "done"
    assert (trial["algorithm"], trial["method"], trial["torch_threads"]) == ("ppo", "fine_tune", 1)
    assert (trial["first_return"], trial["final_return"], trial["final_return_std"]) == (410.0, 1010.0, 5.0)
    assert (trial["training_seconds"], trial["steps_per_second"]) == (50.0, 4096.0)
    assert (trial["evaluation_seconds"], trial["steps_done"], trial["source_steps"]) == (
        2.5,
        204_800,
        102_400,
    )
    assert (trial["error"], trial["stopped"]) == (None, None)
    assert json.loads(trial["config"])["task"] == "HalfCheetah-v5@gravity=x0.5" == trial["task"]
    assert "torch" in json.loads(trial["versions"])
    (chance,) = rows(index, "SELECT * FROM trials WHERE run = 'old' AND kind = 'random'")
    assert (chance["algorithm"], chance["method"], chance["steps_per_second"]) == (None, None, None)
    (metric,) = rows(
        index,
        "SELECT value FROM metrics WHERE trial = ? AND name = 'loss' AND step = 51200",
        trial["trial"],
    )
    assert metric["value"] == 1 / 51_200
    (gap,) = rows(index, "SELECT gaps.* FROM gaps JOIN trials USING (run, trial) WHERE arm = 'fine_tune'")
    assert gap["reality"] == json.loads((OLD / "trials" / gap["trial"] / "gap.json").read_text())["reality"]
    (report,) = rows(
        index, "SELECT transfers.* FROM transfers JOIN trials USING (run, trial) WHERE arm = 'fine_tune'"
    )
    assert json.loads(report["counts"])["copied"] == len(json.loads(report["entries"])) == 14


def test_the_same_runs_give_the_same_rows_in_sqlite_and_parquet(runs, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    first = index_runs(runs, tmp_path / "index.sqlite")
    before = everything(first.path)
    assert index_runs(runs, tmp_path / "index.sqlite") == first
    assert everything(first.path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["index.sqlite", *(f"index.{table}.parquet" for table in TABLES)]
    )
    for path, (table, columns) in zip(first.parquet, TABLES.items(), strict=True):
        read = parquet.read_table(path)
        types = [str(kind).replace("double", "float64") for kind in read.schema.types]
        assert dict(zip(read.schema.names, types, strict=True)) == {c.name: c.arrow for c in columns}
        assert read.to_pylist() == rows(first, f"SELECT * FROM {table}")
        assert first.rows[table] == read.num_rows


def test_runs_over_pairs_single_trainings_and_transfers_are_told_apart(tmp_path):
    make_run(tmp_path / "all" / "one", "one", "Hopper-v5", 1, "[scratch]")
    make_run(tmp_path / "all" / "two", "two", "Hopper-v5", 1, "[scratch, fine_tune]")
    study = tmp_path / "all" / "one" / "study.yaml"
    study.write_text(re.sub(r"(?m)^source: .*", "source: null", study.read_text()))
    make_run(tmp_path / "three", "three", "Hopper-v5", 1, "[fine_tune]\nbaseline: fine_tune")
    (tmp_path / "all" / "pairs.yaml").write_text("name: all\n")
    index = index_runs(tmp_path, parquet=False)
    assert index.path == tmp_path / "index.sqlite"
    told = {row["run"]: (row["kind"], row["pairs"]) for row in rows(index, "SELECT * FROM runs")}
    assert told == {
        "all/one": ("training", "all"),
        "all/two": ("comparison", "all"),
        "three": ("transfer", None),
    }
    assert {row["state"] for row in rows(index, "SELECT state FROM trials")} == {"waiting"}


def test_a_run_in_progress_is_taken_as_far_as_it_is(tmp_path):
    made = make_run(tmp_path / "run", "run", "Hopper-v5", 1)
    chance, source, first, *_ = made.unique
    finish(tmp_path / "run", chance)
    finish(tmp_path / "run", source, until=51_200)
    finish(tmp_path / "run", first, until=0)
    folders = [tmp_path / "run" / "trials" / trial.hash for trial in (source, first)]
    with (folders[0] / "records.jsonl").open("a") as file:
        file.write('{"event":"evaluation","st')  # the process is just writing it
    StatusWriter(folders[1], 204_800).progress(0, 3.0)  # whose process died
    with Claim(folders[0]):
        StatusWriter(folders[0], 102_400).progress(51_200, 200.0)
        index = index_runs(tmp_path, parquet=False)
    assert index.skipped == {}
    told = rows(index, "SELECT state, evaluations, steps_done, final_return FROM trials ORDER BY number")
    assert [row["state"] for row in told] == ["done", "running", "interrupted", "waiting", "waiting"]
    assert told[1] == {"state": "running", "evaluations": 2, "steps_done": 51_200, "final_return": 200.0}
    assert told[3] == {"state": "waiting", "evaluations": 0, "steps_done": None, "final_return": None}
    (run,) = rows(index, "SELECT trials, done, failed, updated - started AS age FROM runs")
    assert (run["trials"], run["done"], run["failed"]) == (5, 1, 0)


TRIAL = "5aafa6ece2d63f8f"
DAMAGES = ("empty", "half", "brackets", "pipe", "endless device")
PLACES = ("records.jsonl", "times.jsonl", "status.json", "trial.json", "transfer.json", "gap.json")


def test_damaged_runs_are_left_out_whole_and_named(tmp_path):
    expected = {}
    for kind in DAMAGES:
        for name in PLACES if kind == "half" else PLACES[:4]:
            run = old_run(tmp_path / f"{kind} {name}")
            FILES[kind](run / "trials" / TRIAL / name)
            expected[run.name] = name
    for name in ("trials.json", "study.yaml"):
        FILES["half"](old_run(tmp_path / f"half {name}") / name)
        expected[f"half {name}"] = name
    old_run(tmp_path / "sound")
    index = index_runs(tmp_path, parquet=False)
    assert index.rows["runs"] == 1
    for table in ("trials", "evaluations", "metrics", "transfers", "gaps"):
        assert {row["run"] for row in rows(index, f"SELECT run FROM {table}")} == {"sound"}
    assert index.skipped.keys() == expected.keys()
    for run, name in expected.items():
        assert name in index.skipped[run], index.skipped[run]
    assert rows(index, "SELECT * FROM skipped") == [
        {"path": path, "reason": reason} for path, reason in index.skipped.items()
    ]


def test_what_a_stranger_may_have_put_there(tmp_path):
    for name, change in (
        ("changed", {"steps": 2048}),
        ("method", {"method": {"method": ["DROP TABLE runs"]}}),
        ("infinite", {"algorithm": {"algorithm": "ppo", "gamma": float("inf")}}),
    ):
        path = old_run(tmp_path / name) / "trials" / TRIAL / "trial.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}).replace("Infinity", "1e999"))
    link = old_run(tmp_path / "link") / "trials" / TRIAL / "records.jsonl"
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    seed = old_run(tmp_path / "seed") / "trials.json"
    seed.write_text(seed.read_text().replace('"seed": 0', f'"seed": {1 << 70}', 1))
    study = old_run(tmp_path / "'); DROP TABLE runs; --") / "study.yaml"
    study.write_text(study.read_text().replace("name: old", 'name: "x\'); DROP TABLE trials; --\\e[2J"'))
    odd = old_run(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")))
    (odd / "study.yaml").write_text("{")
    old_run(Path(os.fsdecode(os.fsencode(tmp_path) + b"/fine \xff")))
    index = index_runs(tmp_path)
    told = {row["run"]: row["study"] for row in rows(index, "SELECT run, study FROM runs")}
    assert told == {"'); DROP TABLE runs; --": "x'); DROP TABLE trials; --\x1b[2J", "fine \\xff": "old"}
    assert set(index.skipped) == {"changed", "infinite", "link", "method", "seed", "\\xff\\xfe"}
    assert "trial.json was changed: its hash is " in index.skipped["changed"]
    assert "expected text, found ['DROP TABLE runs']" in index.skipped["method"]
    assert "found 1e999, expected a finite number" in index.skipped["infinite"]
    assert "records.jsonl is a link out of" in index.skipped["link"]
    assert index.skipped["seed"].endswith("holds a whole number of more than 64 bits, which no table takes.")


def test_what_looks_like_a_run_is_named(tmp_path):
    old_run(tmp_path / "runs" / "sound")
    (old_run(tmp_path / "half") / "trials.json").unlink()
    shutil.copytree(OLD / "trials" / TRIAL, tmp_path / "alone")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "evaluations.npz").write_bytes(b"")
    (tmp_path / "latest").symlink_to(tmp_path / "runs" / "sound")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    old_run(tmp_path / ".hidden")
    index = index_runs(tmp_path, parquet=False)
    assert rows(index, "SELECT run FROM runs") == [{"run": "runs/sound"}]
    assert index.skipped == {
        "alone": "It is a trial by itself: its run, the folder with trials.json, is missing.",
        "half": "It is half of a run: trials.json is missing. Run the study again, which writes it.",
        "latest": "It is a link to a folder; links aren't followed: index that itself.",
        "logs": "It holds curves of another library (evaluations.npz), which only `warmstart report` reads.",
    }


def test_an_index_that_cannot_be_built_leaves_the_old_one(runs, tmp_path, monkeypatch):
    index = index_runs(runs, tmp_path / "index.sqlite", parquet=False)
    before = index.path.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "read_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index_runs(runs, index.path)
    monkeypatch.undo()
    create = building._create
    monkeypatch.setattr(
        building, "_create", lambda d: (create(d), d.execute("PRAGMA max_page_count = 20"), None)[2]
    )
    with pytest.raises(DiskFullError, match=r"The disk is full: .*index.sqlite could not be written"):
        index_runs(runs, index.path)
    assert index.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [index.path]


def test_refusals_say_what_to_do(runs, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        WarmstartError, match=r"No run below .*empty. Expected folders that `warmstart compare`"
    ):
        index_runs(tmp_path / "empty")
    with pytest.raises(WarmstartError, match=r"There is no folder .*nowhere. Expected one that holds runs"):
        index_runs(tmp_path / "nowhere")
    (tmp_path / "mine.sqlite").write_text("my notes " * 20)
    with closing(sqlite3.connect(tmp_path / "theirs.sqlite")) as other:
        other.execute("CREATE TABLE t (x)")
    for name in ("mine.sqlite", "theirs.sqlite", "empty"):
        with pytest.raises(
            WarmstartError, match=f"{name} exists and is no index of warmstart's: name another"
        ):
            index_runs(runs, tmp_path / name)
    index = index_runs(runs, tmp_path / "index.sqlite")
    assert len(index.parquet) == len(TABLES)
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    with pytest.raises(WarmstartError, match=r"pip install 'warmstart\[data\]'"):
        index_runs(runs, tmp_path / "index.sqlite", parquet=True)
    again = index_runs(runs, tmp_path / "index.sqlite")
    assert again.parquet == ()
    assert again.notes == (building.NO_PARQUET, "9 Parquet files of an earlier index were removed.")
    assert not list(tmp_path.glob("*.parquet"))


def test_the_command_says_what_it_built_and_what_it_left_out(runs, tmp_path, capsys):
    (tmp_path / "runs").symlink_to(runs)
    for number in range(21):
        (tmp_path / "runs2" / f"t{number:02}").mkdir(parents=True)
        (tmp_path / "runs2" / f"t{number:02}" / "trial.json").write_text("{}")
    old_run(tmp_path / "runs2" / "sound")
    words = ["index", str(tmp_path / "runs2"), "--no-parquet"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path}/runs2/index.sqlite: runs 1, trials 7, evaluations 19, metrics 290\n"
    assert "left out: t00: It is a trial by itself: its run, the folder with trials.json, is" in err
    assert "left out: 1 more; all of them stand in the table `skipped`.\n" in err
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"]["runs"] == 1
    assert len(told["skipped"]) == 21
    assert main(["index", str(tmp_path / "nowhere")]) == 2


def test_the_documented_tables_and_question(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "many_runs.md").read_text()
    assert text.endswith(f"\n\n{markdown()}")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    (said,) = re.findall(r"```text\n(.*?)```", text, flags=re.S)
    made_run(tmp_path / "runs" / "cheetah", "cheetah", "HalfCheetah-v5")
    made_run(tmp_path / "runs" / "hopper", "hopper", "Hopper-v5")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "many_runs.md", "exec"), {})
    assert capsys.readouterr().out == said
    (sql,) = re.findall(r"`(SELECT arm, config.*?)`", text)
    with closing(sqlite3.connect("runs/index.sqlite")) as database:
        rates = dict(database.execute(sql))
    assert np.isfinite(rates["scratch"])
