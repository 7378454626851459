"""Run folders from strangers: whatever is missing, odd, or a link, ends in a message."""

import json
import shutil
from pathlib import Path

import pytest

from tests.experiments.analysis.test_predicted import SAID
from tests.hostile import FILES, ends_in_a_message, json_variants, write_json
from warmstart.core.documents import dump_yaml, read_yaml
from warmstart.core.errors import WarmstartError
from warmstart.experiments.analysis.summary import summarise
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.schema import STUDY, read_records, read_times
from warmstart.experiments.report.report import render_report
from warmstart.experiments.run.reading import find_checkpoints, load_run
from warmstart.experiments.trial.worlds import terms_of

DATA = Path(__file__).parents[2] / "data"
TRIAL = "cd39d9213d64d6da"
"""Has a curriculum and a gap."""
MAP = {
    "sweeps": ["pole.mass=x0.5:x2:3"],
    "means": [10.0, 20.0, 15.0],
    "threshold": 12.0,
    "trained": [[0.5, 2.0]],
    "diverged": 0,
}
JSON = ("trial.json", "transfer.json", "gap.json", "map.json", "curriculum.json", "status.json")
JSON += ("similarity.json",)
LINES = ("records.jsonl", "times.jsonl")


@pytest.fixture
def run(tmp_path):
    """A run of an old version, with a map and pictures."""
    folder = Path(shutil.copytree(DATA / "old_run", tmp_path / "run"))
    write_json(folder / "trials" / TRIAL / "map.json", MAP)
    write_json(folder / "similarity.json", SAID)
    for name in ("frames.png", "rollout.mp4"):
        (folder / "trials" / TRIAL / name).write_bytes(b"pictures")
    return folder


def place(run, name):
    return run / name if (run / name).exists() else run / "trials" / TRIAL / name


def read(run):
    """Read a run as far as one can without drawing."""
    summarise(load_run(run))
    for checkpoint in find_checkpoints(run):
        if checkpoint.parent.name == TRIAL:
            terms_of(checkpoint)


def report(run):
    """Make a run's report."""
    data = load_run(run)
    render_report(data, summarise(data))


def test_the_sound_one_is_reported(run):
    read(run)
    report(run)


@pytest.mark.parametrize("name", ["study.yaml", "trials.json", *JSON, *LINES, "frames.png", "rollout.mp4"])
@pytest.mark.parametrize("kind", FILES)
def test_damaged_files(kind, name, run):
    FILES[kind](place(run, name))
    torn = ("empty", "half", "null", "number", "brackets")  # one line, of a process that was killed
    unread = name in LINES and kind in torn
    harmless = name == "status.json" or name.endswith((".png", ".mp4"))
    told = ends_in_a_message(lambda: report(run) if harmless else (read(run), report(run)), name, kind)
    assert told or unread or harmless


@pytest.mark.parametrize("name", ["frames.png", "rollout.mp4"])
def test_pictures_that_link_out_of_the_run(name, run, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    place(run, name).unlink()
    (run / "trials" / TRIAL / name).symlink_to(tmp_path / "secret")
    with pytest.raises(WarmstartError, match=f"{name} is a link out of .*run: expected a file inside"):
        report(run)


@pytest.mark.parametrize("name", [*JSON, *LINES])
def test_links_out_of_the_run(name, run, tmp_path):
    path = place(run, name)
    path.rename(tmp_path / name)
    path.symlink_to(tmp_path / name)
    with pytest.raises(WarmstartError, match=f"{name} is a link out of"):
        read(run)


def ends(quick, run, names, what):
    """As `ends_in_a_message`: of the quick reader, else of the whole run's."""
    return ends_in_a_message(quick, names, what) or ends_in_a_message(lambda: read(run), names, what)


@pytest.mark.parametrize("name", ["trials.json", *JSON])
def test_odd_values(name, run):
    path = place(run, name)
    quick = {
        "trial.json": lambda: TrialConfig.read(path.parent),
        "curriculum.json": lambda: terms_of(path.parent / "checkpoint"),
    }.get(name, lambda: None)
    refused = tried = 0
    for what, changed in json_variants(json.loads(path.read_text()), 1 if name == "trial.json" else 20):
        write_json(path, changed)
        tried += 1
        refused += ends(quick, run, f"{name}|{TRIAL}", f"{name}, {what}")
    assert tried >= 10
    assert refused > 0.4 * tried


def test_odd_worlds(run):
    path = place(run, "trial.json")
    config = json.loads(path.read_text())
    for what, changed in json_variants(config["world"]):
        write_json(path, {**config, "world": changed})
        ends_in_a_message(lambda: terms_of(path.parent / "checkpoint"), "trial.json|curriculum.json", what)


@pytest.mark.parametrize("name", LINES)
def test_odd_records(name, run):
    path = place(run, name)
    lines = path.read_text().splitlines()
    events = {}
    for number, line in enumerate(lines):
        events.setdefault(json.loads(line).get("event"), number)
    quick = read_records if name == "records.jsonl" else read_times
    refused = tried = 0
    for number in events.values():
        for what, changed in json_variants(json.loads(lines[number]), 2):
            path.write_text("\n".join([*lines[:number], json.dumps(changed), *lines[number + 1 :], ""]))
            tried += 1
            refused += ends(lambda: quick(path, run), run, f"{name}, line {number + 1}|{name}", what)
    assert refused > 0.4 * tried


def test_odd_studies(run):
    data = read_yaml(run / "study.yaml").data
    keys = [key.removesuffix("?") for key in STUDY]
    shown = {key: data[key] for key in keys if key in data}
    shown["arms"] = [{"name": arm["name"], "method": arm["method"]} for arm in data["arms"]]
    refused = 0
    for what, changed in json_variants(shown):
        if not what.endswith((": nan", ": deep")):
            (run / "study.yaml").write_text(dump_yaml({**data, **changed}))
            refused += ends_in_a_message(lambda: read(run), "study.yaml", what)
    assert refused > 20


@pytest.mark.parametrize("written", ["../../../etc", "/etc", "..", "a" * 16 + "/..", 16 * "g"])
def test_hashes_that_lead_elsewhere(written, run):
    listed = json.loads((run / "trials.json").read_text())
    listed["trials"][0]["hash"] = written
    write_json(run / "trials.json", listed)
    with pytest.raises(WarmstartError, match=r"trials.json: trials\[0\].hash: expected 16 hex digits, found"):
        load_run(run)
