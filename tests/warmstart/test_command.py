"""The command as someone in a hurry uses it: one clear line when something is wrong, JSON for programs."""

import json
import os
import signal
import subprocess
import sys
import time

import gymnasium
import pytest
import stable_baselines3
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from warmstart.__main__ import main
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.architecture import POLICIES
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.settings.config import PPOConfig
from warmstart.core.documents import parse_yaml
from warmstart.experiments.run.run import prepare
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.trial import run_trial

STUDY = """name: tiny
source: InvertedPendulum-v5
target: InvertedPendulum-v5@pole.mass=x2
algorithm: {name: ppo, n_envs: 4, n_steps: 64, batch_size: 64, n_epochs: 1}
source_steps: 512
target_steps: 512
seeds: 1
arms: [scratch, {method: fine_tune, critic_fit_steps: 256}]
evaluation: {every: 256, episodes: 2}
"""


def _run(capsys, *words):
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, err


def test_a_run_is_resumed_by_its_folder_alone(tmp_path, monkeypatch, capsys):
    """It was planned, its source trained; what is missing is trained, the rest isn't again."""
    monkeypatch.chdir(tmp_path)
    made = make_plan(Study.from_document(parse_yaml(STUDY, "tiny.yaml")))
    prepare(made, tmp_path / "run")
    source = next(trial for trial in made.trials if trial.arm == "source")
    run_trial(tmp_path / "run" / "trials" / source.hash)
    records = tmp_path / "run" / "trials" / source.hash / "records.jsonl"
    before = records.stat().st_mtime_ns
    status, out, err = _run(capsys, "resume", "run")
    assert status == 0, err
    assert "Report: run/report.html" in out
    assert records.stat().st_mtime_ns == before
    _, out, _ = _run(capsys, "status", "run", "--json")
    assert {row["state"] for row in json.loads(out)} == {"done"}


def test_train_transfer_evaluate_inspect_status(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, _ = _run(capsys, "train", "InvertedPendulum-v5", "--steps", "512")
    assert status == 0
    assert "Checkpoint: runs/InvertedPendulum-v5/trials/" in out
    status, out, _ = _run(capsys, "status", "runs/InvertedPendulum-v5", "--json")
    assert {row["state"] for row in json.loads(out)} == {"done"}
    words = ("transfer", "runs/InvertedPendulum-v5", "InvertedDoublePendulum-v5", "--steps", "512", "--json")
    status, out, _ = _run(capsys, *words)
    assert status == 0
    run = json.loads(out)["run"]
    status, out, _ = _run(capsys, "evaluate", run, "InvertedDoublePendulum-v5", "--episodes", "3", "--json")
    assert status == 0
    assert len(json.loads(out)["returns"]) == 3
    status, out, _ = _run(
        capsys, "inspect", *(str(p) for p in tmp_path.glob("runs/I*-v5/trials/*/checkpoint"))
    )
    assert status == 0
    assert "slider.position" in out
    status, _, err = _run(capsys, "evaluate", "runs/InvertedPendulum-v5", "Hopper-v5")
    assert status == 2
    assert "(11,)" in err
    assert "warmstart transfer" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluate", "nowhere", "Hopper-v5"), "nowhere"),
        (("train", "Hoper-v5"), "Did you mean 'Hopper-v5'"),
        (("train", "Hopper-v5@torso.mas=x2"), "Did you mean 'torso.mass'"),
        (("train", "Hopper-v5@torso.mass=-1"), "mass"),
        (("train", "CartPole-v1", "--algorithm", "sac"), "ppo"),
        (("train", "Hopper-v5", "--algorithm", "dqn"), "dqn is not supported"),
        (("train", "Hopper-v5", "--steps", "0"), "--steps: expected a number at least 1"),
        (("train", "Hoper-v5"), "warmstart: TASK: Unknown"),
        (("compare", "cheetah-fricton"), "Did you mean 'cheetah-friction'"),
        (("compare", "nowhere.yaml"), "nowhere.yaml"),
        (("report", "nowhere"), "nowhere"),
        (("status", "nowhere"), "nowhere"),
        (("resume", "nowhere"), "nowhere holds no run: expected its study.yaml or pairs.yaml"),
        (("inspect", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_one_message_without_traceback(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    status, _, err = _run(capsys, *words)
    assert status == 2
    assert said in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir()), "a refused command writes nothing"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("target_stps: 5", "target_steps"),
        ("seeds: 0", "at least one seed"),
        ("arms: [scratch, fine_tun]", "fine_tune"),
        ("source_steps: many", "source_steps"),
    ],
)
def test_a_mistake_in_yaml_names_its_line(tmp_path, capsys, line, said):
    key = line.split(":")[0]
    kept = [text for text in STUDY.splitlines() if not text.startswith(f"{key}:")]
    path = tmp_path / "study.yaml"
    path.write_text("\n".join([*kept, line, ""]))
    status, _, err = _run(capsys, "compare", str(path), "--dry-run")
    assert status == 2
    assert f"study.yaml, line {len(kept) + 1}" in err
    assert said in err


def test_truncated_and_foreign_checkpoints(tmp_path, capsys):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 not a zip")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("hello")
    for name in ("a.zip", "b"):
        status, _, err = _run(capsys, "inspect", str(tmp_path / name))
        assert status == 2
        assert name in err


def _foreign(folder, task, normalise=False):
    """Write what a user of plain SB3 has: a zip, and the file of VecNormalize."""
    env = DummyVecEnv([lambda: gymnasium.make(task)])
    env = VecNormalize(env) if normalise else env
    PPO("MlpPolicy", env, n_steps=64, batch_size=64, seed=0).learn(64).save(folder / "foreign.zip")
    if normalise:
        env.save(str(folder / "vecnormalize.pkl"))
    env.close()


def test_a_foreign_zip_starts_an_agent_that_is_built_as_its_source(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _foreign(tmp_path, "InvertedPendulum-v5")
    words = ("transfer", "foreign.zip", "InvertedPendulum-v5", "--steps", "1024", "--out", "run")
    status, _, err = _run(capsys, *words)
    assert status == 0
    assert err.count("The target is built as the source was: normalize_reward=False") == 1
    (report,) = (json.loads(p.read_text()) for p in tmp_path.glob("run/trials/*/transfer.json"))
    assert report["steps"] == 512
    assert any("limited to a quarter" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("PPO", {"policy_kwargs": {"squash_output": True, "use_expln": True}, "critic_net_arch": [8, 8]}),
        ("SAC", {"policy_kwargs": {"clip_mean": 1.0}, "n_critics": 1, "log_std_init": -2.5}),
    ],
)
def test_the_target_explores_as_its_source_does(tmp_path, monkeypatch, capsys, algorithm, settings):
    """gSDE, squashing and critics are the source's; all its tensors fit, so that it starts as good."""
    monkeypatch.chdir(tmp_path)
    own = dict(settings["policy_kwargs"]) | {
        k: v for k, v in settings.items() if k in ("n_critics", "log_std_init")
    }
    own["net_arch"] = {"pi": [16], "vf": [8, 8]} if algorithm == "PPO" else [16]
    few = (
        {"n_steps": 64, "batch_size": 64} if algorithm == "PPO" else {"learning_starts": 40, "batch_size": 32}
    )
    env = gymnasium.make("InvertedPendulum-v5")
    model = getattr(stable_baselines3, algorithm)(
        "MlpPolicy", env, use_sde=True, policy_kwargs=own, seed=0, **few
    )
    model.learn(64).save("foreign.zip")
    words = ("transfer", "foreign.zip", "InvertedPendulum-v5", "--steps", "512", "--out", "run")
    status, _, err = _run(capsys, *words, "--option", "critic_fit_steps=0")
    assert status == 0, err
    (path,) = tmp_path.glob("run/trials/*/transfer.json")
    built = json.loads((path.parent / "trial.json").read_text())["algorithm"]
    assert built["use_sde"] is True
    assert built["net_arch"] == [16]
    for key, value in settings.items():
        assert built[key] == value
    assert {entry["action"] for entry in json.loads(path.read_text())["entries"]} == {"copied"}


def test_a_foreign_zip_crosses_spaces_with_the_names_of_its_task(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _foreign(tmp_path, "InvertedPendulum-v5", normalise=True)
    words = ["transfer", "foreign.zip", "InvertedDoublePendulum-v5", "--steps", "2048", "--out", "run"]
    status, _, err = _run(capsys, *words)
    assert status == 2
    assert "--source-observation-names" in err
    assert "--source-task" in err
    assert not (tmp_path / "run").exists()
    words += ["--source-task", "InvertedPendulum-v5", "--trust-normalizer", "vecnormalize.pkl"]
    status, _, err = _run(capsys, *words, "--option", "critic_fit_stes=3")
    assert status == 2
    assert "--option critic_fit_stes: Unknown option" in err
    assert "Did you mean 'critic_fit_steps'" in err
    status, _, err = _run(capsys, *words, "--option", "critic_fit_steps=2048")
    assert status == 2
    assert "takes all of --steps (2,048)" in err
    status, _, err = _run(capsys, *words, "--algorithm", "sac")
    assert status == 2
    assert "--algorithm: the source was trained by ppo" in err
    options = ["--option", "critic_fit_steps=0", "exploration={floor: -0.5}"]
    status, _, err = _run(capsys, *words, *options, "--observation-map", "hinge.sin=hinge.angle")
    assert status == 0, err
    (report,) = (json.loads(p.read_text()) for p in tmp_path.glob("run/trials/*/transfer.json"))
    assert report["steps"] == 0
    assert {"normalizer.mean", "normalizer.var"} <= {entry["name"] for entry in report["entries"]}


def test_usage_errors_and_help(capsys):
    assert main(["nonsense"]) == 2
    assert main(["--help"]) == 0
    assert "compare" in capsys.readouterr().out


def test_list_is_json_for_programs(capsys):
    status, out, _ = _run(capsys, "list", "--json")
    listed = json.loads(out)
    assert status == 0
    assert "fine_tune" in [row["name"] for row in listed["methods"]]
    assert "cheetah-friction" in [row["name"] for row in listed["presets"]]
    assert len(listed["tasks"]) > 50


def test_list_recipes_says_what_they_randomize(capsys):
    _, out, _ = _run(capsys, "list", "recipes", "--json")
    rows = [row for row in json.loads(out)["recipes"] if row["kind"] == "recipe"]
    levels = {(row["task"], row["name"]): row for row in rows}
    assert len(levels) == len(rows) == 33
    found = levels["Hopper-v5", "heavy"]
    assert found["ranges"]["torso.mass"] == "0.1:3"
    assert "friction x0.33:x2 log_uniform" in found["what"]
    _, out, _ = _run(capsys, "list", "recipes")
    assert "body.*.mass x0.9:x1.1 each, gear x0.95:x1.05" in out
    assert "imperfections: hard" in out
    assert "{'" not in out


@pytest.mark.parametrize("preset", ["smoke", "pendulum-reality"])
def test_dry_run_writes_nothing(tmp_path, monkeypatch, capsys, preset):
    monkeypatch.chdir(tmp_path)
    status, out, _ = _run(capsys, "compare", preset, "--dry-run")
    assert status == 0
    assert "Nothing was written" in out
    assert not list(tmp_path.iterdir())


def test_ctrl_c_says_how_to_continue_and_loses_nothing(tmp_path, start_process):
    (tmp_path / "study.yaml").write_text(STUDY.replace("target_steps: 512", "target_steps: 400_000"))
    command = [sys.executable, "-m", "warmstart", "compare", "study.yaml", "--workers", "1"]
    process = start_process(command, cwd=tmp_path)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        states = [json.loads(p.read_text()) for p in tmp_path.glob("runs/tiny/trials/*/status.json")]
        if any(s["state"] == "running" and s["total"] > 1000 for s in states):
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in err
    assert "Traceback" not in err
    done = [
        s
        for s in (json.loads(p.read_text()) for p in tmp_path.glob("runs/tiny/trials/*/status.json"))
        if s["state"] == "done"
    ]
    assert done, "the finished source trial is kept"


_NO_GL = """
import ctypes, sys
real = ctypes.CDLL.__init__
def refuse(self, name, *args, **kwargs):
    if name and any(gl in str(name) for gl in ("EGL", "OSMesa")):
        raise OSError(f"{name}: cannot open shared object file")
    real(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = refuse
from warmstart.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "backend", ["", *(pytest.param(b, marks=pytest.mark.slow) for b in ("egl", "osmesa"))]
)
def test_training_needs_no_opengl_and_video_says_what_is_missing(tmp_path, backend):
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("MUJOCO_GL", "DISPLAY", "PYOPENGL_PLATFORM")
    }
    env |= {"MUJOCO_GL": backend} if backend else {}

    def run(*words):
        command = [sys.executable, "-c", _NO_GL, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=env)

    done = run("train", "InvertedPendulum-v5", "--steps", "512", "--out", "run")
    assert done.returncode == 0, done.stderr
    film = run("video", "run", "InvertedPendulum-v5", "--seconds", "1")
    assert film.returncode == 2
    assert "libegl1 libgl1-mesa-dri" in film.stderr
    assert "Traceback" not in film.stderr


def test_a_senseless_mujoco_gl_is_named(monkeypatch, capsys):
    monkeypatch.setenv("MUJOCO_GL", "elg")
    assert main(["list", "presets"]) == 2
    assert "Did you mean 'egl'" in capsys.readouterr().err


def test_a_policy_of_another_robot_is_refused_though_its_shapes_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = PPOConfig(n_envs=1, n_steps=32, batch_size=32)
    env = make_training_env(config, "HalfCheetah-v5", 0)
    save_checkpoint(build_agent(config, env, 0), "checkpoint")
    env.close()
    status, _, err = _run(capsys, "evaluate", "checkpoint", "Walker2d-v5")
    assert status == 2
    assert "bthigh.angle where the task has thigh_joint.angle" in err


def test_what_a_checkpoint_holds_does_not_command_the_terminal(tmp_path, capsys):
    config = PPOConfig(n_envs=1, n_steps=8, batch_size=8)
    env = make_training_env(config, "InvertedPendulum-v5", 0)
    save_checkpoint(build_agent(config, env, 0), tmp_path / "c")
    meta = tmp_path / "c" / "checkpoint.json"
    held = json.loads(meta.read_text())
    held["provenance"] = {"note": "\x1b]0;owned\x07"}
    meta.write_text(json.dumps(held))
    _, out, err = _run(capsys, "inspect", str(tmp_path / "c"))
    assert "\x1b" not in out + err


def test_inspect_takes_a_plugin_for_a_policy_of_its_own(tmp_path, capsys):
    script = """
import stable_baselines3 as sb3
from stable_baselines3.common.policies import ActorCriticPolicy
class Own(ActorCriticPolicy): pass
sb3.PPO(Own, "InvertedPendulum-v5", n_steps=8, batch_size=8, device="cpu").save("own")
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
    plugin = tmp_path / "own_policy.py"
    plugin.write_text("""
from stable_baselines3.common.policies import ActorCriticPolicy
from warmstart.agents.checkpoints.architecture import POLICIES
class Own(ActorCriticPolicy): pass
POLICIES["ppo"]["Own"] = Own
""")
    status, _, err = _run(capsys, "inspect", str(tmp_path / "own.zip"))
    assert status == 2
    assert "of the class __main__.Own" in err
    try:
        assert _run(capsys, "inspect", str(tmp_path / "own.zip"), "--plugin", str(plugin))[0] == 0
    finally:
        POLICIES["ppo"].pop("Own", None)
