"""Published weights: read without running anything, unwrapped, and matched with a network by name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from warmstart.agents.encoders.backbones import Backbone
from warmstart.agents.encoders.tensors import check_tensors, read_safetensors
from warmstart.agents.untrusted.torch_files import read_torch
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "r3m", "vip", "teacher", "student")
"""Keys that published checkpoints keep their tensors under, averaged weights first as in timm."""
PREFIXES = ("module.", "_orig_mod.", "convnet.", "backbone.", "network.", "visual.", "encoder.")
"""What training code puts before a network's own names."""
MAE_ONLY = ("decoder", "mask_token")
"""Beginnings of the names of a masked autoencoder's tensors that encode nothing."""
_ADVICE = "Load it where you trust it and save its tensors alone: torch.save(model.state_dict(), path)."
SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".bin")


def load_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a file of weights; nothing in it is run.

    Args:
        path: A safetensors file, or one that ``torch.save`` wrote: a ``state_dict``, possibly inside a
            training checkpoint.

    Returns:
        Tensors by name, in the file's shapes, without the names' `PREFIXES` and without a masked
        autoencoder's decoder.

    Raises:
        WarmstartError: The file is missing or damaged, holds Python objects besides tensors, or no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WarmstartError(f"There is no file of weights at {path}.")
    given = path.suffix == ".safetensors"
    tensors = unwrapped(read_safetensors(path)[0] if given else read_torch(path, str(path), _ADVICE), path)
    check_tensors(tensors, str(path))
    if any(name.endswith("mask_token") for name in tensors):
        tensors = {n: t for n, t in tensors.items() if not bare_name(n).startswith(MAE_ONLY)}
    return {bare: tensors[name] for name, bare in bare_names(tensors).items()}


def unwrapped(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, in its shapes, whatever it keeps them under.

    Raises:
        WarmstartError: There are none; the message lists what there is.
    """
    what = f"a {type(content).__name__}"
    for _ in WRAPPERS:  # one inside another, at most
        if not isinstance(content, Mapping):
            break
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        what = _some(map(str, content))
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if content is None and tensors:
            return tensors
    raise WarmstartError(
        f"Expected tensors in {path}, at the top or under one of {', '.join(WRAPPERS)}; found {what}."
    )


def bare_name(name: str) -> str:
    """A name without any of the `PREFIXES` it begins with."""
    found = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
    return name if found is None else bare_name(name[len(found) :])


def bare_names(names: Iterable[str]) -> dict[str, str]:
    """Each name without the `PREFIXES` that most names share, as long as they share one.

    R3M's image network is under ``module.convnet.`` beside a language model's tensors, so that a third of
    the names is enough; those without the prefix stay.
    """
    bare = {name: name for name in names}
    while True:
        counts = {prefix: sum(b.startswith(prefix) for b in bare.values()) for prefix in PREFIXES}
        prefix = max(PREFIXES, key=counts.__getitem__)
        shorter = {name: b.removeprefix(prefix) for name, b in bare.items()}
        few = counts[prefix] == 0 or 3 * counts[prefix] < len(bare)
        if few or len(set(shorter.values())) < len(bare):
            return bare
        bare = shorter


@dataclass(frozen=True)
class KeyTable:
    """How the tensors of a file and those of a network, up to its tap, fit together."""

    architecture: str
    """Name of the network."""
    tap: str
    """Its tap."""
    matched: tuple[tuple[str, str], ...]
    """Name in the network and name in the file of tensors that fit."""
    missing: tuple[str, ...]
    """Names in the network that the file lacks."""
    wrong_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    """Names that both have, with the network's shape and the file's."""
    unexpected: tuple[str, ...]
    """Names in the file that the network lacks."""
    beyond: tuple[str, ...]
    """Names in the file that belong to the network after its tap."""

    @property
    def summary(self) -> str:
        """One sentence."""
        expected = len(self.matched) + len(self.missing) + len(self.wrong_shape)
        where = f" up to {self.tap}" if self.tap else ""
        parts = [f"{len(self.matched)} of {expected} tensors of {self.architecture}{where} are in the file"]
        for what, names in (
            ("missing", self.missing),
            ("of another shape", self.wrong_shape),
            ("after the tap", self.beyond),
            ("not the network's", self.unexpected),
        ):
            parts += [f"{len(names)} {what}"] if names else []
        return ", ".join(parts) + "."

    def __str__(self) -> str:
        rows = [("matched", name, "" if name == source else source) for name, source in self.matched]
        rows += [("missing", name, "") for name in self.missing]
        rows += [
            ("wrong shape", name, f"expected {_shape(expected)}, found {_shape(found)}")
            for name, expected, found in self.wrong_shape
        ]
        rows += [("unexpected", name, "") for name in self.unexpected]
        first, second = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
        lines = [f"{a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in rows]
        return "\n".join([*lines, self.summary])

    def to_json(self) -> State:
        """Plain values."""
        return {**asdict(self), "summary": self.summary}


def match_keys(tensors: Mapping[str, torch.Tensor], network: Backbone) -> KeyTable:
    """Find a network's tensors among those of a file.

    Args:
        tensors: What `load_weights` read; those of other shapes than the network's don't fit.
        network: The network up to its tap.

    Returns:
        What fits and what doesn't; `check_match` turns too little into an error.
    """
    own = network.network.state_dict()
    ours, theirs = _common_names([*own, *network.beyond], list(tensors))
    matched, missing, wrong = [], [], []
    for name, value in own.items():
        source = theirs.get(ours[name])
        if source is None:
            if not name.endswith("num_batches_tracked"):  # counts batches, and old files lack it
                missing.append(name)
        elif tensors[source].shape != value.shape:
            wrong.append((name, tuple(value.shape), tuple(tensors[source].shape)))
        else:
            matched.append((name, source))
    known = {ours[name] for name in own}
    after = {ours[name] for name in network.beyond}
    return KeyTable(
        network.name,
        network.tap,
        tuple(matched),
        tuple(missing),
        tuple(wrong),
        tuple(source for bare, source in theirs.items() if bare not in known | after),
        tuple(source for bare, source in theirs.items() if bare in after),
    )


def _common_names(own: list[str], found: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Names for both sides, by which most tensors meet: as they are, or without prefixes.

    Returns:
        Common name by the network's, and the file's by common name.
    """
    forms: tuple[Callable[[list[str]], dict[str, str]], ...] = (
        lambda names: {name: name for name in names},
        bare_names,
        lambda names: {name: bare_name(name) for name in names},
    )
    sides = [(form(own), {common: name for name, common in form(found).items()}) for form in forms]
    return max(sides, key=lambda side: sum(common in side[1] for common in side[0].values()))


def check_match(table: KeyTable, network: Backbone, source: str) -> None:
    """Raise an error where the tensors of a file, the source, aren't those of a network.

    That more layers follow inside a part that both have (ResNet 34's weights in ResNet 18) counts as well:
    all of ResNet 18's names would be there.
    """
    wanted = len(table.matched) + len(table.missing) + len(table.wrong_shape)
    parts = {name.partition(".")[0] for name in bare_names(network.network.state_dict()).values()}
    # A name like "8.weight" tells nothing: it is in any nn.Sequential.
    deeper = [name for name in table.unexpected if name.count(".") > 1 and name.partition(".")[0] in parts]
    if 2 * len(table.matched) < wanted or table.wrong_shape or deeper:
        why = f"expected {_some(table.missing)}, found {_some(table.unexpected)}"
        if table.wrong_shape and 2 * len(table.matched) >= len(table.missing):
            name, expected, found = table.wrong_shape[0]
            why = f"expected {name} of shape {_shape(expected)}, found {_shape(found)}"
        elif deeper:
            why = f"it has {_some(deeper)} besides"
        raise WarmstartError(
            f"{source} holds weights of another architecture than {table.architecture}: {why}. "
            f"{table.summary}"
        )
    if table.missing:
        raise WarmstartError(f"{source} lacks {_some(table.missing)}. {table.summary}")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _some(names: Iterable[str], most: int = 4) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) or "nothing") + more
