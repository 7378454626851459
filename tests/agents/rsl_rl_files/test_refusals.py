"""What isn't a PPO checkpoint of rsl_rl's is refused by what it is, and nothing in it runs."""

import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.agents.rsl_rl_files.files import Trained
from tests.hostile import ends_in_a_message
from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError

Change = Callable[[dict[str, Any]], Any]


def _set(name: str, value: Any, key: str = "model_state_dict") -> Change:
    return lambda content: content[key].update({name: value})


def _drop(name: str, key: str = "model_state_dict") -> Change:
    return lambda content: content[key].pop(name)


def _nan(content: dict[str, Any]) -> None:
    content["model_state_dict"]["actor.2.weight"][0, 0] = float("nan")


REFUSED: dict[str, tuple[Change, str]] = {
    "sparse": (_set("actor.0.weight", torch.eye(16, 5).to_sparse()), "is no plain array.*sparse_coo"),
    "nan": (_nan, r"the actor: mlp\.2\.weight holds NaN or infinities"),
    "double": (_set("actor.0.weight", torch.ones(16, 5).double()), "layer 0: .* found float64 of shape"),
    "whole": (_set("actor.0.weight", torch.ones(16, 5).long()), "holds int64"),
    "expanded": (_set("actor.0.weight", torch.ones(1).expand(16, 5)), "claims 80 numbers and holds fewer"),
    "shape": (_set("actor.2.weight", torch.ones(12, 17)), r"layer 2: .* of 16 inputs .* \(12, 17\)"),
    "flat": (_set("actor.0.weight", torch.ones(16)), r"layer 0: expected a float32 weight"),
    "bias": (_drop("actor.0.bias"), "layer 0: .* float32 of shape .* and nothing"),
    "norm": (_set("actor.1.weight", torch.ones(16)), r"numbers \[0, 1, 2, 4\]: expected 0, 2, 4"),
    "unknown": (
        _set("actor.gate.weight", torch.ones(2)),
        "'mlp.gate.weight' isn't a multilayer perceptron's",
    ),
    "foreign": (_set("encoder.0.weight", torch.ones(2, 2)), "the tensor 'encoder.0.weight' isn't"),
    "recurrent": (_set("memory_a.rnn.weight_ih_l0", torch.ones(8, 5)), r"recurrent \(memory_a, memory_c\)"),
    "cnn": (_set("actor_cnns.camera.0.weight", torch.ones(8, 3, 3, 3)), r"convolutional \(actor_cnns\)"),
    "student": (_set("student.0.weight", torch.ones(8, 5)), "a student of distillation"),
    "no std": (_drop("std"), "no std of its own: it depends on the state, or the actions are Beta's"),
    "two stds": (_set("log_std", torch.zeros(3)), "the actor has std and log_std; expected one"),
    "few stds": (_set("std", torch.ones(2)), "gives 3 numbers and there are 2 standard deviations"),
    "negative std": (_set("std", -torch.ones(3)), "std: expected positive numbers, found -1"),
    "not tensors": (_set("std", [1.0, 1.0]), "model_state_dict: expected tensors by name"),
    "no layers": (
        lambda c: c.update(model_state_dict={"std": torch.ones(3)}),
        "has the numbers|numbers \\[\\]",
    ),
    "key": (lambda c: c.update(estimator_state_dict={}), "'estimator_state_dict' is not of rsl_rl's PPO"),
    "both": (lambda c: c.update(actor_state_dict={}), "expected model_state_dict or actor_state_dict"),
    "iterations": (lambda c: c.update(iter=-1), "iter: expected a whole number at least 0, found -1"),
    "few means": (
        _set("actor_obs_normalizer._mean", torch.zeros(1, 4)),
        r"normaliser: _mean is float32 of shape \(1, 4\), expected float32 of shape \(1, 5\)",
    ),
    "no count": (_drop("actor_obs_normalizer.count"), "actor's normaliser: .* count is missing"),
    "negative deviation": (
        _set("actor_obs_normalizer._std", -torch.ones(1, 5)),
        "normaliser: _std holds a negative number",
    ),
    "two normalisers": (
        lambda c: c.update(obs_norm_state_dict={"_mean": torch.zeros(1, 5)}),
        "obs_norm_state_dict: the actor's normaliser is there twice",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_changed_file_is_refused_by_what_was_changed(name: str, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    content = Trained("3").content()
    change(content)
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(WarmstartError, match=message) as raised:
        load_checkpoint(tmp_path / "model.pt")
    assert str(tmp_path / "model.pt") in str(raised.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [("rnn.rnn.weight_ih_l0", r"recurrent \(rnn\)"), ("cnns.camera.0.weight", r"convolutional \(cnns\)")],
)
def test_recurrent_and_convolutional_actors_of_rsl_rl_4_are_refused(
    key: str, message: str, tmp_path: Path
) -> None:
    content = Trained("4").content()
    content["actor_state_dict"][key] = torch.ones(8, 5)
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(WarmstartError, match=message):
        load_checkpoint(tmp_path / "model.pt")


def test_a_distilled_student_and_half_a_file_are_refused(tmp_path: Path) -> None:
    content = Trained("4").content()
    student = {"student_state_dict": content["actor_state_dict"], "teacher_state_dict": {}, "iter": 1}
    torch.save(student, tmp_path / "student.pt")
    with pytest.raises(WarmstartError, match=r"a checkpoint of distillation .* give the teacher's"):
        load_checkpoint(tmp_path / "student.pt")
    del content["critic_state_dict"]
    torch.save(content, tmp_path / "half.pt")
    with pytest.raises(WarmstartError, match="critic_state_dict: expected tensors by name, found nothing"):
        load_checkpoint(tmp_path / "half.pt")
    torch.save([content, "actor_state_dict"], tmp_path / "list.pt")
    with pytest.raises(WarmstartError, match="it holds a list, expected a mapping"):
        load_checkpoint(tmp_path / "list.pt")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(WarmstartError, match=r"file of torch\.save.* nor a checkpoint of rsl_rl"):
        load_checkpoint(tmp_path / "other.pt")


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_pickle_bomb_does_not_run(zipped: bool, tmp_path: Path) -> None:
    content = Trained("5").content() | {"infos": _Bomb(tmp_path / "ran")}
    torch.save(content, tmp_path / "bomb.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WarmstartError, match="nothing of it was run" if zipped else "since torch 1.6"):
        load_checkpoint(tmp_path / "bomb.pt")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "bomb.pt", weights_only=False)  # the bomb is one
    assert (tmp_path / "ran").exists()


def test_no_file_of_torch_save_script_and_packed_members(tmp_path: Path) -> None:
    (tmp_path / "noise.pt").write_bytes(b"no torch file")
    with pytest.raises(WarmstartError, match=r"noise\.pt is truncated or not a file that torch\.save wrote"):
        load_checkpoint(tmp_path / "noise.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself
        torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "policy.pt"))
    with pytest.raises(WarmstartError, match="TorchScript policy, which is code: give the checkpoint"):
        load_checkpoint(tmp_path / "policy.pt")
    path = Trained("5").save(tmp_path / "model.pt")
    with (
        zipfile.ZipFile(path) as plain,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(WarmstartError, match="it has packed members"):
        load_checkpoint(tmp_path / "packed.pt")


def test_damaged_files_end_in_a_message(tmp_path: Path) -> None:
    whole = Trained("5").save(tmp_path / "whole.pt").read_bytes()
    path = tmp_path / "model.pt"
    ended = 0
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        for how, content in (("cut", whole[:at]), ("flipped", _flipped(whole, at))):
            path.write_bytes(content)
            ended += ends_in_a_message(lambda: load_checkpoint(path).policy(), "model.pt", f"{how} at {at}")
    assert ended > 60  # every one that was cut


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def test_what_is_said_of_another_file_is_refused(tmp_path: Path) -> None:
    path = Trained("5").save(tmp_path / "model.pt")
    with pytest.raises(WarmstartError, match=r"activation function 'eluu'.*elu"):
        load_checkpoint(path, activation="eluu")
    (tmp_path / "some.zip").write_bytes(b"")
    for said in ({"activation": "elu"}, {"onnx": "x.onnx"}):
        (name,) = said
        with pytest.raises(WarmstartError, match=f"{name} describes a file that rsl_rl wrote"):
            load_checkpoint(tmp_path / "some.zip", **said)
