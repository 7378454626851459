"""A short, repeatable run over every target; `make fuzz` is the long one."""

from pathlib import Path
from random import Random

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install -e '.[dev]'")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing.mutators import CANARY, mutate
from tests.fuzzing.targets import TARGETS
from tests.fuzzing.watch import watch

NOT_REFUSED = ("claim", "training state", "robot's packets")
"""Targets that pass over what is damaged."""
EXAMPLES = 50
SLOW = {"SB3 zip": 30, "rsl_rl": 30, "whole run": 15, "run's study": 20, "checkpoint's tensors": 30}
"""Fewer examples where one takes long."""


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_was_done_to_it_ends_in_a_message(name: str, tmp_path: Path) -> None:
    target, became = TARGETS[name], set[str]()
    if CANARY.exists():
        CANARY.rmdir()
    with target.opened(tmp_path / "t") as (found, read):
        for content in found:
            outcome = watch(lambda content=content: read(content), target.expected, 30)
            became.add(outcome.kind)
        assert "accepted" in became, f"no sound input is read: {outcome}"

        @settings(
            max_examples=SLOW.get(name, EXAMPLES),
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.integers(0, 1 << 62))
        def run(number: int) -> None:
            content = mutate(Random(number), found, target.ways)
            outcome = watch(lambda: read(content), target.expected)
            became.add(outcome.kind)
            assert outcome.kind in ("accepted", "refused"), f"{outcome.why}\n{content[:500]!r}"

        run()
    assert "refused" in became or name in NOT_REFUSED, "nothing was refused"
