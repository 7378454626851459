"""Fitting physics to recorded motion: what is found, what can't be, and when a fit is refused."""

import json
from dataclasses import fields
from inspect import signature

import mujoco
import numpy as np
import pytest
import yaml

from warmstart.cli.identify import Identify
from warmstart.core.documents import parse_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.tasks.task import Task
from warmstart.experiments.records.records import RECORDS
from warmstart.experiments.records.schema import read_jsonl
from warmstart.experiments.run.run import prepare
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.identifying import identification_notes
from warmstart.experiments.trial.trial import run_trial
from warmstart.experiments.trial.worlds import IDENTIFICATION, training_task, trial_world
from warmstart.sim2real.identification.excitation import Excitation, excitation
from warmstart.sim2real.identification.fit import invert, loss, window_losses
from warmstart.sim2real.identification.identify import identify
from warmstart.sim2real.identification.recording import record
from warmstart.sim2real.identification.replay import Replay, read_parameters
from warmstart.sim2real.identification.settings import SECONDS, WINDOW, FitSettings, RecordingSettings
from warmstart.sim2real.identification.windows import cut_windows
from warmstart.sim2real.randomization.randomization import read_terms
from warmstart.sim2real.reality import seal_reality
from warmstart.sim2real.recordings.positions import add, subtract
from warmstart.sim2real.recordings.trajectories import Trajectories, robot_of
from warmstart.sim2real.world import TrainingWorld

RANGES = {"torso.mass": "x0.5:x2", "gear": "x0.5:x2"}


@pytest.fixture(scope="module")
def cheetah():
    """Ten seconds of a heavy robot with strong motors."""
    return record("HalfCheetah-v5@torso.mass=x1.4,gear=x0.8", 200, seed=2)


@pytest.fixture(scope="module")
def fitted(cheetah):
    return identify("HalfCheetah-v5", cheetah, RANGES, FitSettings(delay=None))


def test_planted_parameters_are_found(fitted):
    mass, gear = fitted.estimates
    assert mass.number == pytest.approx(1.4, rel=0.05)
    assert gear.number == pytest.approx(0.8, rel=0.05)
    assert 0 < mass.low < mass.number < mass.high
    assert (mass.high - mass.low) / 2 < 0.1 * 1.4
    assert mass.ratio == pytest.approx(mass.number)
    assert not mass.at_bound
    assert (mass.unit, gear.unit) == ("kg", "N m")
    assert fitted.accepted
    assert fitted.delay is None
    assert fitted.losses.held_fitted < 0.7 * fitted.losses.held_nominal
    assert fitted.losses.train_fitted < 1.2, "about 1 where all is explained"


def test_the_result_is_a_task_and_a_recipe(fitted, tmp_path):
    mass = fitted.estimates[0]
    task = Task.parse(fitted.task_text)
    values = Parameters(robot_of(task).model()).resolve(task.context)
    nominal = robot_of(task).model().body("torso").mass[0]
    column = Parameters(robot_of(task).model()).columns["body.torso.mass"]
    np.testing.assert_allclose(values[column] / nominal, mass.number, rtol=1e-3)
    terms, _ = read_terms(fitted.recipe)
    assert terms[0].parameters == ("torso.mass",)
    low, high = terms[0].distribution.bounds
    assert low < mass.number < high
    assert terms[0].distribution.std * 1.96 >= 0.05 * mass.number * 0.99, "never narrower than 5%"
    written = yaml.safe_load(fitted.save(tmp_path / "fit.yaml").read_text())
    assert written == json.loads(fitted.save(tmp_path / "fit.json").read_text())
    assert written["accepted"] is True
    assert written["estimates"][0]["number"] == mass.number
    assert [row["parameter"] for row in fitted.table()] == ["torso.mass", "gear"]


def test_a_fit_on_top_of_a_context_gives_absolute_values():
    task = Task.parse("Reacher-v5@damping=x1.4")
    data = record(task.with_context("gear=x0.8"), 150)
    found = identify(task, data, {"gear": "x0.5:x2"}, FitSettings(delay=None))
    assert found.estimates[0].number == pytest.approx(0.8, rel=0.05)
    assert found.task_text.startswith("Reacher-v5@damping=x1.4,")
    task = Task.parse(found.task_text)
    parameters = Parameters(robot_of(task).model())
    values = parameters.resolve(task.context)
    np.testing.assert_allclose(
        values[parameters.columns["actuator.joint0.gear"]], 200 * found.estimates[0].number, rtol=1e-3
    )
    np.testing.assert_allclose(values[parameters.columns["joint.joint0.damping"]], 1.4)


def test_offsets_and_values_are_fitted_and_threads_do_not_matter():
    data = record("Reacher-v5@joint0.gear+=60,joint0.damping=0.7", 200)
    ranges = {"joint0.gear": "-=100:+=150", "joint0.damping": "0.3:2"}
    first, second = (
        identify("Reacher-v5", data, ranges, FitSettings(delay=None, window=0.3), n_threads=n) for n in (1, 2)
    )
    assert first == second
    gear, damping = first.estimates
    assert gear.value == pytest.approx(260, rel=0.05)
    assert gear.number == pytest.approx(gear.value - 200)
    assert damping.value == damping.number == pytest.approx(0.7, rel=0.1)
    assert (gear.nominal, damping.nominal) == (200, 1)
    assert first.task_text.startswith("Reacher-v5@joint0.gear+=")
    assert [term.operation for term in read_terms(first.recipe)[0]] == ["add", "set"]


def test_what_the_motion_does_not_depend_on_stays_nominal_and_is_named():
    """An arm whose elbow is never driven hardly feels how much force its motor could have."""
    task = Task.parse("Reacher-v5@gear=x0.7")
    driven = lambda observation: np.array([np.sin(40 * observation[0]) * 0.8 + 0.2, 0.0])  # noqa: E731
    data = record(task, 200, driven)
    ranges = {"joint0.gear": "x0.5:x2", "joint1.gear": "x0.5:x2"}
    found = identify("Reacher-v5", data, ranges, FitSettings(delay=None))
    assert list(found.excluded) == ["joint1.gear"]
    assert "too little about it" in found.excluded["joint1.gear"]
    assert [each.name for each in found.estimates] == ["joint0.gear"]
    assert found.estimates[0].number == pytest.approx(0.7, rel=0.05)
    assert "joint1" not in found.task_text + str(found.recipe)
    assert found.table()[1]["verdict"].startswith("not identifiable")
    with pytest.raises(WarmstartError, match=r"Too little excitation.*joint1\.gear: not identifiable"):
        identify("Reacher-v5", data, {"joint1.gear": "x0.5:x2"})


def test_parameters_that_only_matter_together_are_named_together():
    """An arm moves the same if inertia, damping and motors are scaled alike; the links weigh little."""
    data = record("Reacher-v5@gear=x1.2,damping=x0.75,armature=x1.3", 300, seed=1)
    scaled = {"armature": "x0.5:x2", "damping": "x0.5:x2", "gear": "x0.5:x2"}
    for window in (0.1, 0.4):
        found = excitation("Reacher-v5", data, scaled, window)
        assert found.identifiable.tolist() == [False] * 3
        assert "only matter together" in found.rows[1].verdict
    with pytest.raises(WarmstartError, match=r"Too little excitation.*armature and .*only matter together"):
        identify("Reacher-v5", data, scaled, FitSettings(delay=None))
    without = excitation("Reacher-v5", data, {"damping": "x0.5:x2", "gear": "x0.5:x2"})
    assert without.identifiable.all(), "one of them given, the others are known"


def test_directions_of_an_information_matrix():
    """Two parameters of which only the sum shows, one that is well known and one that isn't felt."""
    information = np.zeros((4, 4))
    information[:2, :2] = 1e4
    information[2, 2], information[3, 3] = 1e4, 1.0
    rows = Excitation.of(["a", "b", "c", "d"], information).rows
    assert [row.identifiable for row in rows] == [False, False, True, False]
    assert rows[0].verdict == "not identifiable: a and b only matter together"
    assert rows[1].verdict == "not identifiable: b and a only matter together"
    assert rows[3].verdict.endswith("too little about it (error 100% of its range)")
    assert rows[2].error == pytest.approx(0.01)
    assert Excitation.of(["d"], information[3:, 3:], weak=2.0).identifiable.all()
    np.testing.assert_allclose(invert(np.array([[2.0, 1.0], [1.0, 1.0]])), [[1, -1], [-1, 2]], rtol=1e-9)


def test_the_loss_by_hand():
    (item,) = record("Reacher-v5", 8, noise_std=0.0)
    windows = cut_windows(Trajectories((item,)), robot_of(Task.parse("Reacher-v5")).model(), 8)
    residuals = np.zeros((1, 8 * 8))
    residuals[0, :2] = 3.0, 4.0
    expected = 18 * (np.sqrt(2) - 1) + 18 * (5 / 3 - 1)
    np.testing.assert_allclose(window_losses(windows, residuals), [expected / 64])
    assert loss(np.array([1.0, 1.5 * np.e])) == pytest.approx((1.0 + 3.0) / 2)


def test_windows_share_no_sample_and_know_the_controls_before_them():
    (item,) = record("HalfCheetah-v5", 23)
    model = robot_of(Task.parse("HalfCheetah-v5")).model()
    windows = cut_windows(Trajectories((item,)), model, 5, lead=3)
    assert windows.valid.sum() == windows.samples == 20
    np.testing.assert_array_equal(windows.qpos[windows.valid], item.qpos[3:])
    np.testing.assert_array_equal(windows.ctrl[0, :3], item.ctrl[:3])
    np.testing.assert_array_equal(windows.ctrl[1, 3], item.ctrl[8])
    with pytest.raises(
        WarmstartError, match="too short: expected 24 samples in one of them, found at most 23"
    ):
        cut_windows(Trajectories((item,)), model, 5, lead=20)


def test_a_replay_of_noiseless_motion_under_the_true_physics_is_exact():
    task = Task.parse("HalfCheetah-v5@gravity=x0.9")
    data = record(task.with_context("gear=x1.25"), 40, noise_std=0.0)
    replay = Replay(task, cut_windows(data, robot_of(task).model(), 5), read_parameters({"gear": "x0.5:x2"}))
    assert replay.nominal.tolist() == [1 / 3]
    places = np.array([[0.5], [1 / 3]])
    starts = np.stack([replay.starts()] * 2)
    true, nominal = np.abs(replay.residuals(places, starts)).mean(axis=(1, 2))
    assert true < 1e-4
    assert nominal > 1


def test_rotations_are_mujocos():
    model = robot_of(Task.parse("Ant-v5")).model()
    rng = np.random.default_rng(0)
    start, turn = np.tile(model.qpos0, (4, 1)), rng.normal(size=(4, model.nv))
    moved = add(model, start, turn)
    for i in range(4):
        expected = start[i].copy()
        mujoco.mj_integratePos(model, expected, turn[i], 1.0)
        np.testing.assert_allclose(moved[i], expected, atol=1e-12)
    np.testing.assert_allclose(subtract(model, moved, start), turn, atol=1e-12)


@pytest.mark.parametrize("robot", ["Reacher-v5", "Reacher-v5@joint1.gear=x1.5"])
def test_the_gate_rejects_what_replays_no_better(robot):
    """The nominal model is the true one, or it is wrong where nothing is fitted."""
    found = identify(
        "Reacher-v5", record(robot, 150, seed=5), {"joint0.gear": "x0.5:x2"}, FitSettings(delay=None)
    )
    assert not found.accepted
    assert found.estimates[0].number == pytest.approx(1.0, abs=0.05)
    assert found.message.startswith("rejected: loss on held-out recordings")
    assert "expected at least 5% less" in found.message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"parameters": {"torso.mas": "x0.5:x2"}}, r"Did you mean 'torso\.mass'"),
        ({"parameters": {}}, "Expected parameters to fit"),
        (
            {"parameters": {"gear": "x2:x3"}},
            r"range of gear with the nominal value in it \(1\), found 2 to 3",
        ),
        ({"parameters": {"gear": {"values": ["x1", "x2"]}}}, "Expected a range for 'gear' such as x0.5:x2"),
        ({"parameters": {"damping": "0.1:9"}}, "damping has several nominal values: give a range of factors"),
        ({"parameters": {"torso.mass": "x0:x2"}}, "reaches values that can't be"),
        ({"parameters": {"wind": "x0.5:x2"}}, r"Varying wind \(scale\) would have no effect"),
        (
            {"parameters": {"torso.mass": "x0.5:x2", "body.torso.mass": "x0.5:x2"}},
            r"Varying torso\.mass would have no effect: each of its parameters is named by another range",
        ),
        ({"delay": (2, 1)}, r"delay: expected a delay from fewest to most control steps, found \[2, 1\]"),
        ({"delay": 3}, r"delay: expected a list or nothing \(null\), found 3"),
        ({"delay": (0, 1.5)}, r"delay\[1\]: expected a whole number, found 1\.5"),
        ({"lag": "abc"}, "lag: expected a number, found 'abc'"),
        ({"lag": float("inf")}, "lag: expected a number at least 0 and finite, found inf"),
        ({"window": float("nan")}, "window: expected a number above 0 and finite, found nan"),
        ({"window": 0}, "window: expected a number above 0 and finite, found 0"),
        ({"window": -0.2}, "window: expected a number above 0 and finite, found -0.2"),
        ({"seed": -1}, "seed: expected a number at least 0, found -1"),
        ({"window": 5.0}, "too short: .* give 2 windows .* give a smaller window"),
        ({"task": "Hopper-v5"}, "expected 6 columns of qpos"),
    ],
)
def test_mistakes_are_told(cheetah, arguments, said):
    given = {"task": "HalfCheetah-v5", "parameters": RANGES, "delay": None, "seed": 0, **arguments}
    task, parameters, seed = (given.pop(key) for key in ("task", "parameters", "seed"))
    with pytest.raises(WarmstartError, match=said):
        identify(task, cheetah, parameters, read(FitSettings, given), seed=seed)


def test_everything_that_identifies_has_the_same_defaults():
    command = {item.name: item.default for item in fields(Identify)}
    assert signature(excitation).parameters["window"].default == command["window"] == WINDOW
    settings = signature(identify).parameters["settings"].default
    assert (settings.window, settings.delay) == (command["window"], command["delay"])
    assert command["seconds"] == SECONDS == RecordingSettings().seconds


def test_what_shows_no_window_is_refused(cheetah):
    with pytest.raises(WarmstartError, match="window: expected a number above 0 and finite, found 0"):
        excitation("HalfCheetah-v5", cheetah, RANGES, 0)


STUDY = """
name: tiny
target: InvertedPendulum-v5
reality: REALITY
algorithm: {name: ppo, n_envs: 4, n_steps: 32, n_epochs: 1, batch_size: 64, net_arch: [16]}
target_steps: 128
seeds: 1
baseline: plain
arms:
  - {name: plain, method: scratch}
  - {name: fitted, method: scratch, identify: &fit {parameters: {gear: x0.5:x2}, seconds: 12, delay: [0, 0], lag: 0.04, window: 0.16, noise_std: 0.01}}
  - {name: around, method: scratch, identify: *fit, randomize: identified}
  - {name: seen, method: scratch, identify: *fit, randomize: identified, privileged: true}
evaluation: {every: 128, episodes: 1}
"""  # noqa: E501


def test_arms_train_in_the_nominal_simulation_where_the_fit_was_rejected(tmp_path, monkeypatch):
    reality = tmp_path / "same.yaml"
    reality.write_text("name: same\ntask: InvertedPendulum-v5\ncontext: pole.mass=x1.01\n")
    seal_reality(reality)
    made = make_plan(Study.from_document(parse_yaml(STUDY.replace("REALITY", str(reality)), "tiny.yaml")))
    run = tmp_path / "run"
    prepare(made, run)
    given = []

    def told(*arguments, **settings):
        given.append(arguments[3])
        return identify(*arguments, **settings)

    monkeypatch.setattr("warmstart.sim2real.identification.identify.identify", told)
    for trial in made.unique:
        run_trial(run / "trials" / trial.hash)
    assert [settings.window for settings in given] == [0.16], "the study's setting"
    trials = {trial.arm: (trial.config, run / "trials" / trial.hash) for trial in made.trials}
    found = json.loads((trials["identify"][1] / IDENTIFICATION).read_text())
    assert not found["accepted"], found["message"]
    assert {"gear"} <= {each["name"] for each in found["estimates"]}, "the fit's own figures are kept"
    assert found["task_text"].startswith("InvertedPendulum-v5@gear=")
    assert (found["task"], found["recipe"], found["imperfections"]) == ("InvertedPendulum-v5", {}, {})
    for arm in ("fitted", "around", "seen"):
        config, folder = trials[arm]
        assert training_task(config, found) == Task.parse("InvertedPendulum-v5")
        assert trial_world(config, training_task(config, found), found) == TrainingWorld(), arm
        notes = json.loads((folder / "transfer.json").read_text())["notes"]
        assert any("was rejected" in note and "in the nominal simulation instead" in note for note in notes)
        plain, other = (
            [each for each in read_jsonl(place / RECORDS) if each["event"] != "drawn"]
            for place in (trials["plain"][1], folder)
        )
        assert other == plain, f"{arm} is to train as the plain arm does"


def test_notes_name_what_the_motion_does_not_determine():
    found = {
        "task": "Hopper-v5@gear=x0.8",
        "interactions": 1000,
        "accepted": True,
        "imperfections": {
            "action_delay": [0, 1],
            "action_lag": 0.02,
            "noise": [{"std": 0.1, "sensors": ["rootz.velocity"]}],
        },
        "noise": {"rootz.velocity": 0.1},
        "excluded": {"damping": "not identifiable", "friction": "not identifiable"},
        "losses": {"held_fitted": 1.0, "held_nominal": 2.0},
    }
    first, second = identification_notes(found)
    assert first == (
        "Identified from 1,000 recorded steps: Hopper-v5@gear=x0.8, action_delay [0, 1], action_lag 0.02, "
        "and what is left over as its sensors' noise."
    )
    assert "doesn't determine damping, friction" in second
    (rejected,) = identification_notes({**found, "accepted": False, "excluded": {}})
    assert rejected.startswith("The fit from 1,000 recorded steps was rejected")
    assert "(loss 1 against 2)" in rejected
    assert identification_notes({}) == []
