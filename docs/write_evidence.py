"""Write the table of the evidence from a run of its preset: `python -m docs.write_evidence runs/evidence`."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "evidence" / "README.md"
BEGIN, END = "<!-- written by docs/write_evidence.py -->\n", "<!-- until here -->\n"


def signed(value: float | None, digits: int = 2) -> str:
    """A number with its sign."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def written(summary: dict[str, Any]) -> str:
    """The table and what follows from it."""
    names = [each["name"] for each in summary["methods"]]
    lines = [f"| pair | {' | '.join(names)} | predicted |", "|---" * (len(names) + 2) + "|"]
    for pair in summary["pairs"]:
        found = [pair["methods"].get(name) for name in names]
        cells = [signed(None if each is None else each["difference"]["estimate"]) for each in found]
        predicted = (pair["prediction"] or {}).get("predicted")
        cells.append(signed(None if predicted is None else predicted["estimate"]))
        lines.append(f"| {pair['name']} | {' | '.join(cells)} |")
    told = summary["foresight"]
    r, right = told["correlation"], told["right"]
    lines += [
        "",
        f"Rank correlation between predicted and measured over {told['pairs']} pairs: "
        f"{signed(r['estimate'])} ({signed(r['low'])} to {signed(r['high'])}); "
        f"the sign is right in {right['estimate']:.0%} of {told['signs']} "
        f"({right['low']:.0%} to {right['high']:.0%}).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write."""
    run = Path(sys.argv[1])
    summary = json.loads((run / "summary.json").read_text())
    shutil.copy(run / "summary.json", PAGE.parent / "summary.json")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + written(summary) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
