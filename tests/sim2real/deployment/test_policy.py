"""Exported policies in onnxruntime: what they give, what they remember, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from tests.sim2real.deployment.exported import (
    FakeRobot,
    contract_of,
    counting_contract,
    signal,
    write_counting,
    write_linear,
)
from warmstart.sim2real.deployment.runtime.contract import (
    METADATA_KEY,
    Carried,
    DeploymentError,
    Dimension,
    Signal,
    write_contract,
)
from warmstart.sim2real.deployment.runtime.policy import Policy
from warmstart.sim2real.deployment.runtime.robot import check_fit

CONTRACT = contract_of(signal("observation", 3), signal("action", 2), 100.0)
WEIGHT = [[1, 0], [0, 2], [0.5, -1]]


@pytest.fixture
def folder(tmp_path):
    return write_linear(tmp_path / "policy", CONTRACT, WEIGHT, [0.25, 0])


def test_an_action_by_hand(folder):
    action = Policy(folder).act({"observation": np.array([1, 2, 4])})
    assert action.tolist() == [1 + 2 + 0.25, 4 - 4]


def test_what_it_remembers_begins_anew_with_an_episode(tmp_path):
    policy = Policy(write_counting(tmp_path, counting_contract()))
    seen = {"observation": np.ones(2, np.float32)}
    assert [policy.act(seen).item() for _ in range(3)] == [1, 2, 3]
    policy.reset()
    assert [policy.act(seen).item() for _ in range(2)] == [1, 2]


def test_a_graph_edited_after_the_export_is_refused(folder):
    path = folder / "policy.onnx"
    path.write_bytes(path.read_bytes().replace(b"linear", b"linean"))
    with pytest.raises(DeploymentError, match=r"policy.onnx was changed after the export"):
        Policy(folder)


def test_a_contract_edited_after_the_export_is_refused(folder):
    path = folder / "contract.json"
    path.write_text(path.read_text().replace('"rate": 100.0', '"rate": 50.0'))
    with pytest.raises(DeploymentError, match="its sha256 differs"):
        Policy(folder)


@pytest.mark.parametrize(
    ("contract", "problem"),
    [
        (
            replace(CONTRACT, action=signal("torques", 2)),
            "the contract's outputs are torques, the graph's action",
        ),
        (replace(CONTRACT, observations=(signal("observation", 4),)), None),
        (
            replace(CONTRACT, action=Signal("action", (2,), "int64")),
            r"output action is tensor\(float\), in the contract int64",
        ),
        (
            replace(CONTRACT, states=(Carried("state", "state_out", (1,)),), begins="begins"),
            "the contract's inputs are observation, state, begins, the graph's observation",
        ),
    ],
)
def test_a_graph_that_isnt_the_contracts_is_refused(folder, contract, problem):
    write_contract(contract, folder)
    with pytest.raises(DeploymentError, match=problem or "has the shape|can't compute"):
        Policy(folder)


def test_another_contract_inside_of_the_graph_is_refused(folder):
    model = onnx.load(folder / "policy.onnx")
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(replace(CONTRACT, rate=50.0).to_json())
    onnx.save(model, folder / "policy.onnx")
    write_contract(CONTRACT, folder)
    with pytest.raises(DeploymentError, match="the contract inside of the graph isn't the one"):
        Policy(folder)


def test_a_damaged_graph_is_refused(folder):
    (folder / "policy.onnx").write_bytes(b"no graph")
    write_contract(CONTRACT, folder)
    with pytest.raises(DeploymentError, match="onnxruntime can't load"):
        Policy(folder)


def _action(*dimensions, name="action"):
    return Signal(name, (len(dimensions),), "float32", tuple(dimensions))


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({"rate": 50.0}, ["rate: the policy acts at 100 Hz, the robot at 50 Hz."]),
        ({"rate": 0.0}, ["rate: the robot says 0.0 Hz, which is none."]),
        (
            {"observations": (signal("other", 3),)},
            ["observation 'observation': the robot has other."],
        ),
        (
            {"observations": (signal("observation", 2),)},
            [
                "observation 'observation': shape (3,) in the policy, (2,) in the robot.",
                "observation 'observation': 3 names in the policy, 2 in the robot.",
            ],
        ),
        (
            {"action": _action(Dimension("action.1", "rad", -1, 1), Dimension("action.0", "rad", -1, 1))},
            [
                "action: the same names in another order, from number 0: 'action.0' in the policy, "
                "'action.1' in the robot."
            ],
        ),
        (
            {"action": _action(Dimension("action.0", "deg", -1, 1), Dimension("action.1", "rad", -1, None))},
            [
                "action number 0, action.0: 'rad' in the policy, 'deg' in the robot.",
                "action number 1, action.1: high 1.0 in the policy, None in the robot.",
            ],
        ),
        (
            {"action": _action(Dimension("action.0", "rad", -1, 1), Dimension("knee", "rad", -2, 1))},
            ["action number 1: 'action.1' in the policy, 'knee' in the robot."],
        ),
    ],
)
def test_every_difference_to_the_robot_is_listed(change, lines):
    robot = FakeRobot(CONTRACT)
    for name, value in change.items():
        setattr(robot, name, value)
    with pytest.raises(DeploymentError) as caught:
        check_fit(CONTRACT, robot)
    first, *listed = str(caught.value).split("\n")
    assert first == "The policy doesn't fit the robot, nothing was commanded:"
    assert [line.strip() for line in listed] == lines


def test_a_robot_that_fits_and_a_policy_without_a_rate():
    check_fit(CONTRACT, FakeRobot(CONTRACT))
    check_fit(replace(CONTRACT, rate=None), FakeRobot(CONTRACT))
