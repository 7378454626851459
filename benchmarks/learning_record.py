"""Curves that are kept: what `learning.py` has measured, so that no machine need measure it again."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Evaluations = dict[str, list[float]]
"""``steps``, ``returns`` and ``seconds`` of training, a number for each evaluation."""


@dataclass
class Record:
    """Curves by contender and seed, in a JSON file with a line for each."""

    path: Path
    curves: dict[str, dict[str, Evaluations]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read a file; nothing where there is none."""
        return cls(path, json.loads(path.read_text()) if path.is_file() else {})

    def known(self, contender: str) -> dict[int, Evaluations]:
        """Curves of a contender by seed."""
        return {int(seed): curve for seed, curve in self.curves.get(contender, {}).items()}

    def add(self, contender: str, seed: int, curve: Evaluations) -> None:
        """Keep a curve, and write the file."""
        rounded = {key: [round(value, 1) for value in values] for key, values in curve.items()}
        self.curves.setdefault(contender, {})[str(seed)] = rounded
        lines = []
        for name in sorted(self.curves):
            seeds = sorted(self.curves[name].items(), key=lambda pair: int(pair[0]))
            listed = ",\n".join(f"  {json.dumps(seed)}: {json.dumps(held)}" for seed, held in seeds)
            lines.append(f" {json.dumps(name)}: {{\n{listed}\n }}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def contender(task: str, agent: str, steps: int, settings: Any) -> str:
    """Name of what a curve belongs to: another setting is another contender."""
    from warmstart.core.files import json_hash

    return f"{task} {agent} {steps} {json_hash(settings)[:8]}"
