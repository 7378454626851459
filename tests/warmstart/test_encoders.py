"""``warmstart probe`` and ``pretrain`` as someone uses them, on small frames."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from stable_baselines3 import PPO

from warmstart.__main__ import main
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.encoders.encoder import load_encoder
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec
from warmstart.transfer.frames.data import FrameSampler

pytestmark = pytest.mark.usefixtures("opengl")
TASK = "InvertedPendulum-v5:size=32"
ENCODER = "nature_cnn:features=12,fit_frames=120,input_size=40"
SMALL = ("--encoder", ENCODER, "--steps", "160", "--updates", "8", "--option", "batch_size=8", "n_envs=8")

PLUGIN = """import gymnasium, numpy as np
from gymnasium import spaces

class Own(gymnasium.Env):
    metadata = {"render_modes": []}
    action_space = spaces.Discrete(2)

    def __init__(self, observation_space):
        self.observation_space = observation_space

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros_like(self.observation_space.low), {}

    def step(self, action):
        return np.zeros_like(self.observation_space.low), 0.0, False, False, {}

grey, numbers = spaces.Box(0, 255, (32, 32, 1), np.uint8), spaces.Box(-1, 1, (3,), np.float32)
gymnasium.register("command/Grey-v0", Own, kwargs={"observation_space": grey})
gymnasium.register("command/Unseen-v0", Own, kwargs={"observation_space": numbers})
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "kept.png").write_text("mine")
    (tmp_path / "kept.safetensors").write_text("mine")


def _run(capsys, *words):
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, err


def test_probe_tells_the_state_and_draws_what_it_sees(tmp_path, capsys):
    words = ("probe", ENCODER, TASK, "--frames", "200", "--out", "new/seen.png")
    status, table, err = _run(capsys, *words)
    assert status == 0, err
    assert "slider.position" in table
    assert "random weights" in table
    assert "new/seen.png" in err
    with Image.open(tmp_path / "new/seen.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert picture.size[0] > 1000
    warm = (pixels[..., 0].astype(int) - pixels[..., 2] > 100).mean()
    assert warm > 0.005, "something glows"
    status, out, err = _run(capsys, "probe", ENCODER, TASK, "--frames", "200", "--json", "--history")
    assert status == 0
    assert not err
    found = json.loads(out)
    columns = {(column["source"], column["frames"]): column for column in found["columns"]}
    assert set(columns) == {(s, f) for s in ("encoder", "pixels", "random weights") for f in (1, 2)}
    assert columns["encoder", 1]["r2"][0] > 0.5, "even random convolutions tell where the cart is"
    assert columns["pixels", 1]["inputs"] == 21 * 21 * 3
    assert [d["name"] for d in found["dimensions"]][1] == "hinge.angle"
    assert f"{columns['encoder', 1]['mean']:.3f}" in table, "the same seed gives the same figures"


def test_probe_of_a_task_that_draws_itself(capsys):
    pytest.importorskip("pygame", reason="pygame is not installed")
    words = ("probe", f"{ENCODER},frames=1", "FrozenLake-v1:size=32", "--frames", "120", "--json")
    status, out, err = _run(capsys, *words)
    assert status == 0, err
    assert json.loads(out)["dimensions"][3]["name"] == "choice[3]"


def test_pretrain_writes_one_file_that_can_be_probed_and_gone_on_from(tmp_path, capsys):
    looks = ("--randomize", "light=x0.5:x1.5", "camera.azimuth=-=10:+=10")
    words = ("pretrain", TASK, f"{TASK}@light=x0.5", *SMALL, *looks, "--tensorboard", "curves", "--seed", "3")
    status, out, err = _run(capsys, *words, "--out", "new/first.safetensors", "--probe-frames", "120")
    assert status == 0, err
    assert "before" in out
    assert "new/first.safetensors" in out
    assert "Pretraining: done 8/8, loss" in err
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["first.safetensors"]
    assert list((tmp_path / "curves").glob("events*"))
    encoder = load_encoder("new/first.safetensors")
    assert encoder.fitted
    provenance = encoder.provenance
    assert provenance["pretraining"]["objective"] == "atc"
    assert provenance["pretraining"]["seed"] == 3
    assert provenance["pretraining"]["randomize"] == list(looks[1:])
    assert len(provenance["pretraining"]["tasks"]) == 2
    assert provenance["pretraining"]["versions"]["torch"] == torch.__version__
    assert len(provenance["initial"]["weights_sha256"]) == 64
    assert set(provenance["probe_r2"]) == set(provenance["pretraining"]["tasks"])
    status, out, _ = _run(capsys, "probe", "new/first.safetensors", TASK, "--frames", "120", "--json")
    assert status == 0
    assert json.loads(out)["provenance"] == provenance
    goes_on = ("pretrain", TASK, *SMALL[2:], "--encoder", "new/first.safetensors", "--probe-frames", "0")
    status, out, err = _run(
        capsys, *goes_on, "--out", "second.safetensors", "--objective", "autoencoder", "--json"
    )
    assert status == 0, err
    assert not err
    outcome = json.loads(out)
    second = load_encoder("second.safetensors")
    assert outcome["hash"] == second.hash
    assert outcome["probe"] == {}
    assert second.provenance["initial"]["pretraining"]["objective"] == "atc"


def test_pretrain_lets_a_policy_show_the_task(capsys):
    env = as_sb3(make_vec("InvertedPendulum-v5", 2, seed=0, n_threads=1))
    save_checkpoint(PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu"), "agent")
    env.close()
    words = ("pretrain", TASK, *SMALL, "--policy", "agent", "--probe-frames", "0", "--out", "e.safetensors")
    status, _, err = _run(capsys, *words)
    assert status == 0, err
    assert len(load_encoder("e.safetensors").provenance["pretraining"]["policy"]) == 64
    status, _, err = _run(capsys, *words[:-1], "f.safetensors", "--policy", "nowhere")
    assert status == 2
    assert "nowhere" in err


@pytest.mark.parametrize("at", ["collecting", "training"])
def test_ctrl_c_leaves_no_half_file(tmp_path, capsys, monkeypatch, at):
    kind, name = (
        (FrameSampler, "sample") if at == "training" else (type(make_vec(TASK + ",obs=pixels")), "step")
    )
    real, calls = getattr(kind, name), []

    def stopped(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(kind, name, stopped)
    status, _, err = _run(
        capsys, "pretrain", TASK, *SMALL, "--out", "new/e.safetensors", "--probe-frames", "0"
    )
    assert status == 130
    assert "No encoder was written" in err
    assert "Traceback" not in err
    if at == "training":
        assert "after 3 of 8 updates" in err
    assert not (tmp_path / "new").exists()


OUT = ("--out", "e.safetensors", "--probe-frames", "0")
PROBE, PRETRAIN = ("probe", ENCODER, TASK), ("pretrain", TASK, *SMALL, *OUT)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("probe", "drqq", TASK), "Did you mean 'drq'"),
        (("probe", "drq:readout=pcaa", TASK), "Did you mean 'pca'"),
        (("probe", "nowhere.safetensors", TASK), "nowhere.safetensors"),
        (("probe", ENCODER, "InvertedPendulm-v5"), "Did you mean 'InvertedPendulum-v5'"),
        (("probe", ENCODER, f"{TASK}@ligt=x2"), "light"),
        ((*PROBE, "--frames", "20"), "expected at least 100, found 20"),
        ((*PROBE, "--frames", "0"), "at least 1"),
        (
            (
                "probe",
                "nature_cnn:fit_frames=20,features=12,input_size=40,frames=30",
                TASK,
                "--frames",
                "1500",
            ),
            "too few frames",
        ),
        (("probe", "nature_cnn:fit_frames=10,input_size=40", TASK), "64"),
        ((*PROBE, "--out", "kept.png"), "isn't overwritten"),
        ((*PROBE, "--out", "seen.bmp"), ".png"),
        (("probe", ENCODER, "command/Grey-v0", "--plugin", "plugin.py"), "grey"),
        (("probe", ENCODER, "command/Unseen-v0", "--plugin", "plugin.py"), "can't be drawn"),
        ((*PROBE, "--plugin", "nowhere.py"), "nowhere.py"),
        ((*PRETRAIN, "--out", "kept.safetensors"), "isn't overwritten"),
        ((*PRETRAIN, "--out", "kept.png/e.safetensors"), "kept.png is a file"),
        ((*PRETRAIN, "--out", "e.zip"), "NAME.safetensors"),
        (("pretrain", *OUT), "at least one TASK"),
        ((*PRETRAIN, "--objective", "atcc"), "Did you mean 'atc'"),
        ((*PRETRAIN, "--encoder", "drqq"), "Did you mean 'drq'"),
        ((*PRETRAIN, "--option", "lagg=3"), "Did you mean 'lag'"),
        ((*PRETRAIN, "--option", "lag=no"), "--option lag: expected a whole number"),
        ((*PRETRAIN, "--option", "lag"), "expected NAME=VALUE"),
        ((*PRETRAIN, "--option", "updates=3"), "as --updates"),
        ((*PRETRAIN, "--updates", "0"), "--updates: expected a number at least 1, found 0"),
        ((*PRETRAIN, "--randomize", "light=bright"), "x0.5:x1.5"),
        ((*PRETRAIN, "--randomize", "ligt=x0.5:x1.5"), "light"),
        ((*PRETRAIN, "--encoder", "drq:features=200"), "200"),
        ((*PRETRAIN, "--steps", "1"), "steps"),
        ((*PRETRAIN, "--seed", "-1"), "seed"),
        ((*PRETRAIN, "--probe-frames", "10"), "expected at least 100, found 10"),
        (("pretrain", "command/Grey-v0", *SMALL, *OUT, "--plugin", "plugin.py"), "grey"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(tmp_path, capsys, words, said):
    def files():
        return sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts)

    before = files()
    status, out, err = _run(capsys, *words)
    assert status == 2, err
    assert said in err
    assert err.count("warmstart: ") == 1
    assert "Traceback" not in err
    assert not out
    assert files() == before
    assert (tmp_path / "kept.safetensors").read_text() == (tmp_path / "kept.png").read_text() == "mine"


def test_a_task_of_images_alone_is_pretrained_but_not_probed(capsys, box2d):
    words = ("--steps", "32", "--updates", "2", "--option", "batch_size=8", "n_envs=2")
    status, _, err = _run(capsys, "probe", ENCODER, "CarRacing-v3:size=32")
    assert status == 2
    assert "no numbers beside its images" in err
    encoder = ("--encoder", "nature_cnn:features=12,input_size=40")
    status, out, err = _run(
        capsys, "pretrain", "CarRacing-v3:size=32", *encoder, *words, "--out", "e.safetensors", "--json"
    )
    assert status == 0, err
    assert json.loads(out)["probe"] == {}


def test_list_shows_what_encoders_are_made_of(capsys):
    status, out, _ = _run(capsys, "list", "encoders", "--json")
    assert status == 0
    listed = {(row["kind"], row["name"]): row["what"] for row in json.loads(out)["encoders"]}
    assert "features.4" in listed["architecture", "squeezenet1_1"]
    assert ("readout", "pca") in listed
    assert ("objective", "atc") in listed
    assert "licence" in listed["weights", "squeezenet1_1:weights=imagenet"]
