"""``warmstart push``, ``pull`` and ``demo``, and the hub's repositories wherever a checkpoint is taken."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import gymnasium
import pytest
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from tests.agents.hub.server import Hub, hub_in_use
from warmstart.__main__ import main
from warmstart.cli.table import _TABLE

ROOT = Path(__file__).parents[2]
TRIAL = ROOT / "tests" / "data" / "old_run" / "trials" / "5aafa6ece2d63f8f"
REPOSITORY = "sb3/ppo-InvertedPendulum-v4"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with hub_in_use(monkeypatch, tmp_path) as hub:
        yield hub


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> dict[str, bytes]:
    """What RL Zoo pushed: without a licence, as all of its repositories."""
    folder = tmp_path_factory.mktemp("zoo")
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("InvertedPendulum-v5")]))
    model = PPO(
        "MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, policy_kwargs={"net_arch": [8]}
    )
    model.learn(64)
    model.save(folder / "ppo-InvertedPendulum-v4.zip")
    env.save(str(folder / "vec_normalize.pkl"))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**files, "README.md": b"---\nlibrary_name: stable-baselines3\n---\n", "config.yml": b"!!x"}


def test_push_and_pull_between_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(TRIAL), "shared"]) == 2
    assert "A shared policy needs a licence: give --licence" in capsys.readouterr().err
    assert main(["push", str(TRIAL), "shared", "--licence", "mit", "--name", "Pole"]) == 0
    assert "Pushed: shared" in capsys.readouterr().out
    assert "# Pole" in (tmp_path / "shared" / "README.md").read_text()
    assert main(["pull", "shared", "--out", "mine", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["checkpoint"], told["licence"]) == ("mine", "mit")
    assert main(["pull", "nothing"]) == 2
    assert "There is no folder nothing: expected one, or hf:OWNER/NAME on the hub." in capsys.readouterr().err


def test_a_zoo_model_starts_an_agent_that_is_pinned(hub: Hub, zoo, tmp_path, capfd, caplog):
    repository = hub.repository(REPOSITORY, zoo)
    words = ["transfer", f"hf:{REPOSITORY}", "InvertedPendulum-v5", "--steps", "512"]
    words += ["--source-task", "InvertedPendulum-v5", "--option", "critic_fit_steps=0"]
    assert main(words) == 2
    assert f"warmstart pull hf:{REPOSITORY}@{repository.head} --without-licence" in capfd.readouterr().err
    assert main(["pull", f"hf:{REPOSITORY}", "--without-licence"]) == 0
    said = capfd.readouterr()
    assert f"From: hf:{REPOSITORY}@{repository.head}\nLicence: none" in said.out
    assert "Left in the repository, unread: config.yml." in caplog.text
    assert (tmp_path / "ppo-InvertedPendulum-v4" / "policy.safetensors").is_file()
    assert main(words) == 0
    assert "standardised by vec_normalize.pkl beside it" in capfd.readouterr().err
    (run,) = (tmp_path / "runs").iterdir()
    assert yaml.safe_load((run / "study.yaml").read_text())["source"] == f"hf:{REPOSITORY}@{repository.head}"
    (copied,) = (run / "checkpoints").iterdir()
    assert json.loads((copied / "pulled.json").read_text())["revision"] == repository.head
    assert main(["evaluate", f"hf:{REPOSITORY}", "InvertedPendulum-v5", "--episodes", "1", "--json"]) == 0
    assert main(["inspect", f"hf:{REPOSITORY}@{repository.head}"]) == 0


def test_a_hub_that_is_away_is_one_sentence(hub: Hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(["evaluate", "hf:me/policy", "InvertedPendulum-v5"]) == 2
    told = capsys.readouterr().err
    assert "http://127.0.0.1:9 can't be reached" in told
    assert len(told.strip().splitlines()) == 1


def test_without_the_package_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["pull", "hf:me/policy"]) == 2
    assert "need huggingface_hub: pip install 'warmstart[hub]'." in capsys.readouterr().err


def test_the_demo_runs_what_make_demo_does(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(
        "warmstart.experiments.run.run.run_study", lambda *words, **more: asked.append(words) or 1 / 0
    )
    for words in (["demo"], ["demo", "--pixels"]):
        assert main(words) == 1
    assert [words[0] for words in asked] == ["cheetah-friction", "pixels-demo"]
    assert {"push", "pull", "demo"} <= set(_TABLE)
    assert "-m warmstart demo\n" in (ROOT / "Makefile").read_text()


def test_the_demo_is_in_the_wheel(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import warmstart; print(warmstart.__file__)\n"
        "from warmstart.__main__ import main\n"
        "status = main(['compare', 'cheetah-friction', '--dry-run']) or main(['demo', '--help'])\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site" / "warmstart"))
    assert "Nothing was written." in done.stdout
    assert "to the report" in done.stdout
    assert (tmp_path / "site" / "warmstart" / "experiments" / "templates" / "card.md.j2").is_file()
