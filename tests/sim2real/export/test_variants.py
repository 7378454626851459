"""Smaller policies: what they are, what they cost in closed loop, and that a worse one isn't written."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tests.sim2real.export.agents import PENDULUM, PPO, STATES, agent, balancing, frozen
from warmstart.__main__ import main
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.evaluation import evaluate
from warmstart.core.errors import WarmstartError
from warmstart.sim2real.deployment.runtime.contract import read_contract
from warmstart.sim2real.export.calibration import logged_inputs
from warmstart.sim2real.export.compress import KINDS, compress
from warmstart.sim2real.export.export import export_policy
from warmstart.sim2real.export.judging import Judged, Latency, judge, latencies
from warmstart.sim2real.export.parity import Comparison
from warmstart.sim2real.export.student import small_student, widths_of
from warmstart.sim2real.export.variants import Wanted, prepare

FEEDS = [
    {"observation": row[None].astype(np.float32)} for row in np.random.default_rng(0).normal(size=(64, 4))
]
LATENCY = Latency(1.0, 2.0, 3.0)


@pytest.fixture(scope="module")
def wide():
    """A graph with weights worth quantising."""
    return export_policy(agent(replace(PPO, net_arch=(64, 64)), PENDULUM), episodes=2)


def weights(model):
    return {each.name: each for each in model.graph.initializer}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_smaller_and_acts_nearly_alike(kind, wide):
    small = compress(wide.model, kind, FEEDS)
    onnx.checker.check_model(small)
    assert len(small.SerializeToString()) < 0.8 * len(wide.model.SerializeToString())
    from onnxruntime import InferenceSession

    plain, other = (InferenceSession(each.SerializeToString()) for each in (wide.model, small))
    gaps = [np.abs(plain.run(None, feed)[0] - other.run(None, feed)[0]).max() for feed in FEEDS]
    spread = np.ptp([plain.run(None, feed)[0] for feed in FEEDS])
    assert 0 < max(gaps) < 0.1 * spread


@pytest.mark.parametrize(("kind", "bits"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_half_precision_rounds_to_the_nearest(kind, bits, wide):
    small = compress(wide.model, kind, [])
    stored = {name: each for name, each in weights(small).items() if each.data_type == bits}
    assert len(stored) == 2, "the input layer has 256 numbers, the next 4,096, biases stay"
    for name, each in stored.items():
        exact = numpy_helper.to_array(weights(wide.model)[name.removesuffix(f".{kind}")])
        rounded = numpy_helper.to_array(each).astype(np.float32)
        assert np.abs(rounded - exact).max() <= np.abs(exact).max() * (2**-11 if kind == "fp16" else 2**-8)


def test_what_cant_be_quantised_says_so(wide):
    with pytest.raises(WarmstartError, match=r"There is no quantisation 'int4'|quantisation"):
        compress(wide.model, "int4", FEEDS)
    with pytest.raises(WarmstartError, match="int8 needs inputs to calibrate on"):
        compress(wide.model, "int8", [])
    huge = onnx.ModelProto()
    huge.CopyFrom(wide.model)
    for tensor in huge.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2:
            tensor.CopyFrom(numpy_helper.from_array(1e6 * numpy_helper.to_array(tensor), tensor.name))
    with pytest.raises(WarmstartError, match=r"fp16: the tensor \S+ holds numbers above 65,504"):
        compress(huge, "fp16", [])


def test_a_loss_is_paired_and_a_share_of_the_policys_return():
    own = np.array([100.0, 200.0, 300.0])
    variant = Comparison(3, 0.5, 1.0, own - np.array([10.0, 20.0, 30.0]), {})
    found = judge("x", 7, LATENCY, variant, own)
    assert found.lost == pytest.approx(0.1)
    assert (found.low, found.high) == (-np.inf, np.inf), "three episodes tell nothing"
    own, lost = np.arange(100.0, 600.0, 100), np.array([5.0, 10, 15, 20, 25])
    found = judge("x", 7, LATENCY, replace(variant, returns=own - lost), own)
    half = 2.7764451 * np.std(lost / 300, ddof=1) / np.sqrt(5)
    assert (found.low, found.high) == pytest.approx((0.05 - half, 0.05 + half))
    assert (found.mean, found.largest, found.size) == (285.0, 0.5, 7)
    assert not found.good(0.08)
    assert found.good(0.09)
    same = judge("x", 7, LATENCY, replace(variant, returns=own), own)
    assert (same.low, same.lost, same.high) == (0.0, 0.0, 0.0)
    negative = judge("x", 7, LATENCY, replace(variant, returns=-1.2 * own), -own)
    assert negative.lost == pytest.approx(0.2), "of a negative return the same"
    with pytest.raises(WarmstartError, match="judged over at least 4 episodes, found 3"):
        prepare(balancing(), None, Wanted(quantize="bf16", episodes=3))


def test_latencies_are_of_each_step_alone():
    calls = []
    fast, slow = latencies([lambda: calls.append(0), lambda: sum(range(20_000))], runs=50)
    assert len(calls) == 55
    assert 0 < fast.p50 <= fast.p99 <= fast.most
    assert slow.p50 > 5 * fast.p50


def test_a_student_learns_to_act_as_its_teacher():
    lessons, given = [], {"steps": 19_200, "iterations": 15}
    student = small_student(balancing(), PENDULUM, (16,), **given, progress=lessons.append)
    assert [each.steps for each in lessons] == [1280 * i for i in range(1, 16)]
    worst = max(each.error for each in lessons)  # not in the first, where the teacher acts
    assert lessons[-1].error < 0.05 < 0.1 < worst
    assert evaluate(student.policy(), PENDULUM, 4, 0).mean == 1000
    again = small_student(balancing(), PENDULUM, (16,), **given)
    assert again.fingerprint() == student.fingerprint()


@pytest.mark.parametrize("name", ["discrete", "bins, several", "history", "privileged critic"])
def test_students_of_other_kinds(name):
    teacher = STATES[name]()
    lessons = []
    settings = {"steps": 2_560, "iterations": 4, "n_envs": 8}
    student = small_student(teacher, teacher.task, (16,), **settings, progress=lessons.append)
    assert lessons[-1].error < lessons[0].error
    assert student.vision == teacher.vision
    export_policy(student, episodes=2)


@pytest.mark.usefixtures("opengl")
def test_a_student_reads_a_frozen_encoders_features():
    teacher = frozen("InvertedPendulum-v5:obs=pixels,size=24")
    student = small_student(teacher, teacher.task, (8,), steps=160, iterations=2, n_envs=4)
    exported = export_policy(student, episodes=2)
    assert exported.contract.observations[0].dtype == "uint8"


def test_students_that_cant_be_say_why():
    with pytest.raises(WarmstartError, match="its teacher has an LSTM"):
        small_student(STATES["recurrent"](), PENDULUM, (8,))
    with pytest.raises(WarmstartError, match="Expected widths of at least 1"):
        small_student(balancing(), PENDULUM, ())
    assert widths_of("32x16") == (32, 16)
    for text in ("32,16", "x", "0", "32x-1"):
        with pytest.raises(WarmstartError, match=r"--student: expected widths as in 32x32"):
            widths_of(text)


def test_a_variant_that_may_lose_too_much_is_refused():
    bad = Wanted(student=(1,), steps=320, episodes=4)
    with pytest.raises(
        WarmstartError, match=r"student 1 isn't written: it returns [\d.]+, the policy 1000\.0"
    ):
        prepare(balancing(), None, bad)
    found = prepare(balancing(), None, replace(bad, tolerance=1.0))
    assert [each.name for each in found.table] == ["SB3 predict", "float32", "student 1"]
    assert isinstance(found.table[0], Judged)
    assert found.exported.contract.parity["variant"] == "student 1"


def test_the_command_writes_what_was_asked_for(tmp_path, capsys):
    path = save_checkpoint(balancing(), tmp_path / "agent")
    out = tmp_path / "policy"
    words = ["export", str(path), "--out", str(out), "--quantize", "bf16", "--episodes", "4"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "SB3 predict" in said
    assert "observation float32[4] → action [1] at 25 Hz" in said
    contract = read_contract(out)
    assert contract.parity["variant"] == "bf16"
    assert contract.task == PENDULUM
    assert main([*words[:-4], "--quantize", "int9"]) == 2
    assert "int8" in capsys.readouterr().err


def test_int8_is_calibrated_on_what_a_robot_saw(tmp_path, capsys):
    path = save_checkpoint(balancing(), tmp_path / "agent")
    policy, log = str(tmp_path / "policy"), tmp_path / "run.csv"
    assert main(["export", str(path), "--out", policy, "--episodes", "2"]) == 0
    assert main(["run", policy, "--seconds", "2", "--log", str(log)]) == 0
    contract = read_contract(tmp_path / "policy")
    feeds = logged_inputs([log], contract, 16)
    assert len(feeds) == 16
    seen = np.concatenate([feed["observation"] for feed in feeds])
    assert np.abs(seen[:, 1]).max() < 0.2, "it balances"
    assert seen.dtype == np.float32
    words = ["export", str(path), "--out", policy, "--episodes", "4", "--calibration", str(log)]
    assert main([*words, "--quantize", "int8", "--tolerance", "1"]) == 0
    assert read_contract(tmp_path / "policy").parity["variant"] == "int8"
    assert main(words) == 2
    assert "--calibration is what int8 goes by" in capsys.readouterr().err
    with pytest.raises(
        WarmstartError, match=r"no calibration for this policy: it is of InvertedPendulum-v5, the"
    ):
        logged_inputs([log], replace(contract, task="InvertedPendulum-v5@gear=x2"), 16)
    (signal,) = contract.observations
    turned = replace(contract, observations=(replace(signal, dimensions=signal.dimensions[::-1]),))
    with pytest.raises(
        WarmstartError, match=r"slider\.position in 'm' where the policy has hinge\.velocity in 'rad/s'"
    ):
        logged_inputs([log], turned, 16)
    with pytest.raises(WarmstartError, match="Logs hold neither frames nor what a policy remembers"):
        logged_inputs([log], export_policy(STATES["history"](), episodes=2).contract, 16)
