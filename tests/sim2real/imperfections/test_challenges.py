"""Named challenges, and imperfections as YAML writes them."""

import json

import numpy as np
import pytest
import yaml

from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.envs.vector import make_vec
from warmstart.sim2real.imperfections.imperfections import CHALLENGES, Imperfections, challenge
from warmstart.sim2real.imperfections.paths import perturbations
from warmstart.sim2real.imperfections.settings import (
    ActionNoise,
    Bias,
    Delay,
    Dropout,
    Lag,
    MotorStrength,
    Noise,
    Stuck,
)


def test_the_challenges_are_those_of_the_suite():
    assert list(CHALLENGES) == ["easy", "medium", "hard"]
    medium = challenge("medium")
    assert medium.action_delay == medium.observation_delay == Delay(6, 6)
    assert medium.noise == (Noise(0.3),)
    assert medium.action_noise == (ActionNoise(0.3),)
    assert medium.dropout == (Dropout(0.05, steps=5),)
    assert medium.stuck == (Stuck(0.05, steps=5),)
    assert medium.action_repeat == 2
    others = [challenge(name) for name in ("easy", "hard")]
    assert [each.noise[0].std for each in others] == [0.1, 1.0]
    assert [(each.dropout[0].probability, each.dropout[0].steps) for each in others] == [(0.01, 1), (0.1, 10)]
    assert [each.action_delay.high for each in others] == [3, 9]
    assert [each.action_repeat for each in others] == [1, 3]
    with pytest.raises(WarmstartError, match=r"Unknown challenge 'meduim'\. Did you mean 'medium'"):
        challenge("meduim")


@pytest.mark.parametrize("name", CHALLENGES)
def test_challenges_run_and_differ(name):
    paths = []
    for flaws in (challenge(name), challenge(name), Imperfections()):
        env = make_vec("Walker2d-v5", 3, seed=0, n_threads=1, perturbations=perturbations(flaws, 0))
        env.reset(seed=0)
        actions = np.random.default_rng(0).uniform(-1, 1, (40, 3, 6)).astype(np.float32)
        paths.append(np.array([env.step(action)[0] for action in actions]))
        assert np.isfinite(paths[-1]).all()
        env.close()
    np.testing.assert_array_equal(paths[0], paths[1])
    assert (paths[0] != paths[2]).any(axis=(1, 2)).all()


YAML = """
noise: 0.01
bias: {std: 1e-3, sensors: "*.velocity"}
dropout: [{probability: 0.1}, {probability: 0.2, steps: 3, sensors: [a, "b*"]}]
observation_delay: [0, 2]
action_delay: {low: 1, high: 4, hold: 0.9}
action_lag: 0.05
motor_strength: [0.8, 1.1]
action_repeat: 2
action_loss: 0.1
"""


def test_yaml_is_read_and_written():
    flaws = read(Imperfections, yaml.safe_load(YAML))
    assert flaws == Imperfections(
        noise=(Noise(0.01),),
        bias=(Bias(0.001, sensors=("*.velocity",)),),
        dropout=(Dropout(0.1), Dropout(0.2, steps=3, sensors=("a", "b*"))),
        observation_delay=Delay(0, 2),
        action_delay=Delay(1, 4, hold=0.9),
        action_lag=(Lag(0.05),),
        motor_strength=(MotorStrength(0.8, 1.1),),
        action_repeat=2,
        action_loss=0.1,
    )
    assert read(Imperfections, json.loads(json.dumps(flaws.to_json()))) == flaws
    assert read(Imperfections, {"observation_delay": 3}).observation_delay == Delay(3, 3)
    assert read(Imperfections, {"motor_strength": 0.9}).motor_strength == (MotorStrength(0.9, 0.9),)


@pytest.mark.parametrize("flaws", [Imperfections(), *CHALLENGES.values()])
def test_what_is_written_is_read_back(flaws):
    assert read(Imperfections, flaws.to_json()) == flaws
    assert flaws.is_off == (flaws.to_json() == {})


def test_a_challenge_may_be_changed():
    assert read(Imperfections, "hard") == challenge("hard")
    changed = read(Imperfections, {"challenge": "easy", "noise": 0.5, "stuck": [], "action_lag": 0.1})
    assert changed.noise == (Noise(0.5),)
    assert changed.stuck == ()
    assert changed.action_lag == (Lag(0.1),)
    assert changed.dropout == challenge("easy").dropout


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"nois": 1}, "Unknown setting 'nois'. Did you mean 'noise'"),
        ({"challenge": "esy"}, "Unknown challenge 'esy'. Did you mean 'easy'"),
        (["noise"], r"imperfections or a challenge's name, found \['noise'\]"),
        ({"noise": -1}, r"noise\[0\].std: expected a number at least 0 and finite, found -1"),
        ({"noise": "loud"}, "std: expected a number, found 'loud'"),
        ({"noise": True}, "std: expected a number, found True"),
        ({"noise": None}, "noise.*: expected a number, a mapping or a list of mappings, found nothing"),
        ({"noise": [0.1, 0.2]}, r"noise.*: expected a number, a mapping or a list of mappings, found \[0"),
        ({"noise": {"sensors": "*"}}, "noise.*: 'std' is missing"),
        ({"noise": {"std": 1, "sensor": "*"}}, "noise.*: Unknown setting 'sensor'. Did you mean 'sensors'"),
        ({"noise": {"std": 1, "sensors": 3}}, r"noise\[0\].sensors\[0\]: expected text, found 3"),
        ({"noise": {"std": 1, "actuators": "*"}}, "noise.*: Unknown setting 'actuators'"),
        ({"drift": float("nan")}, r"drift\[0\].std: expected a number at least 0 and finite, found nan"),
        ({"quantisation": -0.1}, "quantisation.*resolution: expected a number at least 0 .*, found -0.1"),
        ({"dropout": 1.5}, r"dropout\[0\].probability: expected a number from 0 to 1, found 1.5"),
        ({"dropout": {"probability": 0.1, "steps": 0}}, "steps: expected a number at least 1, found 0"),
        ({"stuck": {"probability": 0.1, "steps": 1.5}}, "steps: expected a whole number, found 1.5"),
        ({"observation_delay": [2, 1]}, "observation_delay.high: expected a number of at least 2, found 1"),
        ({"observation_delay": 1.5}, "observation_delay.low: expected a whole number, found 1.5"),
        ({"action_delay": {"high": 2}}, "action_delay: 'low' is missing"),
        (
            {"action_delay": {"low": 0, "high": 2, "hold": 2}},
            "action_delay.hold: expected a number from 0 to 1, found 2",
        ),
        ({"action_loss": 1.1}, "action_loss: expected a number from 0 to 1, found 1.1"),
        ({"action_repeat": 0}, "action_repeat: expected a number at least 1, found 0"),
        ({"dead_band": 1}, "dead_band.*width: expected a number from 0 to below 1, found 1"),
        ({"rate_limit": 0}, "rate_limit.*rate: expected a number above 0, found 0"),
        ({"action_lag": -0.1}, "action_lag.*time_constant: expected a number from 0 to 100, found -0.1"),
        ({"action_delay": 10_000}, "action_delay.high: expected a number from 0 to 1000, found 10000"),
        ({"motor_strength": [0, 1]}, "motor_strength.*low: expected a number above 0 and finite, found 0"),
        ({"motor_strength": [1, 0.5]}, "motor_strength.*high: expected a number of at least 1, found 0.5"),
        ({"saturation": 1.5}, "saturation.*limit: expected a number above 0 and at most 1, found 1.5"),
    ],
)
def test_mistakes_name_the_key(written, said):
    with pytest.raises(WarmstartError, match=said):
        read(Imperfections, written)
