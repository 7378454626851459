"""Names out of the ONNX model beside a checkpoint: what mjlab writes there, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from tests.agents.rsl_rl_files.files import Trained, onnx_model
from tests.hostile import ends_in_a_message
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.rsl_rl_files.onnx_metadata import read_metadata
from warmstart.core.errors import WarmstartError

TEXTS = {
    "run_path": "somebody/robot/x1y2",
    "joint_names": "hip,knee",
    "joint_stiffness": "20.000,20.000",
    "default_joint_pos": "0.000,-0.700",
    "command_names": "twist",
    "observation_names": "base_ang_vel,projected_gravity,joint_pos,joint_vel,actions,command",
    "observation_terms_scale": "0.250,1.000,1.000,0.050;0.100,1.000,1.000",
    "observation_terms_history_length": "0,0,0,0,0,0",
    "action_scale": "0.250,0.500",
}
"""As mjlab 1.6 writes them for a leg on a base: 3 + 3 + 2 + 2 + 2 + 3 observations."""


def saved(folder: Path, name: str = "model_1500", **sizes: int) -> Path:
    return Trained("5", **{"inputs": 15, "actions": 2} | sizes).save(folder / f"{name}.pt")  # type: ignore[arg-type]


def test_terms_and_joints_become_dimensions(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert load_checkpoint(path).observation_layout is None
    (tmp_path / "model_1500.onnx").write_bytes(onnx_model(TEXTS))
    found = load_checkpoint(path)
    layout: Any = found.observation_layout
    assert layout.names == (
        *(f"base_ang_vel_{axis}" for axis in "xyz"),
        *(f"projected_gravity_{axis}" for axis in "xyz"),
        *("hip.angle", "knee.angle_offset", "hip.velocity", "knee.velocity"),
        *("hip.last_action", "knee.last_action", "command[0]", "command[1]", "command[2]"),
    )
    units = [(d.unit, d.scale) for d in layout.dimensions]
    assert units[0] == ("rad/s", 4.0)  # one unit of it is 1 / 0.25 rad/s
    assert units[6:10] == [("rad", 1.0), ("rad", 1.0), ("rad/s", 1 / 0.05), ("rad/s", 10.0)]
    actions: Any = found.action_layout
    assert [(d.name, d.unit, d.scale) for d in actions.dimensions] == [
        ("hip.target_angle", "rad", 0.25),
        ("knee.target_offset", "rad", 0.5),
    ]
    assert any("less the joint's default_joint_pos" in note for note in found.notes)


def test_the_file_is_of_the_checkpoints_name_or_its_folders_or_stated(tmp_path: Path) -> None:
    folder = tmp_path / "2026-01-01_run"
    folder.mkdir()
    path = saved(folder)
    (tmp_path / "elsewhere.onnx").write_bytes(onnx_model(TEXTS | {"joint_names": "a,b"}))
    (folder / "2026-01-01_run.onnx").write_bytes(onnx_model(TEXTS))
    beside: Any = load_checkpoint(path).action_layout
    stated: Any = load_checkpoint(path, onnx=tmp_path / "elsewhere.onnx").action_layout
    assert beside.names[0] == "hip.target_angle"
    assert stated.names[0] == "a.target_angle"
    with pytest.raises(WarmstartError, match=r"There is no ONNX model at .*none\.onnx"):
        load_checkpoint(path, onnx=tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("changes", "inputs", "note"),
    [
        ({"observation_terms_history_length": "0,0,5,5,0,0"}, 15, "its observations hold histories"),
        (
            {"observation_names": "joint_pos"},
            15,
            "the terms joint_pos don't tell all but 13 of 15 observations",
        ),
        (
            {"command_names": "motion", "observation_names": "command,height_scan"},
            15,
            "how many numbers command",
        ),
        ({"observation_names": ""}, 15, "it names no observations"),
    ],
)
def test_what_terms_do_not_tell_gets_no_names(
    changes: dict[str, str], inputs: int, note: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, inputs=inputs)
    (tmp_path / "model_1500.onnx").write_bytes(onnx_model(TEXTS | changes))
    found = load_checkpoint(path)
    assert found.observation_layout is None
    assert any(note in told for told in found.notes)


def test_one_term_may_take_what_is_left(tmp_path: Path) -> None:
    texts = TEXTS | {"observation_names": "joint_vel,height_scan"}
    (tmp_path / "model_1500.onnx").write_bytes(onnx_model(texts))
    layout: Any = load_checkpoint(saved(tmp_path, inputs=6)).observation_layout
    assert layout.names[:3] == ("hip.velocity", "knee.velocity", "height_scan[0]")
    assert layout.names[-1] == "height_scan[3]"


def test_joints_that_do_not_act_and_unnamed_joints(tmp_path: Path) -> None:
    path = saved(tmp_path, actions=1, inputs=4)
    texts = TEXTS | {"observation_names": "joint_pos,joint_vel"}
    (tmp_path / "model_1500.onnx").write_bytes(onnx_model(texts))
    found = load_checkpoint(path)
    assert found.action_layout is None
    assert any("it names 2 joints and there are 1 actions" in note for note in found.notes)
    assert found.observation_layout is not None
    (tmp_path / "model_1500.onnx").write_bytes(onnx_model({"author": "somebody"}))
    found = load_checkpoint(path)
    assert any("names no joints: expected the metadata joint_names" in note for note in found.notes)
    with pytest.raises(WarmstartError, match="names no joints"):
        load_checkpoint(path, onnx=tmp_path / "model_1500.onnx")
    (tmp_path / "model_1500.onnx").write_bytes(onnx_model(TEXTS | {"joint_names": "hip,hip"}))
    with pytest.raises(WarmstartError, match=r"model_1500\.onnx: Expected unique names.*hip"):
        load_checkpoint(saved(tmp_path))


def test_metadata_are_read_as_protobuf_has_them(tmp_path: Path) -> None:
    texts = TEXTS | {"long": "ü" * 200, "empty": ""}
    fixed = b"\x25\x00\x00\x00\x00" + b"\x29" + bytes(8)  # fields 4 and 5 of 4 and 8 bytes, stepped over
    (tmp_path / "model.onnx").write_bytes(onnx_model(texts, before=b"\x08\x08" + fixed))
    assert read_metadata(tmp_path / "model.onnx") == texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no graph"),
        (b"no model of any kind", "truncated or no ONNX model"),
        (b"\x3a\x7f", "field 7 has 127 bytes, and 0 are left"),
        (b"\x3a" + b"\xff" * 9 + b"\x01", "field 7 has 18,446,744,073,709,551,615 bytes"),
        (b"\x08" + b"\xff" * 20, "a number doesn't end"),
        (b"\x3b\x00", "a field of the kind 3"),
        (onnx_model({}) + b"\x72\x04\x0a\x02\xff\xfe", "can't decode"),
    ],
)
def test_what_is_no_onnx_model_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(WarmstartError, match=message):
        read_metadata(tmp_path / "model.onnx")


def test_damaged_models_end_in_a_message(tmp_path: Path) -> None:
    whole, path = onnx_model(TEXTS), tmp_path / "model.onnx"
    ended = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        ended += ends_in_a_message(lambda: read_metadata(path), "model.onnx", f"cut at {at}")
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        ends_in_a_message(lambda: read_metadata(path), "model.onnx", f"flipped at {at}")
    assert ended > 0.9 * len(whole)
