"""Files of weights: every wrapper and prefix, and nothing in them is run."""

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.transfer.weights import DRQ, assert_drq, save
from warmstart.agents.encoders.backbones import build_backbone
from warmstart.core.errors import WarmstartError
from warmstart.transfer.encoders.weights import WRAPPERS, load_weights, match_keys

pytestmark = pytest.mark.usefixtures("no_folder")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".bin"])
def test_files_of_torch_are_read(tmp_path: Path, suffix: str) -> None:
    assert_drq(load_weights(save(tmp_path / f"w{suffix}", DRQ)))


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors.torch.save_file(DRQ, tmp_path / "w.safetensors")
    assert_drq(load_weights(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper_is_taken_off(tmp_path: Path, wrapper: str) -> None:
    args = argparse.Namespace(lr=0.1)
    content = {"epoch": 3, "optimizer": {"state": {}}, "args": args, wrapper: DRQ}
    assert_drq(load_weights(save(tmp_path / "w.pth", content)))


def test_wrappers_inside_wrappers_and_averages_first(tmp_path: Path) -> None:
    other = {name: value + 1 for name, value in DRQ.items()}
    content = {"model": {"state_dict": other, "state_dict_ema": DRQ}}
    assert_drq(load_weights(save(tmp_path / "w.pth", content)))


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "backbone.",
        "visual.",
        "encoder.",
        "module.convnet.",
        "_orig_mod.module.encoder.",
    ],
)
def test_every_prefix_is_taken_off(tmp_path: Path, prefix: str) -> None:
    assert_drq(load_weights(save(tmp_path / "w.pth", {prefix + name: value for name, value in DRQ.items()})))


def test_r3m_s_language_model_stays_apart(tmp_path: Path) -> None:
    content = {f"module.{name}": value for name, value in DRQ.items()}
    content |= {f"module.lang_enc.layer.{i}.weight": torch.zeros(1) for i in range(10)}
    found = load_weights(save(tmp_path / "r3m.pt", {"r3m": content, "global_step": 7}))
    assert {"0.weight", "6.bias", "lang_enc.layer.9.weight"} < found.keys()
    table = match_keys(found, build_backbone("drq"))
    assert len(table.matched) == 8
    assert len(table.unexpected) == 10
    assert dict(table.matched).keys() == DRQ.keys()


def test_a_prefix_of_few_names_stays(tmp_path: Path) -> None:
    content = {
        "encoder.weight": torch.zeros(1),
        "a": torch.zeros(1),
        "b": torch.zeros(1),
        "c": torch.zeros(1),
    }
    assert load_weights(save(tmp_path / "w.pth", content)).keys() == content.keys()


def test_a_masked_autoencoder_s_decoder_is_dropped(tmp_path: Path) -> None:
    content = {"patch_embed.proj.weight": torch.zeros(1), "mask_token": torch.zeros(1)}
    content |= {"decoder_embed.weight": torch.zeros(1), "decoder_blocks.0.bias": torch.zeros(1)}
    found = load_weights(save(tmp_path / "mae.pth", {"model": content}))
    assert found.keys() == {"patch_embed.proj.weight"}


class Bomb:
    """Would make a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_a_pickle_bomb_is_not_run(tmp_path: Path, protocol: str) -> None:
    marker, path = tmp_path / "exploded", tmp_path / "w.pth"
    content = {"state_dict": DRQ, "bomb": Bomb(marker)}
    if protocol == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(WarmstartError, match=r"Python objects besides tensors.*nothing of it was run"):
        load_weights(path)
    assert not marker.exists()


def test_a_pickled_module_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(
        WarmstartError, match=r"nothing of it was run.*torch\.save\(model\.state_dict\(\), path\)"
    ):
        load_weights(save(tmp_path / "w.pth", nn.Linear(2, 2)))


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    with pytest.raises(WarmstartError, match="There is no file of weights"):
        load_weights(tmp_path / "none.pth")
    with pytest.raises(WarmstartError, match=r"under one of .*state_dict.*; found epoch, loss\."):
        load_weights(save(tmp_path / "a.pth", {"epoch": 1, "loss": 0.5}))
    with pytest.raises(WarmstartError, match=r"found a list\."):
        load_weights(save(tmp_path / "b.pth", [torch.zeros(1)]))
    whole = save(tmp_path / "c.pth", DRQ).read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        (tmp_path / "c.pth").write_bytes(content)
        with pytest.raises(
            WarmstartError, match=r"c\.pth (is truncated|holds Python objects .* or is damaged)"
        ):
            load_weights(tmp_path / "c.pth")
    (tmp_path / "d.safetensors").write_bytes(b"text")
    with pytest.raises(WarmstartError, match="truncated or not a safetensors file"):
        load_weights(tmp_path / "d.safetensors")
