"""Files as rsl_rl's runners write them, of real modules that compute what rsl_rl's compute."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

LAYOUTS = ("1", "2.1", "2.3", "3", "4", "5")
OBSERVATIONS, ACTIONS = 5, 3


class EmpiricalNormalization(nn.Module):
    """Buffers and arithmetic of rsl_rl's, of every version: (x − mean) / (std + 0.01)."""

    def __init__(self, seen: torch.Tensor) -> None:
        super().__init__()
        var, mean = torch.var_mean(seen, dim=0, unbiased=False, keepdim=True)
        for name, value in (("_mean", mean), ("_var", var), ("_std", var.sqrt())):
            self.register_buffer(name, value)
        self.register_buffer("count", torch.tensor(len(seen), dtype=torch.long))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self._mean) / (self._std + 1e-2)


def mlp(*widths: int, activation: type[nn.Module] = nn.ELU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


class Trained:
    """An actor and a critic, and what their runner would save."""

    def __init__(
        self,
        layout: str,
        *,
        log: bool = False,
        critic_inputs: int = OBSERVATIONS,
        activation: type[nn.Module] = nn.ELU,
        normalised: bool = True,
        inputs: int = OBSERVATIONS,
        actions: int = ACTIONS,
        constant: bool = False,
    ) -> None:
        torch.manual_seed(0)
        critic_inputs = inputs if critic_inputs == OBSERVATIONS else critic_inputs
        seen = torch.randn(500, max(inputs, critic_inputs)) * 3 + 1
        if constant:
            seen[:, 0] = 2.0
        self.layout, self.log = layout, log
        self.actor = mlp(inputs, 16, 12, actions, activation=activation)
        self.critic = mlp(critic_inputs, 10, 1, activation=activation)
        self.std = torch.rand(actions) + 0.3
        normalised = normalised and layout != "1"
        self.normalizers: dict[str, nn.Module] = {
            "actor": EmpiricalNormalization(seen[:, :inputs]) if normalised else nn.Identity(),
            "critic": EmpiricalNormalization(seen[:, :critic_inputs]) if normalised else nn.Identity(),
        }

    def act(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.actor(self.normalizers["actor"](x))

    def value(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.critic(self.normalizers["critic"](x))

    def content(self) -> dict[str, Any]:
        """What the runner of its version gives to ``torch.save``."""
        std = {"log_std" if self.log else "std": nn.Parameter(self.std.log() if self.log else self.std)}
        statistics = {name: dict(module.state_dict()) for name, module in self.normalizers.items()}
        optimizer = torch.optim.Adam([*self.actor.parameters(), *self.critic.parameters()])
        after: dict[str, Any] = {"optimizer_state_dict": optimizer.state_dict(), "iter": 1500, "infos": None}
        if self.layout in ("4", "5"):
            after["infos"] = {"env_state": {"common_step_counter": 36_000}}
            if self.layout == "5":
                std = {f"distribution.{name}_param": value for name, value in std.items()}
            networks = {
                name: {
                    **_under("mlp", getattr(self, name).state_dict()),
                    **_under("obs_normalizer", statistics[name]),
                }
                for name in ("actor", "critic")
            }
            return {
                "actor_state_dict": {**std, **networks["actor"]},
                "critic_state_dict": networks["critic"],
                **after,
            }
        held = {
            **_under("actor", self.actor.state_dict()),
            **_under("critic", self.critic.state_dict()),
            **std,
        }
        if self.layout == "3":
            for name, values in statistics.items():
                held |= _under(f"{name}_obs_normalizer", values)
        elif statistics["actor"]:
            second = "critic" if self.layout == "2.1" else "privileged"
            after |= {"obs_norm_state_dict": statistics["actor"]}
            after |= {f"{second}_obs_norm_state_dict": statistics["critic"]}
        return {"model_state_dict": held, **after}

    def save(self, path: Path) -> Path:
        torch.save(self.content(), path)
        return path


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def onnx_model(texts: Mapping[str, str], before: bytes = b"\x08\x08\x12\x07pytorch") -> bytes:
    """An ONNX model with an empty graph and these metadata, byte by byte as protobuf has it."""
    graph = b"\x3a\x03\x12\x01g"  # field 7, a GraphProto of the name g
    entries = (_field(1, key.encode()) + _field(2, value.encode()) for key, value in texts.items())
    return before + graph + b"".join(_field(14, entry) for entry in entries)


def _field(number: int, content: bytes) -> bytes:
    size, left = b"", len(content)
    while left > 0x7F:
        size, left = size + bytes([left & 0x7F | 0x80]), left >> 7
    return bytes([number << 3 | 2]) + size + bytes([left]) + content
