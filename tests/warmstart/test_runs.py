"""What a run leaves behind: its best and last checkpoints, where it ended, the plugins that it needs."""

import json
import re
import shutil

import gymnasium
import pytest

from warmstart.__main__ import main
from warmstart.agents.checkpoints.places import find_checkpoint
from warmstart.agents.evaluation import evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.experiments.run.reading import load_run


def _run(capsys, *words):
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_best_checkpoint_and_the_last(tmp_path, monkeypatch, capsys):
    """Every place that takes a checkpoint takes a run's or trial's folder, `best` or `last`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(
        "name: r\ntarget: InvertedPendulum-v5\nalgorithm: {name: ppo, n_envs: 4, n_steps: 64}\n"
        "target_steps: 2048\nseeds: 1\narms: [scratch]\nevaluation: {every: 256, episodes: 2}\n"
    )
    assert _run(capsys, "compare", "study.yaml")[0] == 0
    trial = next(path.parent for path in (tmp_path / "runs/r/trials").glob("*/best"))
    records = [json.loads(line) for line in (trial / "records.jsonl").read_text().splitlines()]
    means = {r["step"]: sum(r["returns"]) / 2 for r in records if r["event"] == "evaluation"}
    best_step = max(means, key=means.get)  # the first of equals
    seed = json.loads((trial / "trial.json").read_text())["evaluation_seed"]
    for word, step in (("best", best_step), ("last", 2048)):
        held = load_checkpoint(f"runs/r:{word}")
        assert held.evaluation == {"step": step, "return": means[step], "episodes": 2}
        assert held.path == find_checkpoint(f"{trial}:{word}").relative_to(tmp_path)
        policy = held.policy()
        assert evaluate(policy, held.task, episodes=2, seed=seed).returns.mean() == means[step]
        status, out, _ = _run(capsys, "inspect", f"runs/r:{word}", "--json")
        assert json.loads(out)["evaluation"]["step"] == step
        for words in (
            ("evaluate", f"runs/r:{word}", "InvertedPendulum-v5", "--episodes", "1"),
            ("video", f"{trial}:{word}", held.task, "--out", f"{word}.mp4", "--seconds", "0.2"),
            (
                "robustness",
                f"runs/r:{word}",
                "InvertedPendulum-v5",
                "--sweep",
                "gravity=x1:x2:2",
                "--episodes",
                "1",
            ),
            ("transfer", f"runs/r:{word}", "InvertedPendulum-v5", "--steps", "256", "--out", f"runs/{word}"),
        ):
            assert _run(capsys, *words)[0] == 0, words
    assert load_checkpoint("runs/r").evaluation["step"] == 2048
    for source in ("runs/r", "runs/r:best", str(trial)):
        text = f"name: warm\nsource: {source}\ntarget: InvertedPendulum-v5\ntarget_steps: 256\nseeds: 1\n"
        (tmp_path / "warm.yaml").write_text(text + "arms: [scratch, fine_tune]\n")
        status, _, err = _run(capsys, "compare", "warm.yaml", "--dry-run")
        assert (status, err) == (0, "")
    (tmp_path / "empty").mkdir()
    (tmp_path / "warm.yaml").write_text(text.replace(str(trial), "empty") + "arms: [scratch, fine_tune]\n")
    status, _, err = _run(capsys, "compare", "warm.yaml", "--dry-run")
    assert status == 2
    assert "source_steps: missing; empty exists, but it is no checkpoint" in err


def test_a_best_checkpoint_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "name: r\ntarget: InvertedPendulum-v5\nalgorithm: {name: ppo, n_envs: 4, n_steps: 64}\n"
    text += "target_steps: 256\nseeds: 2\narms: [scratch]\nevaluation: {every: 256, episodes: 1}\n"
    (tmp_path / "study.yaml").write_text(text)
    assert _run(capsys, "compare", "study.yaml")[0] == 0
    status, _, err = _run(capsys, "evaluate", "runs/r:best", "InvertedPendulum-v5")
    assert status == 2
    assert "runs/r holds 2 checkpoints; name one of them:\n  runs/r/trials/" in err
    assert "(scratch, seed 1, 256 steps, return" in err or "(scratch, seed 1, 0 steps, return" in err
    for best in (tmp_path / "runs/r/trials").glob("*/best"):
        shutil.rmtree(best)
    for path in ("runs/r:best", f"{best.parent}:best"):
        status, _, err = _run(capsys, "evaluate", path, "InvertedPendulum-v5")
        assert "holds no best checkpoint. It was trained without evaluations, or before" in err
    status, _, err = _run(capsys, "evaluate", "runs/r:bets", "InvertedPendulum-v5")
    assert status == 2
    assert "Unknown checkpoint of runs/r 'bets'. Did you mean 'best'?" in err


@pytest.mark.parametrize(
    ("rule", "said"),
    [("stop_at: 20", "its return reached 20"), ("patience: 2", r"2 evaluations weren't better than")],
)
def test_training_ends_early_where_asked(tmp_path, monkeypatch, capsys, rule, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(
        "name: r\ntarget: InvertedPendulum-v5\n"
        "algorithm: {name: ppo, n_envs: 4, n_steps: 64, batch_size: 64, learning_rate: 1.0e-3}\n"
        "target_steps: 8192\nseeds: 2\narms: [scratch]\n"
        f"evaluation: {{every: 512, episodes: 2, {rule}}}\n"
    )
    assert _run(capsys, "compare", "study.yaml")[0] == 0
    run = load_run("runs/r")
    shorter = [curve for curve in run.curves if curve.stopped]
    assert shorter
    for curve in shorter:
        records = [json.loads(line) for line in (curve.path / "records.jsonl").read_text().splitlines()]
        seen = [sum(r["returns"]) / 2 for r in records if r["event"] == "evaluation"]
        if "stop_at" in rule:
            assert [value >= 20 for value in seen] == [False] * (len(seen) - 1) + [True]
        else:
            assert max(seen[-2:]) <= max(seen[:-2])
            assert max(seen[-3:]) == seen[-3]
        assert curve.steps.tolist() == list(range(0, 8193, 512))
        assert curve.returns[len(seen) - 1 :].tolist() == [seen[-1]] * (18 - len(seen))
        assert records[-1]["timesteps"] == curve.stopped_at < 8192
        assert load_checkpoint(f"{curve.path}:last").evaluation["return"] == seen[-1]
        assert re.search(said, curve.stopped)
    (note,) = [note for note in run.notes if "ended early" in note]
    assert (
        f"scratch, seed {shorter[0].seed}, after {shorter[0].stopped_at:,} steps: {shorter[0].stopped}"
        in note
    )
    status, _, err = _run(capsys, "train", "InvertedPendulum-v5", "--patience", "-1")
    assert (status, "--patience: expected" in err) == (2, True), err


def test_transfer_finds_the_plugins_of_the_run_that_it_starts_from(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text("""
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv
gymnasium.register("mine/Swing-v0", entry_point=PendulumEnv, max_episode_steps=20)
""")
    monkeypatch.chdir(tmp_path)
    words = ("--steps", "256", "--workers", "1")
    try:
        assert main(("train", "mine/Swing-v0", "--plugin", "mine.py", "--out", "first", *words)) == 0
        assert main(("transfer", "first", "mine/Swing-v0@m=x2", "--out", "second", *words)) == 0
        (trial,) = [p for p in (tmp_path / "second/trials").glob("*/trial.json") if "m=x2" in p.read_text()
                    and '"kind": "target"' in p.read_text()]  # fmt: skip
        assert list(json.loads(trial.read_text())["plugins"]) == ["mine.py"]
    finally:
        gymnasium.registry.pop("mine/Swing-v0", None)
