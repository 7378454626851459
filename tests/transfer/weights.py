"""Weights of a small network."""

from pathlib import Path
from typing import Any

import torch

from warmstart.agents.encoders.backbones import BACKBONES, build_network

SIZE = (40, 40)
FRAMES = torch.randint(0, 255, (12, *SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
DRQ = build_network(BACKBONES["drq"], 5).state_dict()


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def assert_drq(found: dict[str, torch.Tensor]) -> None:
    expected = {name.removeprefix("convnet."): value for name, value in DRQ.items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
