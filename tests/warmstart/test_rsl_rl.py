"""The command with a file of rsl_rl's: shown, evaluated, transferred, and told what isn't in it."""

import json

from torch import nn

from tests.agents.rsl_rl_files.files import Trained, onnx_model
from warmstart.__main__ import main
from warmstart.agents.loading import load_checkpoint


def _run(capsys, *words):
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, " ".join(err.split())


def test_inspect_shows_what_a_file_holds_and_what_not(tmp_path, capsys):
    path = Trained("5", critic_inputs=8).save(tmp_path / "model_1500.pt")
    status, out, _ = _run(capsys, "inspect", str(path), "--json")
    facts = json.loads(out)
    assert status == 0
    assert (facts["format"], facts["algorithm"], facts["critic"]) == ("rsl_rl", "ppo", False)
    assert facts["versions"] == {"rsl_rl": "5"}
    assert facts["hyperparameters"] == {"iterations": 1500}
    assert facts["tensors"]["mlp_extractor.policy_net.0.weight"] == {"shape": [16, 5], "dtype": "float32"}
    assert any("elu, rsl_rl's usual one, was assumed" in note for note in facts["notes"])
    status, out, _ = _run(capsys, "inspect", str(path), "--activation", "tanh")
    assert status == 0
    assert "tanh" in out
    assert "was assumed" not in out


def test_evaluate_and_transfer_take_it_with_what_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Trained("3", inputs=4, actions=1, activation=nn.Tanh).save(tmp_path / "model.pt")
    task, about = "InvertedPendulum-v5", ("--activation", "tanh", "--json")
    status, out, err = _run(capsys, "evaluate", "model.pt", task, "--episodes", "2", *about)
    assert status == 0
    assert len(json.loads(out)["returns"]) == 2
    assert "1,500 iterations" in err
    status, _, err = _run(capsys, "evaluate", "model.pt", "Hopper-v5")
    assert status == 2
    assert "observations of shape (4,)" in err
    words = ("transfer", "model.pt", "InvertedDoublePendulum-v5", "--steps", "256", *about)
    status, _, err = _run(capsys, *words)
    assert status == 2
    assert "--source-observation-names" in err
    texts = {"joint_names": "hinge", "default_joint_pos": "0.0", "observation_names": "height_scan,joint_vel"}
    (tmp_path / "names.onnx").write_bytes(onnx_model(texts))
    words += ("--onnx", "names.onnx", "--action-map", "slider.force=hinge.target_angle")
    words += ("--option", "critic_fit_steps=0")
    status, out, err = _run(capsys, *words)
    assert status == 0, err
    run = json.loads(out)["run"]
    assert load_checkpoint(run).policy_kwargs["activation"] == "tanh"
    (transfer,) = tmp_path.glob("runs/*/trials/*/transfer.json")
    report = json.loads(transfer.read_text())
    assert any("1 of 9 observations by name" in entry["reason"] for entry in report["entries"])
    status, _, err = _run(capsys, "evaluate", run, "InvertedDoublePendulum-v5", "--activation", "elu")
    assert status == 2
    assert "activation describes a file that rsl_rl wrote" in err
