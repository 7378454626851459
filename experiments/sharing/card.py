"""A model card: what the hub reads of it, and the text for people."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import jinja2
from gymnasium import spaces

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import State
from warmstart.core.documents import dump_yaml
from warmstart.experiments.sharing.origin import Origin
from warmstart.experiments.sharing.privacy import cleaned
from warmstart.sim2real.deployment.runtime.contract import Contract, Signal

_LINE = 78
"""Characters that a signal's list of numbers has at most."""


@dataclass(frozen=True)
class Card:
    """What a card is made of."""

    checkpoint: Checkpoint
    """What is shared."""
    origin: Origin
    """What its trial recorded."""
    licence: Mapping[str, str]
    """The front matter's ``license``, and ``license_name`` for one of one's own."""
    reference: str
    """What a command calls it."""
    title: str
    """Its name."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Names of the ``curve`` and the ``film`` where they lie beside it."""
    contract: Contract | None = None
    """Of the exported policy beside it."""

    @property
    def reality(self) -> str:
        """Name of what it was evaluated in, in place of its task; empty for the task itself."""
        return "" if self.origin.config is None else str(self.origin.config.reality.get("name", ""))

    def front(self) -> State:
        """What the hub reads, in its own format: licence, tags, and the return under ``model-index``."""
        checkpoint, method = self.checkpoint, self.origin.config and self.origin.config.method.get("method")
        task = checkpoint.task
        tags = ["reinforcement-learning", checkpoint.algorithm, "warmstart", "gymnasium"]
        tags += [task_id(task)] if task else []
        tags += ["transfer-learning"] if method not in (None, "scratch") else []
        front: State = {
            **self.licence,
            "library_name": "warmstart",
            "pipeline_tag": "reinforcement-learning",
            "tags": tags,
        }
        evaluation = self.origin.evaluation(checkpoint)
        if evaluation is not None and task:
            reward = {
                "type": "mean_reward",
                "name": "mean_reward",
                "value": str(evaluation),
                "verified": False,
            }
            result = {
                "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
                "dataset": {
                    "type": task_id(task),
                    "name": f"{task} (reality {self.reality})" if self.reality else task,
                },
                "metrics": [reward],
            }
            front["model-index"] = [{"name": checkpoint.algorithm.upper(), "results": [result]}]
        return front

    def facts(self) -> dict[str, str]:
        """Rows of the card's first table."""
        checkpoint, config = self.checkpoint, self.origin.config
        learned = sum(value.numel() for value in checkpoint.policy_tensors.values())
        rows: dict[str, Any] = {
            "Task": code(checkpoint.task) if checkpoint.task else "unknown",
            "Algorithm": checkpoint.algorithm,
            "Trained for": f"{checkpoint.steps:,} steps",
            "Licence": self.licence.get("license_name") or self.licence["license"],
        }
        if config is not None:
            options = {k: v for k, v in config.method.items() if k != "method" and v is not None}
            given = "".join(f", {key} {code(value)}" for key, value in cleaned(options).items())
            rows["Method"] = f"{code(config.method.get('method', 'unknown'))}{given}"
            rows["Seed"] = config.seed
            differs = ", ".join(code(name) for name in config.world) or "nothing"
            rows["In training, the simulation differed in"] = differs
        if self.reality:
            rows["Evaluated in"] = f"the reality {code(self.reality)}, for which the task stands"
        if self.origin.pulled is not None:
            rows["Taken from"] = code(f"{self.origin.pulled['source']}@{self.origin.pulled['revision']}")
        if checkpoint.reward is not None:
            rows["Trained on"] = f"{code(checkpoint.reward['name'])} in place of the task's reward"
        rows["Observations standardised"] = (
            "no" if checkpoint.normalizer is None else "yes, by statistics inside"
        )
        rows["Parameters"] = f"{learned:,}"
        rows["Fingerprint"] = code(checkpoint.fingerprint()[:16])
        return {name: str(value) for name, value in rows.items()}

    def text(self) -> str:
        """The whole card: Markdown behind front matter."""
        checkpoint, transfer, config = self.checkpoint, self.origin.transfer, self.origin.config
        started = transfer is not None and transfer["source"] != "none"
        counts = (transfer or {}).get("counts", {})
        template = (
            resources.files("warmstart.experiments.templates").joinpath("card.md.j2").read_text("utf-8")
        )
        environment = jinja2.Environment(
            autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        made = environment.from_string(template).render(
            front=dump_yaml(self.front()),
            title=plain(self.title),
            algorithm=checkpoint.algorithm.upper(),
            task=checkpoint.task,
            reality=self.reality,
            quoted_task=shlex.quote(checkpoint.task or "TASK"),
            observes=space_in_words(checkpoint.observation_space),
            acts=space_in_words(checkpoint.action_space),
            facts=self.facts(),
            film=self.files.get("film"),
            curve=self.files.get("curve"),
            reference=shlex.quote(self.reference),
            on_hub=self.reference.startswith("hf:"),
            evaluation=self.origin.evaluation(checkpoint),
            transfer={"notes": [], **cleaned(transfer)} if started else None,
            counts=", ".join(f"{number} tensors {plain(what)}" for what, number in counts.items()),
            method=None if config is None else config.method.get("method"),
            contract=self.contract,
            signals=() if self.contract is None else (*self.contract.observations, self.contract.action),
            dimensions=dimensions,
            versions=checkpoint.versions,
            code=code,
            plain=plain,
        )
        return re.sub(r"\n{3,}", "\n\n", made).rstrip() + "\n"


def task_id(task: str) -> str:
    """The Gymnasium id in a task's text."""
    return re.split(r"[:@](?=[^:@]*=)|@", task)[0]


def space_in_words(space: spaces.Space[Any]) -> str:
    """What a space holds, in words."""
    if isinstance(space, spaces.Dict):
        return " and ".join(f"{code(name)}: {space_in_words(each)}" for name, each in space.spaces.items())
    if isinstance(space, spaces.Box) and space.dtype == "uint8":
        return f"frames of {' × '.join(map(str, space.shape))}"
    if isinstance(space, spaces.Box):
        size = spaces.flatdim(space)
        return f"{size} numbers" if size != 1 else "1 number"
    return plain(str(space))


def code(value: Any) -> str:
    """A text as code in Markdown, also in a table."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text else ""


def plain(text: Any) -> str:
    """A text that means nothing in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(str(text).split()))


def dimensions(signal: Signal) -> str:
    """Names and units of a signal's numbers, shortened."""
    named = [f"{each.name} ({each.unit})" if each.unit else each.name for each in signal.dimensions]
    if not named:
        return "height, width, channels" if signal.dtype == "uint8" else "unnamed"
    whole = ", ".join(named)
    if len(whole) > _LINE:
        whole = ", ".join(named[: max(1, _LINE // (1 + max(map(len, named))))]) + f", … ({len(named)} in all)"
    return plain(whole)
