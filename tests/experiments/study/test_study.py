"""Studies from Python and YAML: strictness, line numbers, round trips."""

from pathlib import Path

import pytest

from warmstart.core.bounds import SettingError
from warmstart.core.documents import dump_yaml, parse_yaml
from warmstart.core.errors import WarmstartError
from warmstart.experiments.study.loading import load_study
from warmstart.experiments.study.study import Study

GOOD = """\
name: test
source: Hopper-v5
target: Hopper-v5@torso.mass=x2
source_steps: 1e5
target_steps: 50_000
seeds: [3, 1]
algorithm: {name: ppo, learning_rate: 1e-4}
arms:
  - scratch
  - method: fine_tune
    name: warm
    critic_steps: 0
evaluation:
  every: 5_000
"""


def read(text: str) -> Study:
    return Study.from_document(parse_yaml(text, "test.yaml"))


def test_reads_yaml() -> None:
    study = read(GOOD)
    assert (study.source_steps, study.target_steps) == (100_000, 50_000)
    assert study.seed_list == (3, 1)
    assert study.algorithm == {"name": "ppo", "learning_rate": 1e-4}
    assert [arm.name for arm in study.arm_list] == ["scratch", "warm"]
    assert study.arm_list[1].method == "fine_tune"
    assert study.arm_list[1].options == {"critic_steps": 0}
    assert study.protocol.every == study.protocol.source_every == 5_000
    assert study.baseline == "scratch"


def test_python_and_yaml_say_the_same() -> None:
    study = Study(
        name="test",
        source="Hopper-v5",
        target="Hopper-v5@torso.mass=x2",
        source_steps=100_000,
        target_steps=50_000,
        seeds=[3, 1],
        algorithm={"name": "ppo", "learning_rate": 1e-4},
        arms=["scratch", {"method": "fine_tune", "name": "warm", "critic_steps": 0}],
        evaluation={"every": 5_000},
    )
    assert study.to_mapping() == read(GOOD).to_mapping()


def test_written_study_reads_back() -> None:
    study = read(GOOD)
    again = read(study.to_yaml("a comment"))
    assert again.to_mapping() == study.to_mapping()
    assert again.to_yaml() == study.to_yaml()


def test_number_of_seeds_counts_from_zero() -> None:
    assert Study("s", "Hopper-v5", 10, source="Hopper-v5", source_steps=10, seeds=3).seed_list == (0, 1, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "target_steps",
            "traget_steps",
            "test.yaml, line 5: traget_steps: Unknown setting.*'target_steps'",
        ),
        ("50_000", "many", "line 5: target_steps: expected a whole number, found 'many'"),
        ("50_000", "0", "line 5: target_steps: expected a number at least 1, found 0"),
        ("[3, 1]", "0", "line 6: seeds: expected at least one seed"),
        ("[3, 1]", "[]", "line 6: seeds: expected at least one seed"),
        ("[3, 1]", "[3, 3]", r"line 6: seeds\[1\]: the seed 3 is given twice"),
        ("[3, 1]", "[3, -1]", r"line 6: seeds\[1\]: expected a number at least 0, found -1"),
        ("[3, 1]", "true", "line 6: seeds: expected a whole number or a list, found True"),
        ("every", "evry", r"line 14: evaluation.evry: Unknown setting 'evry'.*'every'"),
        ("every: 5_000", "every: -1", "line 14: evaluation.every: expected a number at least 0, found -1"),
        ("every: 5_000", "every: often", "line 14: evaluation.every: expected a whole number, found 'often'"),
        (
            "method: fine_tune",
            "mthod: fine_tune",
            r"line 10: arms\[1\]: expected a method's name or a mapping",
        ),
        ("name: warm", "name: scratch", r"line 10: arms\[1\]: the name 'scratch' is given twice"),
        ("- scratch", "- zero_shot", "line 1: baseline: the baseline 'scratch' is not among the arms"),
        ("seeds: [3, 1]", "name: again", "line 6: 'name' is given twice .first on line 1"),
        ("source: Hopper-v5\n", "", "source_steps: there is no `source` to train"),
        ("source: Hopper-v5", "source: [1]", "line 2: source: expected text or nothing .null., found .1."),
        ("name: ppo", "nme: ppo", "line 7: algorithm: expected the algorithm's name under the key `name`"),
        ("seeds: [3, 1]", "seeds: !!python/name:os.system ''", "line 6: .*python/name"),
        ("seeds: [3, 1]", "seeds: [3", "not valid YAML"),
        ("seeds: [3, 1]", "device: tpu", "line 6: device: expected auto, cpu or cuda"),
    ],
)
def test_mistakes_are_named_with_their_line(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(WarmstartError, match=message):
        read(GOOD.replace(old, new, 1))


def test_mistakes_in_python_name_the_field() -> None:
    with pytest.raises(SettingError, match=r"^seeds: expected at least one seed, found 0"):
        Study("s", "Hopper-v5", 10, source="Hopper-v5", source_steps=10, seeds=0)
    for source, said in (
        ("runs/Nope", "source: There is no checkpoint at runs/Nope"),
        (
            "experiments/study:bets",
            "source: Unknown checkpoint of experiments/study 'bets'. Did you mean 'best'",
        ),
    ):
        with pytest.raises(SettingError, match=said):
            Study("s", "Hopper-v5", 10, source=source)
    with pytest.raises(SettingError, match="source_steps: missing"):
        Study("s", "Hopper-v5", 10, source="Hopper-v5")


def test_source_may_be_a_checkpoint(tmp_path: Path) -> None:
    assert Study("s", "Hopper-v5", 10, source="agent.zip").source_checkpoint == Path("agent.zip")
    assert Study("s", "Hopper-v5", 10, source=str(tmp_path)).source_checkpoint == tmp_path
    assert Study("s", "Hopper-v5", 10, source="a/Hopper-v5", source_steps=1).source_checkpoint is None


def test_what_describes_a_checkpoint_needs_one(tmp_path: Path) -> None:
    text = GOOD.replace("source: Hopper-v5", "source: ./agent.zip\nsource_task: Hopper-v5")
    study = read(text.replace("source_steps: 1e5", "source_normalizer: vecnormalize.pkl"))
    assert (study.source_task, study.source_normalizer) == ("Hopper-v5", "vecnormalize.pkl")
    with pytest.raises(WarmstartError, match=r"line 2: source_task: .*`source` is not the path of one"):
        read(GOOD.replace("source: ", "source_task: Hopper-v5\nsource: ", 1))


def test_a_folder_named_like_a_task_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Hopper-v5").mkdir()
    study = Study("s", "Hopper-v5", 10, source="Hopper-v5", source_steps=10)
    assert study.source_checkpoint is None
    (tmp_path / "Hopper-v5" / "checkpoint.json").touch()
    assert study.source_checkpoint == Path("Hopper-v5")


def test_unknown_studies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WarmstartError, match=r"Unknown preset 'smok'.*'smoke'"):
        load_study("smok")
    with pytest.raises(WarmstartError, match=r"There is no study file .*nothing.yaml"):
        load_study(tmp_path / "nothing.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(WarmstartError, match=r"list.yaml, line 1: expected a mapping"):
        load_study(tmp_path / "list.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WarmstartError, match="can't be read as text"):
        load_study(tmp_path / "binary.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(WarmstartError, match="expected a mapping"):
        load_study(tmp_path / "empty.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e6", 1e6),
        ("600_000", 600_000),
        ("010", 10),
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("Ant-v5:without=[hip_4,ankle_4]", "Ant-v5:without=[hip_4,ankle_4]"),
        ("HalfCheetah-v5@gravity=x0.5", "HalfCheetah-v5@gravity=x0.5"),
        ("'5'", "5"),
        ("-.inf", float("-inf")),
        ("~", None),
    ],
)
def test_scalars_read_as_people_mean_them(text: str, value: object) -> None:
    found = parse_yaml(f"key: {text}", "x").data["key"]
    assert found == value
    assert type(found) is type(value)
    assert parse_yaml(dump_yaml({"key": value}), "x").data["key"] == value


def test_anchors_that_contain_themselves_are_refused() -> None:
    with pytest.raises(WarmstartError, match="contains itself"):
        parse_yaml("a: &x [*x]", "x")


def test_deep_documents_are_refused() -> None:
    with pytest.raises(WarmstartError, match="nested too deeply"):
        parse_yaml("[" * 5000 + "]" * 5000, "x")


def test_huge_documents_are_refused() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(WarmstartError, match="more than 100000 values"):
        parse_yaml(bomb, "x")
