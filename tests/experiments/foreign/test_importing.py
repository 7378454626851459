import json
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.synthetic import realistic
from warmstart.core.errors import WarmstartError
from warmstart.experiments.analysis.summary import summarise
from warmstart.experiments.foreign import importing
from warmstart.experiments.foreign.evaluations import read_evaluations
from warmstart.experiments.foreign.events import read_events
from warmstart.experiments.foreign.importing import compile_report, read_runs
from warmstart.experiments.foreign.monitors import read_monitors


def npz(path: Path, returns, every=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.arange(1, len(returns) + 1) * every
    results = np.asarray(returns, dtype=float)[:, None] + [-1.0, 0.0, 1.0]
    np.savez(path, timesteps=steps, results=results, ep_lengths=np.full((len(returns), 3), 50))
    return path


def monitor(path: Path, rows, header='#{"t_start": 1.0, "env_id": "Ant-v5"}', columns="r,l,t"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, columns, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def events(folder: Path, values: dict[str, list[tuple[int, float]]]):
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))
    for tag, points in values.items():
        for i, (step, value) in enumerate(points):
            writer.add_scalar(tag, value, step, walltime=1_000.0 + i)
    writer.close()
    return folder


def test_evaluations(tmp_path):
    recording = read_evaluations(npz(tmp_path / "evaluations.npz", [1.0, 5.0]))
    assert recording.steps.tolist() == [100, 200]
    assert recording.returns.tolist() == [1.0, 5.0]


def test_evaluations_that_sb3_itself_wrote(tmp_path):
    import gymnasium
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.monitor import Monitor

    env, held = (Monitor(gymnasium.make("CartPole-v1")) for _ in range(2))
    callback = EvalCallback(held, log_path=str(tmp_path), eval_freq=32, n_eval_episodes=2, verbose=0)
    PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, device="cpu").learn(64, callback=callback)
    recording = read_evaluations(tmp_path / "evaluations.npz")
    assert recording.steps.tolist() == [32, 64]
    assert (recording.returns > 0).all()


@pytest.mark.parametrize("damage", ["truncated", "foreign", "pickled", "keys", "shape"])
def test_bad_evaluations_are_one_clear_message(tmp_path, damage):
    path = npz(tmp_path / "evaluations.npz", [1.0, 2.0])
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "foreign":
        path.write_text("hello")
    elif damage == "pickled":
        np.savez(path, timesteps=np.arange(2), results=np.array([[1], [1, 2]], dtype=object))
    elif damage == "keys":
        np.savez(path, something=np.arange(2))
    else:
        np.savez(path, timesteps=np.arange(3), results=np.zeros((2, 4)))
    with pytest.raises(WarmstartError, match="Expected") as caught:
        read_evaluations(path)
    assert "pickle" not in str(caught.value)


def test_monitor_files_of_one_run_are_merged_and_binned(tmp_path):
    # Two environments, 20 episodes each of 10 steps; the return is the number of the episode by time.
    for env in (0, 1):
        monitor(tmp_path / f"{env}.monitor.csv", [(2 * i + env, 10, 2 * i + env + 0.5) for i in range(20)])
    recording = read_monitors(sorted(tmp_path.glob("*.monitor.csv")))
    assert recording.steps.tolist() == [100, 200, 300, 400]
    assert recording.returns.tolist() == [4.5, 14.5, 24.5, 34.5]
    assert recording.seconds.tolist() == [9.5, 19.5, 29.5, 39.5]


def test_a_torn_last_line_of_a_monitor_file_is_skipped(tmp_path):
    path = monitor(tmp_path / "monitor.csv", [(1, 10, 1.0), (2, 10, 2.0)])
    path.write_text(path.read_text() + "3.0,1")
    assert read_monitors([path]).returns.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r,l,t\n1,2,3\n", "isn't a monitor file"),
        ("", "an empty file"),
        ('#{"t_start": 0}\nr,l,t\n1,2,3\n', "needs two"),
        ('#{"t_start": 0}\nr,l,t\n1,2,3\nx,y,z\n4,5,6\n', "line 4"),
    ],
)
def test_bad_monitor_files(tmp_path, text, message):
    path = tmp_path / "monitor.csv"
    path.write_text(text)
    with pytest.raises(WarmstartError, match=message):
        read_monitors([path])


def test_event_files(tmp_path):
    points = [(i * 10, float(i)) for i in range(12)]
    folder = events(tmp_path, {"eval/mean_reward": points, "rollout/ep_rew_mean": [(0, -1.0)]})
    recording = read_events(folder)
    assert recording.steps.tolist() == [step for step, _ in points]
    assert recording.returns.tolist() == [value for _, value in points]
    assert read_events(folder, "rollout/ep_rew_mean").returns.tolist() == [-1.0]
    with pytest.raises(WarmstartError, match="eval/mean_reward"):
        read_events(folder, "eval/mean_rewards")


def test_events_beyond_a_restart_are_dropped(tmp_path):
    points = [(0, 0.0), (10, 1.0), (20, 99.0), (30, 99.0), (20, 2.0), (30, 3.0)]
    recording = read_events(events(tmp_path, {"eval/mean_reward": points}))
    assert recording.steps.tolist() == [0, 10, 20, 30]
    assert recording.returns.tolist() == [0, 1, 2, 3]


def test_bad_event_files(tmp_path):
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(b"not an event file")
    with pytest.raises(WarmstartError, match="no scalars"):
        read_events(path)
    other = events(tmp_path / "other", {"train/loss": [(0, 1.0)]})
    with pytest.raises(WarmstartError, match="train/loss"):
        read_events(other)


def test_names_and_seeds_come_from_the_paths(tmp_path):
    for seed in (1, 2):
        npz(tmp_path / "logs" / f"warm_{seed}" / "evaluations.npz", [3, 4, 5])
        npz(tmp_path / "logs" / "td3" / f"seed{seed}" / "evaluations.npz", [1, 2, 3])
    run = read_runs([str(tmp_path / "logs")], baseline="td3")
    assert {(c.arm, c.seed) for c in run.curves} == {(arm, s) for arm in ("warm", "td3") for s in (1, 2)}
    assert run.baseline == "td3"
    summary = summarise(run)
    assert summary.arm("warm").verdict is not None
    assert summary.arm("warm").verdict.pairs == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("folder", "arm", "seed"),
    [
        ("sac", "sac", 0),
        ("td3", "td3", 0),
        ("Ant-v5_2", "Ant-v5", 2),
        ("Ant-v5", "Ant-v5", 0),
        ("a-seed7", "a", 7),
    ],
)
def test_arm_and_seed_of_a_folder(tmp_path, folder, arm, seed):
    npz(tmp_path / folder / "evaluations.npz", [1, 2])
    curve = read_runs([str(tmp_path / folder)]).curves[0]
    assert (curve.arm, curve.seed) == (arm, seed)


def test_links_are_followed_once_and_name_the_arm(tmp_path):
    npz(tmp_path / "store" / "0a1b" / "evaluations.npz", [1, 2])
    (tmp_path / "view" / "warm").mkdir(parents=True)
    (tmp_path / "view" / "warm" / "seed-4").symlink_to(tmp_path / "store" / "0a1b")
    (tmp_path / "store" / "0a1b" / "loop").symlink_to(tmp_path / "view")
    curves = read_runs([str(tmp_path / "view")]).curves
    assert [(curve.arm, curve.seed) for curve in curves] == [("warm", 4)]


def test_names_that_are_given_and_mixed_kinds(tmp_path):
    first = npz(tmp_path / "a" / "evaluations.npz", [1, 2, 3, 4], every=100)
    second = npz(tmp_path / "b" / "evaluations.npz", [1, 2, 3, 5], every=100)
    board = events(tmp_path / "c", {"rollout/ep_rew_mean": [(50, 2.0), (250, 4.0), (450, 6.0)]})
    run = read_runs([f"cold={first}", f"cold={second}", f"warm={board}"])
    assert [(c.arm, c.seed) for c in run.curves] == [("cold", 0), ("cold", 1), ("warm", 0)]
    assert run.name == "cold vs warm"
    assert run.baseline == "cold"
    assert any("numbered in the order given" in note for note in run.notes)
    assert any("exploring policy" in note for note in run.notes)


def test_bad_paths(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for spec, message in [
        (str(tmp_path / "nowhere"), "doesn't exist"),
        (str(tmp_path / "notes.txt"), "isn't a kind of file"),
        (str(tmp_path), "No curves under"),
    ]:
        with pytest.raises(WarmstartError, match=message):
            read_runs([spec])
    npz(tmp_path / "warm" / "evaluations.npz", [1, 2])
    with pytest.raises(WarmstartError, match="Unknown baseline 'cold'"):
        read_runs([str(tmp_path / "warm")], baseline="cold")
    with pytest.raises(WarmstartError, match="found nothing"):
        read_runs([])


def test_compile_report_writes_everything(tmp_path):
    cold, warm = (npz(tmp_path / name / "evaluations.npz", [1, 2, 3]) for name in ("cold", "warm"))
    made = compile_report([f"cold={cold}", f"warm={warm}"], out=tmp_path / "out", figures=("svg",))
    assert [path.name for path in made.paths] == [
        "report.html",
        "summary.json",
        "curves.svg",
        "differences.svg",
    ]
    data = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert data["baseline"] == "cold"
    assert data["study"] == {}
    with pytest.raises(WarmstartError, match="gif"):
        compile_report([f"cold={cold}"], out=tmp_path, figures=("gif",))


def test_an_unknown_baseline_leaves_a_run_s_good_report_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "load_run", lambda _: realistic(2))
    (tmp_path / "trials.json").write_text("{}")
    compile_report([tmp_path])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(WarmstartError, match=r"Unknown baseline 'scratsh'. Did you mean 'scratch'"):
        compile_report([tmp_path], baseline="scratsh", figures=("svg",))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert compile_report([tmp_path], baseline="shuffled").summary.baseline == "shuffled"
