"""Files of others name modules in their tasks; nothing is imported by a file's word alone."""

import sys

import pytest

from warmstart.agents.checkpoints.checkpoint import Checkpoint, save_checkpoint
from warmstart.agents.loading import load_checkpoint
from warmstart.core.documents import parse_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.plugins import load_plugin
from warmstart.envs.tasks.modules import check_modules
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.study.loading import load_study
from warmstart.sim2real.reality import load_reality, seal_reality
from warmstart.transfer.carry.source import read_source

CODE = """
import pathlib, gymnasium
pathlib.Path("{folder}/imported").touch()
gymnasium.register("{name}/Any-v0", entry_point="gymnasium.envs.classic_control:PendulumEnv")
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch, request):
    """A folder with a module that tells that it was imported, from which Python imports; its name."""
    name = f"stranger_{abs(hash(request.node.name)) % 10**8}"
    (tmp_path / f"{name}.py").write_text(CODE.format(folder=tmp_path, name=name))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def spaces_of_pendulum():
    env = make_vec("Pendulum-v1", 1)
    yield env.single_observation_space, env.single_action_space
    env.close()


def imported(folder):
    return (folder / "imported").exists()


@pytest.mark.parametrize("options", ["", ":g=9.8"])
def test_reading_a_checkpoint_imports_nothing(options, stranger, tmp_path, spaces_of_pendulum):
    task = f"{stranger}:{stranger}/Any-v0{options}"
    path = save_checkpoint(Checkpoint("sac", {}, *spaces_of_pendulum, task=task), tmp_path / "checkpoint")
    assert load_checkpoint(path).task == task
    source = read_source(path)
    assert not imported(tmp_path)
    assert f"Its task {task} is built by code that reading a checkpoint doesn't run" in source.notes[0]


def test_constructors_get_nothing_from_a_checkpoint(spaces_of_pendulum):
    checkpoint = Checkpoint("sac", {}, *spaces_of_pendulum, task='GymV26Environment-v0:env_id="a:B-v0"')
    assert "doesn't run" in read_source(checkpoint).notes[0]


def test_task_that_is_asked_for_imports(stranger, tmp_path, spaces_of_pendulum):
    checkpoint = Checkpoint("sac", {}, *spaces_of_pendulum)
    found = read_source(checkpoint, source_task=f"{stranger}:{stranger}/Any-v0")
    assert imported(tmp_path)
    assert found.task == f"{stranger}:{stranger}/Any-v0"


@pytest.mark.parametrize("key", ["target", "source"])
def test_study_in_a_file_imports_nothing(key, stranger, tmp_path):
    lines = {"name": "x", "target": "Pendulum-v1", "source": "Pendulum-v1"}
    lines |= {"target_steps": 100, "source_steps": 100, key: f"{stranger}:{stranger}/Any-v0"}
    path = tmp_path / "study.yaml"
    path.write_text("\n".join(f"{name}: {value}" for name, value in lines.items()))
    for where in (path, tmp_path):
        with pytest.raises(
            WarmstartError,
            match=f"study.yaml, line .: {key}: .* a file is no consent to run code.* --plugin {stranger}.py",
        ):
            load_study(where)
    assert not imported(tmp_path)
    load_plugin(tmp_path / f"{stranger}.py")
    assert getattr(load_study(path), key) == f"{stranger}:{stranger}/Any-v0"


@pytest.mark.parametrize("read", [load_reality, seal_reality])
def test_reality_in_a_file_imports_nothing(read, stranger, tmp_path):
    path = tmp_path / "reality.yaml"
    path.write_text(f"name: x\ntask: {stranger}:{stranger}/Any-v0\ncontext: g=x2\n")
    with pytest.raises(WarmstartError, match=r"reality.yaml, line 2: task: .* a file is no consent"):
        read(path)
    assert not imported(tmp_path)


def test_modules_that_are_installed_or_imported_may_be_named():
    text = "target: gymnasium:Pendulum-v1\nsource: ./some:where.zip\narms: [{source_task: math:X-v0}]\n"
    sys.modules.setdefault("math", __import__("math"))
    check_modules(parse_yaml(text, "study.yaml"))


def test_module_of_a_task():
    assert Task.parse("a.b:C/D-v0:time_limit=3").module == "a.b"
    assert Task.parse("Pendulum-v1:g=9.8").module == ""
