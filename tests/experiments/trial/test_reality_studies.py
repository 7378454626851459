"""Studies with a reality: what arms come to, and one tiny study from its YAML to its report."""

import json

import numpy as np
import pytest

from warmstart.agents.evaluation import evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.core.bounds import SettingError
from warmstart.core.documents import parse_yaml
from warmstart.core.errors import WarmstartError
from warmstart.envs.vector import make_vec
from warmstart.experiments.records.records import CURRICULUM, GAP, MAP, RECORDS
from warmstart.experiments.records.schema import read_jsonl
from warmstart.experiments.run.run import conclude, plan, prepare
from warmstart.experiments.study.loading import load_study
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.trial import run_trial
from warmstart.experiments.trial.worlds import IDENTIFICATION, terms_of, training_task, trial_world
from warmstart.sim2real.reality import load_reality

STUDY = """
name: tiny
target: InvertedPendulum-v5
reality: pendulum-worn
judge_range: light
map: [pole.mass=x0.5:x2:2, gear=x0.8:x1.2:2]
algorithm: {name: ppo, n_envs: 4, n_steps: 32, n_epochs: 1, batch_size: 64, net_arch: [16]}
target_steps: 512
seeds: 1
baseline: plain
arms:
  - {name: plain, method: scratch}
  - {name: randomized, method: scratch, randomize: {recipe: light, pole.mass: x0.5:x2}}
  - name: everything
    method: scratch
    randomize: {pole.mass: x0.5:x2, gear: x0.8:x1.2}
    curriculum: {method: paced, success: 5, window: 4}
    imperfections: {noise: 0.01, action_delay: 1}
    disturbances: {push: {force: 0.1, every: 0.2, duration: 0.05}}
    reality_steps: 128
  - {name: identified, method: scratch, identify: {parameters: {pole.mass: x0.5:x2.5}, amplitude: 0.3, window: 0.16, seconds: 12}, randomize: identified}
  - {name: privileged, method: scratch, randomize: {pole.mass: x0.5:x2}, privileged: true}
  - {name: history, method: scratch, history: 3, reality_steps: 128}
  - {name: last, method: scratch, reality_steps: 128}
  - {name: oracle, method: scratch, reality_steps: 512}
evaluation: {every: 128, episodes: 2}
"""  # noqa: E501


def study(text=STUDY):
    return Study.from_document(parse_yaml(text, "tiny.yaml"))


def test_arms_come_to_trials():
    made = make_plan(study())
    arms = {trial.arm: trial for trial in made.trials}
    sealed = load_reality("pendulum-worn").sha256
    for name in ("random", "plain", "oracle", "identify"):
        found = dict(arms[name].config.reality)
        assert found.pop("map", None) == (list(study().map) if name in ("plain", "oracle") else None)
        assert found == {"name": "pendulum-worn", "sha256": sealed, "range": "light"}
    assert arms["plain"].config.world == {}
    terms = arms["randomized"].config.world["randomize"]
    assert [term["parameters"] for term in terms.values()][-1] == ["pole.mass"]
    assert len(terms) == 4, "the recipe's three, and one's own"
    assert arms["everything"].config.world["curriculum"]["method"] == "paced"
    assert arms["everything"].config.world["disturbances"]["push"]["force"] == [0.1, 0.1]
    assert arms["identified"].needs == arms["identify"].hash == arms["identified"].config.identification
    assert arms["last"].config.world == {"reality_steps": 128}
    again = Study.from_document(parse_yaml(made.study.to_yaml(), "study.yaml"))
    assert [trial.hash for trial in make_plan(again).trials] == [trial.hash for trial in made.trials]


def test_states_without_a_reality_are_planned_as_before():
    plain = make_plan(Study("a", "Hopper-v5", 1000, arms=("scratch",), seeds=1)).trials[1].config.to_json()
    assert not {"world", "reality", "identification"} & set(plain)


def test_a_tiny_study_runs_to_its_report(tmp_path):
    made = make_plan(study())
    prepare(made, tmp_path)
    for trial in made.unique:
        run_trial(tmp_path / "trials" / trial.hash)
    result = conclude(tmp_path)
    assert not result.failures
    folder = {trial.arm: tmp_path / "trials" / trial.hash for trial in made.trials}
    gaps = {
        name: json.loads((folder[name] / GAP).read_text()) for name in folder if (folder[name] / GAP).exists()
    }
    ways = {"plain", "randomized", "everything", "identified", "privileged", "history", "last", "oracle"}
    assert set(gaps) == ways
    acting = load_checkpoint(folder["privileged"] / "checkpoint")
    assert acting.policy_kwargs["policy_class"] == "AsymmetricActorCriticPolicy"
    assert load_checkpoint(folder["history"] / "checkpoint").observation_space.shape == (3 * 4 + 2,)
    taken = {name: gap["interactions"] for name, gap in gaps.items() if gap["interactions"]}
    assert taken == {"everything": 128, "identified": 300, "history": 128, "last": 128, "oracle": 512}
    assert gaps["plain"]["evaluation_interactions"] > 16
    config = next(trial.config for trial in made.trials if trial.arm == "everything")
    curriculum = trial_world(config, made.reality.task, {}).curriculum
    saved = json.loads((folder["everything"] / CURRICULUM).read_text())
    curriculum.load_state_dict(saved)
    assert curriculum.share == saved["share"]
    assert [record["step"] for record in curriculum.history] == [r["step"] for r in saved["history"]]
    name = saved["terms"][0]
    reached = terms_of(folder["everything"] / "checkpoint")[0].distribution.bounds
    assert reached == (saved["history"][-1][f"{name}/low"], saved["history"][-1][f"{name}/high"])

    reality = load_reality("pendulum-worn")
    policy = load_checkpoint(folder["plain"] / "checkpoint").policy()
    played = evaluate(policy, reality, episodes=2, seed=1_000_000)
    last = [record for record in read_jsonl(folder["plain"] / RECORDS) if record["event"] == "evaluation"][-1]
    np.testing.assert_allclose(last["returns"], played.returns)

    found = json.loads((folder["identify"] / IDENTIFICATION).read_text())
    (around,) = terms_of(folder["identified"] / "checkpoint")
    assert around.parameters == ("pole.mass",)
    low, high = around.distribution.bounds
    assert low < high
    assert low <= found["estimates"][0]["number"] <= high
    assert len(terms_of(folder["randomized"] / "checkpoint")) == 4
    assert terms_of(folder["plain"] / "checkpoint") == terms_of(tmp_path) == terms_of(None) == ()
    notes = json.loads((folder["identified"] / "transfer.json").read_text())["notes"]
    assert any(found["task"] in note for note in notes)
    drawn = [record for record in read_jsonl(folder["everything"] / RECORDS) if record["event"] == "drawn"]
    assert set(drawn[-1]["quantiles"]) == {"pole.mass", "gear"}
    assert drawn[-1]["curriculum"]["width"] >= 0

    html = result.report.read_text()
    assert "What is left in the reality" in html
    assert "What training drew" in html
    assert html.count("of the cells are good") == 8
    assert "pendulum-worn" in html
    assert "diverged while agents were judged" not in html
    told = {
        name: json.loads((path / MAP).read_text())["trained"] for name, path in folder.items() if name in gaps
    }
    assert told["plain"] == [None, None]
    assert told["identified"] == [[low, high], None]
    assert told["randomized"][0] == [0.5, 2]
    gap = folder["plain"] / GAP
    gap.write_text(json.dumps({**json.loads(gap.read_text()), "diverged": 3}))
    assert "3 simulations diverged while agents were judged" in conclude(tmp_path).report.read_text()


def test_a_source_is_fine_tuned_in_the_reality_from_its_first_step_on(tmp_path):
    source = "source: InvertedPendulum-v5\nsource_steps: 256\n"
    text = STUDY[: STUDY.index("arms:")].replace("target:", f"{source}target:")
    arms = """arms:
  - {name: plain, method: scratch}
  - {name: few, method: fine_tune, reality_steps: 512}
evaluation: {every: 256, episodes: 2}
"""
    made = make_plan(study(text + arms))
    prepare(made, tmp_path)
    for trial in made.unique:
        run_trial(tmp_path / "trials" / trial.hash)
    few = next(tmp_path / "trials" / trial.hash for trial in made.trials if trial.arm == "few")
    assert json.loads((few / GAP).read_text())["interactions"] == 512, "the critic's preparation included"
    assert json.loads((few / "transfer.json").read_text())["steps"] > 0


def test_ranges_around_what_was_identified_are_about_the_nominal_task():
    found = {
        "task": "InvertedPendulum-v5@gear=x0.8",
        "recipe": {"gear": "x0.78:x0.82"},
        "imperfections": {"action_lag": 0.02},
    }
    fit = "identify: {parameters: {gear: x0.5:x2}}"
    arms = f"""arms:
  - {{name: plain, method: scratch, {fit}}}
  - {{name: wide, method: scratch, {fit}, randomize: {{gear: x0.9:x1.1}}}}
  - {{name: narrow, method: scratch, {fit}, randomize: identified}}
  - {{name: both, method: scratch, {fit}, randomize: {{recipe: light, identified: true}}}}
"""
    made = make_plan(study(STUDY[: STUDY.index("arms:")] + arms))
    for arm, ends, names in (
        ("plain", None, ()),
        ("wide", (0.72, 0.88), ("gear",)),
        ("narrow", (0.78, 0.82), ("gear",)),
        ("both", (0.78, 0.82), ("damping", "gear", "pole.mass")),
    ):
        config = next(trial.config for trial in made.trials if trial.arm == arm)
        task = training_task(config, found)
        world = trial_world(config, task, found)
        assert set(names) <= {name.replace("body.", "") for term in world.terms for name in term.parameters}
        env = make_vec(
            task, 64, 0, context_source=world.context_source, perturbations=world.perturbations, n_threads=1
        )
        env.reset(seed=0)
        gear = env.simulations.values("actuator_gear")[:, 0, 0] / 100
        if ends is None:
            np.testing.assert_allclose(gear, 0.8)
        else:
            assert ends[0] - 1e-9 <= gear.min() < gear.max() <= ends[1] + 1e-9
        assert world.perturbations
        env.close()


def test_what_was_identified_gives_way_to_what_an_arm_says():
    found = {
        "task": "InvertedPendulum-v5",
        "recipe": {},
        "imperfections": {
            "action_delay": [0, 1],
            "action_lag": 0.02,
            "noise": [{"std": 0.1, "sensors": ["*.velocity"]}],
        },
    }
    fit = "identify: {parameters: {gear: x0.5:x2}}"
    arms = f"""arms:
  - {{name: plain, method: scratch, {fit}}}
  - {{name: own, method: scratch, {fit}, imperfections: {{noise: 0.3, backlash: 0.1}}}}
  - {{name: off, method: scratch, {fit}, imperfections: {{noise: 0, action_delay: [0, 0], action_lag: 0}}}}
"""
    made = make_plan(study(STUDY[: STUDY.index("arms:")] + arms))
    flaws = {}
    for trial in made.trials:
        if trial.config.kind == "target":
            world = trial_world(trial.config, training_task(trial.config, found), found)
            flaws[trial.arm] = [paths.imperfections for paths in world.perturbations]
    (plain,), (own,) = flaws["plain"], flaws["own"]
    assert (plain.action_delay.high, plain.action_lag[0].time_constant, plain.noise[0].std) == (1, 0.02, 0.1)
    assert (own.action_delay.high, own.noise[0].std, own.backlash[0].width) == (1, 0.3, 0.1)
    assert flaws["off"] == []


def test_identity_randomization_trains_bit_for_bit_as_none(tmp_path):
    records = []
    for arm in ("{name: plain, method: scratch}", "{name: plain, method: scratch, randomize: {gear: x1:x1}}"):
        text = STUDY[: STUDY.index("arms:")] + f"arms:\n  - {arm}\nevaluation: {{every: 128, episodes: 2}}\n"
        made = make_plan(study(text))
        run = tmp_path / str(len(records))
        prepare(made, run)
        trial = next(trial for trial in made.trials if trial.arm == "plain")
        run_trial(run / "trials" / trial.hash)
        told = read_jsonl(run / "trials" / trial.hash / RECORDS)
        records.append([record for record in told if record["event"] != "drawn"])
    assert records[0] == records[1]


@pytest.mark.parametrize("key", ["map", "judge_range", "reality_steps"])
def test_what_is_about_a_reality_needs_one(key):
    arm = {"name": "scratch", "method": "scratch", "reality_steps": 10}
    given = {"arms": [arm]} if key == "reality_steps" else {"arms": ["scratch"]}
    given |= {"map": {"map": ["pole.mass=x0.5:x2:2"]}, "judge_range": {"judge_range": "light"}}.get(key, {})
    with pytest.raises(
        SettingError, match=f"{key}.* in a reality: name one|{key}.* with a reality: name one"
    ):
        plan(Study("tiny", "InvertedPendulum-v5", 512, **given))


def test_other_steps_are_taken_in_the_reality_in_the_same_share():
    shorter = load_study("pendulum-reality").with_steps(6_554)
    steps = {arm.name: arm.world.get("reality_steps") for arm in shorter.arm_list}
    assert (steps["plain"], steps["last_tenth_in_reality"], steps["oracle"]) == (None, 614, 6_554)
    assert plan(shorter).study.target_steps == 6_554
    assert shorter.protocol.every == 819
    assert shorter.protocol.episodes == load_study("pendulum-reality").protocol.episodes
    usual = Study("tiny", "InvertedPendulum-v5", 1_000, arms=["scratch"]).with_steps(500)
    assert (usual.protocol.every, usual.protocol.source_every) == (25, 50)
    with pytest.raises(SettingError, match="target_steps: expected a number at least 1, found 0"):
        shorter.with_steps(0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("reality: pendulum-worn", "reality: pendulum-wrn", "reality: .*Did you mean 'pendulum-worn'"),
        ("reality: pendulum-worn", "reality: hopper-worn", "stands for Hopper-v5"),
        ("reality: pendulum-worn\n", "", "is done in a reality: name one"),
        ("map: [pole.mass=x0.5:x2:2", "map: [pol.mass=x0.5:x2:2", "Did you mean 'pole.mass'"),
        ("gear=x0.8:x1.2:2]", "gear=x0.8:x1.2]", "PARAMETER=RANGE:POINTS"),
        ("judge_range: light", "judge_range: lite", "Did you mean 'light'"),
        ("history: 3", "history: 1", "history: expected 0 or at least 2 observations, found 1"),
        ("randomize: {pole.mass: x0.5:x2}, privileged", "privileged", "sees what is drawn: give randomize"),
        ("privileged: true", "privileged: true, history: 3", "don't go together"),
        ("reality_steps: 128", "reality_steps: 1000", "at most the target's 512 steps, found 1,000"),
        ("reality_steps: 128", "reality_steps: -1", "reality_steps: expected a number at least 0"),
        ("pole.mass: x0.5:x2}}", "pol.mass: x0.5:x2}}", "Did you mean 'pole.mass'"),
        ("recipe: light, pole.mass: x0.5:x2", "recipe: lite, pole.mass: x0.5:x2", "Did you mean 'light'"),
        ("gear: x0.8:x1.2", "gear: x1.2:x0.8", "found 1.2 to 0.8: swap them"),
        ("method: paced", "method: pased", "Did you mean 'paced'"),
        ("action_delay: 1", "action_dely: 1", "Did you mean 'action_delay'"),
        ("force: 0.1", "force: -0.1", r"disturbances.push.force\[0\]: expected a number at least 0"),
        (
            ", seconds: 12}, randomize: identified",
            ", secs: 4}, randomize: identified",
            "Did you mean 'seconds'",
        ),
        (
            "identify: {parameters: {pole.mass: x0.5:x2.5}, amplitude: 0.3, window: 0.16, seconds: 12}, ",
            "",
            "needs identify, which finds",
        ),
        ("{pole.mass: x0.5:x2.5}", "{pol.mass: x0.5:x2.5}", "Did you mean 'pole.mass'"),
        ("{pole.mass: x0.5:x2.5}", "[pole.mass]", "identify.parameters: expected a mapping, found"),
        ("pole.mass: x0.5:x2.5", "pole.mass: x1.5:x2", r"nominal value in it \(1\), found 1.5 to 2"),
        (
            "pole.mass: x0.5:x2.5",
            "pole.mass: x-1:x2",
            r"identify: pole.mass \(scale -1 to 2\) reaches values",
        ),
        ("pole.mass: x0.5:x2.5", "pole.mass: 3", "pole.mass: expected a range .* found 3"),
        ("pole.mass: x0.5:x2.5", "friction: x0.5:x2", r"Varying friction \(scale\) would have no effect"),
        (
            ", seconds: 12}, r",
            ", delay: [2, 0]}, r",
            r"delay: expected a delay from .*, found \[2, 0\]",
        ),
        (", seconds: 12}, r", ", delay: 3}, r", "identify.delay: expected a list or nothing .*, found 3"),
        (", seconds: 12}, r", ", lag: abc}, r", "identify.lag: expected a number, found 'abc'"),
        (
            ", window: 0.16, s",
            ", window: 0, s",
            "window: expected a number above 0 .*, found 0",
        ),
        (
            ", seconds: 12}, r",
            ", seconds: -1}, r",
            "seconds: expected a number above 0 .*, found -1",
        ),
        (", seconds: 12}, r", ", seconds: true}, r", "identify.seconds: expected a number, found True"),
        (
            ", seconds: 12}, r",
            ", noise_std: -1}, r",
            "identify.noise_std: expected a number at least 0 .*, found -1",
        ),
        (
            ", seconds: 12}, r",
            ", seconds: 0.01}, r",
            "identify: .* at least 0.16 s to record",
        ),
        (
            ", amplitude: 0.3,",
            ", amplitude: 2,",
            "identify.amplitude: expected a number above 0 and at most 1, found 2",
        ),
        (
            "randomize: identified}",
            "randomize: identified, curriculum: {method: adr}}",
            "leave one of the two out",
        ),
        (", seconds: 12}, r", ", signal: chrip}, r", "Unknown excitation 'chrip'. Did you mean 'chirp'"),
    ],
)
def test_mistakes_point_at_their_place(old, new, message, tmp_path):
    assert old in STUDY
    (tmp_path / "tiny.yaml").write_text(STUDY.replace(old, new, 1))
    with pytest.raises(WarmstartError, match=message):
        plan(tmp_path / "tiny.yaml")
