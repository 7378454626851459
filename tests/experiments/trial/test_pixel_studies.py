"""Studies whose agents see frames: what arms come to, and one tiny study from its YAML to its report."""

import json

import imageio.v2 as imageio
import pytest
from imageio_ffmpeg import count_frames_and_secs

from warmstart.agents.encoders.encoder import load_encoder
from warmstart.agents.evaluation import evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.base import ENCODER_FILE, EncodedFrames, StackedFrames
from warmstart.core.bounds import SettingError
from warmstart.core.documents import parse_yaml
from warmstart.core.errors import WarmstartError
from warmstart.experiments.run.run import conclude, plan, prepare
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.trial import run_trial

TASK = "InvertedPendulum-v5:obs=pixels,size=40"
STUDY = f"""
name: tiny
source: {TASK}
target: {TASK}@light=x0.8
algorithm: {{name: ppo, n_envs: 4, n_steps: 32, n_epochs: 1, batch_size: 64, net_arch: [16]}}
source_steps: 256
target_steps: 256
seeds: 1
baseline: cnn
arms:
  - {{name: oracle, method: scratch, obs: state}}
  - {{name: cnn, method: scratch, vision: {{encoder: "nature_cnn:frames=2", train: fine_tuned}}}}
  - {{name: staged, method: scratch, vision: {{encoder: nature_cnn, train: staged, unfreeze_at: 128}}}}
  - {{name: frozen, method: scratch, vision: "nature_cnn:features=8,fit_frames=64"}}
  - name: pretrained
    method: scratch
    vision:
      encoder: "nature_cnn:features=8,fit_frames=64"
      pretrain: {{updates: 4, steps: 128, batch_size: 8}}
  - name: warm
    method: fine_tune
    critic_fit_steps: 128
    vision: {{encoder: "nature_cnn:features=8,fit_frames=64", randomize: {{light: "x0.5:x1.5"}}}}
  - {{name: absent, method: scratch, vision: "squeezenet1_1:weights=/nowhere/at-all.pth", optional: true}}
evaluation: {{every: 128, episodes: 2}}
"""


def study(text=STUDY):
    return Study.from_document(parse_yaml(text, "tiny.yaml"))


@pytest.fixture
def made(opengl):
    return make_plan(study())


def test_arms_come_to_trials(made):
    arms = {trial.arm: trial for trial in made.trials}
    assert set(arms) == {
        "random", "encoder", "source", "oracle", "cnn", "staged", "frozen", "pretrained", "warm"
    }  # fmt: skip
    assert arms["random"].config.task == "InvertedPendulum-v5"
    assert arms["oracle"].config.task == "InvertedPendulum-v5"
    assert arms["oracle"].config.vision == {}
    assert arms["cnn"].config.task == f"{TASK}@light=x0.8"
    assert arms["pretrained"].needs == arms["encoder"].hash == arms["pretrained"].config.encoder
    assert arms["encoder"].config.task.startswith("InvertedPendulum-v5:obs=pixels+state")
    assert arms["warm"].needs == arms["source"].hash
    assert arms["source"].config.vision == arms["warm"].config.vision, "the source sees as the arm does"
    assert "/nowhere/at-all.pth" in made.notes[0]
    assert "absent" in made.notes[0]


def test_the_written_study_comes_to_the_same_trials(made):
    again = Study.from_document(parse_yaml(made.study.to_yaml(), "study.yaml"))
    assert [trial.hash for trial in make_plan(again).trials] == [trial.hash for trial in made.trials]


def test_states_are_planned_as_before():
    """What no pixel study needs is not in a trial's configuration, so that its hash stays."""
    plain = make_plan(Study("a", "Hopper-v5", 1000, arms=("scratch",), seeds=1)).trials[1].config.to_json()
    assert "vision" not in plain
    assert "encoder" not in plain


def test_a_tiny_study_runs_to_its_report(made, tmp_path):
    prepare(made, tmp_path)
    for trial in made.unique:
        run_trial(tmp_path / "trials" / trial.hash)
    result = conclude(tmp_path)
    assert not result.failures
    folder = {trial.arm: tmp_path / "trials" / trial.hash for trial in made.trials}
    (probed,) = load_encoder(folder["encoder"] / ENCODER_FILE).provenance["probe_r2"].values()
    assert probed["after"] <= 1
    notes = json.loads((folder["frozen"] / "transfer.json").read_text())["notes"]
    assert any("the same hashes before and after" in note for note in notes)
    assert any("fitted on 64 frames" in note for note in notes)
    assert imageio.imread(folder["warm"] / "frames.png").shape[:2] == (40, 160)
    assert count_frames_and_secs(str(folder["warm"] / "rollout.mp4"))[0] > 1
    html = result.report.read_text()
    assert html.count("data:video/mp4;base64,") == 6, "five arms that see, and the source"
    assert "The arm absent is left out" in html

    frozen = load_checkpoint(folder["frozen"] / "checkpoint")
    assert isinstance(frozen.vision, EncodedFrames)
    assert load_encoder(folder["frozen"] / "checkpoint" / ENCODER_FILE).hash == frozen.vision.encoder.hash
    source, warm = (load_checkpoint(folder[name] / "checkpoint") for name in ("source", "warm"))
    assert warm.vision.encoder.hash == source.vision.encoder.hash, "the encoder came along"
    cnn = load_checkpoint(folder["cnn"] / "checkpoint")
    assert cnn.vision == StackedFrames(2)
    for checkpoint in (frozen, cnn):  # a checkpoint acts by itself, in the task as it is
        assert evaluate(checkpoint.policy(), TASK, episodes=2).lengths.min() > 1


CAR = """
name: car
source: CarRacing-v3:obs=pixels,size=32,time_limit=60
target: CarRacing-v3:obs=pixels,size=32,time_limit=60
algorithm: {name: ppo, n_envs: 2, n_steps: 16, n_epochs: 1, batch_size: 16, net_arch: [8]}
source_steps: 32
target_steps: 32
seeds: 1
baseline: cnn
arms:
  - {name: cnn, method: scratch, vision: {encoder: "nature_cnn:frames=2", train: fine_tuned}}
  - name: pretrained
    method: scratch
    vision:
      encoder: "drq:features=4,fit_frames=24"
      pretrain: {updates: 2, steps: 48, n_envs: 2, batch_size: 4}
evaluation: {every: 32, episodes: 1}
"""


def test_any_environment_of_images_takes_part(tmp_path):
    pytest.importorskip("Box2D", reason="gymnasium[box2d] is not installed")
    made = make_plan(study(CAR))
    prepare(made, tmp_path)
    trials = {trial.arm: trial for trial in made.trials}
    for arm in ("encoder", "pretrained"):
        run_trial(tmp_path / "trials" / trials[arm].hash)
    folder = tmp_path / "trials" / trials["pretrained"].hash
    seen = load_checkpoint(folder / "checkpoint").vision.encoder
    pretrained = load_encoder(tmp_path / "trials" / trials["encoder"].hash / ENCODER_FILE)
    assert seen.hash == pretrained.hash
    assert pretrained.provenance["pretraining"]["tasks"] == ["CarRacing-v3:obs=pixels,size=32,time_limit=60"]
    assert "probe_r2" not in pretrained.provenance, "it shows no state"


def test_trials_repeat_bit_for_bit(made, tmp_path):
    records = []
    for run in ("a", "b"):
        prepare(made, tmp_path / run)
        for arm in ("encoder", "pretrained", "cnn"):
            trial = next(trial for trial in made.trials if trial.arm == arm)
            run_trial(tmp_path / run / "trials" / trial.hash)
            records.append((tmp_path / run / "trials" / trial.hash / "records.jsonl").read_bytes())
    assert records[:3] == records[3:]


@pytest.mark.usefixtures("opengl")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "obs: state",
            "obs: frames",
            "line .*obs: expected one of 'state', 'pixels' or nothing .*, found 'frames'",
        ),
        ('"nature_cnn:frames=2"', "nature_cn", "Did you mean 'nature_cnn'"),
        ("train: staged", "train: stagged", "expected one of 'frozen', 'fine_tuned', 'staged'"),
        (", unfreeze_at: 128", "", "staged encoder needs unfreeze_at"),
        ("train: fine_tuned", "unfreeze_at: 5", "this one is frozen"),
        ("batch_size: 8}", "batchsize: 8}", "Did you mean 'batch_size'"),
        ("batch_size: 8}", "seed: 8}", "seed can't be set in a study: it is the trial's"),
        ("batch_size: 8}", "random_share: 1}", "no policy yet that sees"),
        (
            ", unfreeze_at: 128",
            ", unfreeze_at: 128, random_shift: -1",
            "random_shift: expected a number at least 0, found -1",
        ),
        ("train: fine_tuned", "train: fine_tuned, unfreeze_at: 5", "unfreeze_at is about staged encoders"),
        ("fit_frames=64", "fit_frames=8", "expected fit_frames above 8, found 8"),
        (f"target: {TASK}@", f"target: {TASK},visuals=full@", "visuals=full, the source's visuals=lean"),
        (", optional: true", "", "no weights at /nowhere/at-all.pth"),
        ('light: "x0.5:x1.5"', 'light: "0.5 to 1.5"', "such as x0.5:x1.5"),
        ("baseline: cnn", "baseline: absent", "among the arms that are left out"),
        (f"target: {TASK}@light=x0.8", f"target: {TASK[:-2]}20", "can't take images of 20 x 20 pixels"),
        (f"target: {TASK}@light=x0.8", "target: InvertedPendulum-v5", "is observed by its state anyway"),
    ],
)
def test_mistakes_point_at_their_place(old, new, message, tmp_path):
    assert old in STUDY
    (tmp_path / "tiny.yaml").write_text(STUDY.replace(old, new, 1))
    with pytest.raises(WarmstartError, match=message):
        plan(tmp_path / "tiny.yaml")


@pytest.mark.usefixtures("opengl")
def test_a_source_of_states_teaches_an_agent_of_frames_against_a_cold_one_of_frames():
    text = f"""
name: taught
source: InvertedPendulum-v5
target: {TASK.replace("pixels", "pixels+state")}
algorithm: {{name: ppo, n_envs: 4, n_steps: 32, n_epochs: 1, batch_size: 64, net_arch: [16]}}
source_steps: 256
target_steps: 256
seeds: 1
baseline: cold
vision: "drq:features=8,fit_frames=64"
arms:
  - {{name: cold, method: scratch, obs: pixels}}
  - {{method: distill, student_sees: pixels, critic_fit_steps: 128}}
evaluation: {{every: 128, episodes: 2}}
"""
    trials = {trial.arm: trial.config for trial in make_plan(study(text)).trials}
    assert trials["source"].task == "InvertedPendulum-v5"
    assert not trials["source"].vision
    assert trials["cold"].task == TASK
    assert trials["cold"].vision["encoder"] == trials["distill"].vision["encoder"]
    assert "pixels+state" in trials["distill"].task


def test_an_arm_of_frames_needs_some():
    text = STUDY.replace(TASK, "InvertedPendulum-v5").replace("obs: state", "obs: pixels")
    with pytest.raises(SettingError, match="is observed by its state anyway; leave `obs` out"):
        make_plan(study(text))
