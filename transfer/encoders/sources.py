"""Where published weights are found: folders, caches and, only when asked, the network.

torchvision, timm and huggingface_hub are imported when they are needed.
"""

import logging
import os
import re
import sys
import urllib.error
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.extra_backbones import MissingExtraError, import_vision
from warmstart.agents.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from warmstart.agents.hub.client import offline
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.files import file_hash
from warmstart.transfer.encoders.weights import SUFFIXES

FOLDER_VARIABLE = "WARMSTART_WEIGHTS"
"""Environment variable that names a folder of weight files."""
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
NON_COMMERCIAL = {"facebook/vc1": "CC BY-NC 4.0", "theaiinstitute/theia": "The AI Institute's licence"}
"""Licences that don't allow commercial use, by how a hub repository's name begins."""
log = logging.getLogger(__name__)


class MissingWeightsError(WarmstartError):
    """Weights aren't on this machine."""


@dataclass(frozen=True)
class NamedWeights:
    """Published weights that are known by name."""

    architecture: str
    """The network they are for."""
    source: str
    """Where they come from: a URL, ``hf:REPOSITORY`` or, for a file that users provide, its name alone."""
    file: str
    """Name of the file in the folder of ``WARMSTART_WEIGHTS``."""
    preprocessing: Preprocessing
    """What they expect."""
    licence: str
    """Licence of the weights."""
    outputs: int
    """Channels of the network's last map."""
    commercial: bool = True
    """Whether the licence allows commercial use."""
    sha256: str = ""
    """Of the known file; empty where it isn't known."""

    def at(self, path: Path) -> "FoundWeights":
        """These weights where they lie."""
        return FoundWeights(path, self.source, self.preprocessing, self.licence, self.commercial)


_IMAGENET_224 = Preprocessing(256, 224, mean=IMAGENET_MEAN, std=IMAGENET_STD)

NAMED: dict[str, NamedWeights] = {
    "imagenet": NamedWeights(
        "squeezenet1_1",
        "squeezenet1_1.safetensors",
        "squeezenet1_1.safetensors",
        Preprocessing(order="bgr", scale=1, mean=(104, 117, 123)),
        "BSD 2-Clause",
        512,
        sha256="0b2428a6e9515ec6b7a0c81d9027362002e45bf5665a0e78cc1b037c7a71ea51",
    ),
    "dinov2": NamedWeights(
        "timm/vit_small_patch14_dinov2",
        "hf:timm/vit_small_patch14_dinov2.lvd142m",
        "vit_small_patch14_dinov2.lvd142m.safetensors",
        Preprocessing(224, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        "Apache 2.0",
        384,
    ),
    "clip": NamedWeights(
        "timm/vit_base_patch32_clip_224",
        "hf:timm/vit_base_patch32_clip_224.openai",
        "vit_base_patch32_clip_224.openai.safetensors",
        Preprocessing(
            224, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)
        ),
        "MIT",
        768,
    ),
    "r3m": NamedWeights(
        "resnet18",
        "https://pytorch.s3.amazonaws.com/models/rl/r3m/r3m_18.pt",
        "r3m_18.pt",
        _IMAGENET_224,
        "MIT",
        512,
    ),
    "vip": NamedWeights(
        "torchvision/resnet50",
        "https://pytorch.s3.amazonaws.com/models/rl/vip/model.pt",
        "vip_50.pt",
        _IMAGENET_224,
        "CC BY-NC 4.0",
        2048,
        commercial=False,
    ),
    "vc1": NamedWeights(
        "timm/vit_base_patch16_224",
        "hf:facebook/vc1-base/pytorch_model.bin",
        "vc1_vitb.pth",
        _IMAGENET_224,
        "CC BY-NC 4.0",
        768,
        commercial=False,
    ),
    "mvp": NamedWeights(
        "mvp_vits16",
        "https://berkeley.box.com/shared/static/m93ynem558jo8vltlads5rcmnahgsyzr.pth",
        "mae_pretrain_hoi_vit_small.pth",
        _IMAGENET_224,
        "none stated",
        384,
        commercial=False,
    ),
}
"""Published weights by the name that ``weights=`` takes."""


@dataclass(frozen=True)
class FoundWeights:
    """Weights on this machine."""

    path: Path
    """A file, an SB3 zip or a checkpoint's directory."""
    source: str
    """Where they come from."""
    preprocessing: Preprocessing | None = None
    """What they expect; ``None`` for the architecture's usual one."""
    licence: str = "not known"
    """Their licence."""
    commercial: bool = True
    """Whether it allows commercial use, as far as is known."""


def find_weights(config: EncoderConfig) -> Path | None:
    """Where an encoder's weights lie on this machine; ``None`` where they are drawn at random.

    Raises:
        MissingWeightsError: They aren't here. Nothing is fetched unless ``config.download``.
        WarmstartError: They belong to another architecture, or the network can't be reached.
    """
    if config.file:
        path = Path(config.file).expanduser()
        if not path.is_file():
            raise MissingWeightsError(f"There is no encoder at {path}.")
        return path
    return None if config.weights == "random" else locate(config).path


def locate(config: EncoderConfig) -> FoundWeights:
    """Find the weights that an encoder names, and what is known of them; raises what `find_weights` does."""
    named = NAMED.get(config.weights)
    library, colon, rest = config.weights.partition(":")
    finders = {"hf": _from_hub, "timm": _from_timm, "torchvision": _from_torchvision}
    try:
        if named is not None:
            return named.at(_published(named, config))
        if colon and library in finders:
            return finders[library](rest, config.download)
    except MissingExtraError as error:
        raise MissingWeightsError(str(error)) from error
    path = _local(config.weights)
    sha256 = file_hash(path) if path.is_file() else ""
    for known in NAMED.values():
        if sha256 and (known.sha256, known.architecture) == (sha256, config.architecture):
            return known.at(path)
    return FoundWeights(path, path.name)


def _in_folder(file: str) -> Path | None:
    """A file in the folder of weight files that the environment names, if it is there."""
    folder = os.environ.get(FOLDER_VARIABLE)
    path = Path(folder).expanduser() / file if folder else None
    return path if path is not None and path.exists() else None


def _published(weights: NamedWeights, config: EncoderConfig) -> Path:
    if weights.architecture != config.architecture:
        raise WarmstartError(
            f"The weights {config.weights!r} are for {weights.architecture}, not for {config.architecture}: "
            f"write {weights.architecture}:weights={config.weights}."
        )
    path = _in_folder(weights.file)
    if path is not None:
        if weights.sha256 and file_hash(path) != weights.sha256:
            said = "%s is not the file that %r usually means; its input is taken to be the same."
            log.warning(said, path, config.weights)
        return path
    if weights.source.startswith("hf:"):
        return _from_hub(weights.source[3:], config.download).path
    if weights.source.startswith("https://"):
        return _from_url(weights.source, weights.file, config.download)
    raise MissingWeightsError(
        f"{weights.file} (SqueezeNet 1.1 trained on ImageNet) isn't here: {FOLDER_VARIABLE} names no folder "
        "with it. With pip install 'warmstart[vision]' torchvision's weights do the same: "
        "squeezenet1_1:weights=torchvision:squeezenet1_1/IMAGENET1K_V1,download=true."
    )


def _local(name: str) -> Path:
    """A file or directory by its path, or by its name in the folder of weights."""
    given = Path(name).expanduser()
    for path in (given, given.with_name(given.name + ".zip")):
        if path.exists():
            return path
    for suffix in ("", *SUFFIXES) if given.name == name else ():
        if (found := _in_folder(name + suffix)) is not None:
            return found
    if given.name == name and not given.suffix:
        raise unknown_name("weights", name, ["random", *NAMED])
    folder = os.environ.get(FOLDER_VARIABLE)
    looked = f" and in {Path(folder).expanduser()}" if folder and given.name == name else ""
    raise MissingWeightsError(
        f"There are no weights at {given}{looked}: expected a file of weights, an SB3 zip or a checkpoint's "
        f"directory. A file's name alone is looked up in the folder that {FOLDER_VARIABLE} names."
    )


def _from_hub(name: str, download: bool) -> FoundWeights:
    """A file of a repository on the Hugging Face hub: ``OWNER/REPOSITORY[/FILE]``."""
    hub = import_vision("huggingface_hub", f"hf:{name}")
    parts = name.split("/", 2)
    if len(parts) < 2:
        raise WarmstartError(f"Expected hf:OWNER/REPOSITORY or hf:OWNER/REPOSITORY/FILE, found hf:{name}.")
    repository, files = "/".join(parts[:2]), tuple(parts[2:]) or HUB_FILES
    fetch = download and not offline()
    failures: list[Exception] = []
    for file in files:
        try:
            path = Path(hub.hf_hub_download(repository, file, local_files_only=not fetch))
        except (OSError, ValueError) as error:  # what the hub's errors derive from
            failures.append(error)
            continue
        licence = next((text for start, text in NON_COMMERCIAL.items() if repository.startswith(start)), "")
        return FoundWeights(path, f"hf:{name}", None, licence or "see the repository", not licence)
    if fetch:
        raise WarmstartError(
            f"{' or '.join(files)} of hf:{repository} could not be fetched: {failures[0]} Check the "
            f"network and the name, or put the file on this machine and give its path."
        ) from failures[0]
    hint = "HF_HUB_OFFLINE is set" if offline() and download else "add download=true to fetch it"
    raise MissingWeightsError(f"hf:{repository} is not in the local cache of the hub: {hint}.")


def _from_timm(model: str, download: bool) -> FoundWeights:
    """The usual weights of a model of timm, ``MODEL[.TAG]``."""
    timm = import_vision("timm", f"timm:{model}")
    try:
        config = timm.get_pretrained_cfg(model, allow_unregistered=False)
    except RuntimeError as error:
        raise WarmstartError(f"timm has no model {model!r}: {error}.") from error
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        raise WarmstartError(f"timm has no weights on the hub for {model!r}.")
    if repository.endswith("/"):
        repository += model
    found = _from_hub(repository, download)
    size = int(config.input_size[-1])
    expected = Preprocessing(size, mean=tuple(config.mean), std=tuple(config.std))
    licence = str(getattr(config, "license", None) or found.licence)
    return replace(found, source=f"timm:{model}", preprocessing=expected, licence=licence)


def _from_torchvision(name: str, download: bool) -> FoundWeights:
    """Weights of torchvision, ``MODEL[/VERSION]``."""
    models = import_vision("torchvision.models", f"torchvision:{name}")
    model, _, version = name.partition("/")
    try:
        versions: Any = models.get_model_weights(model)
    except ValueError as error:
        raise WarmstartError(f"torchvision has no model {model!r}: {error}.") from error
    known = [*versions.__members__]
    if version and version not in known:
        raise unknown_name(f"version of torchvision's {model}", version, known)
    weights = versions[version or "DEFAULT"]
    transforms = weights.transforms()
    path = _from_url(weights.url, weights.url.rsplit("/", 1)[-1], download)
    size, crop = (int(np.ravel(v)[0]) for v in (transforms.resize_size, transforms.crop_size))
    expected = Preprocessing(size, crop, mean=tuple(transforms.mean), std=tuple(transforms.std))
    return FoundWeights(path, f"torchvision:{name}", expected, "see torchvision's documentation")


def _from_url(url: str, file: str, download: bool) -> Path:
    """A file in the folder of weights or in torch's cache, fetched if that is allowed.

    What is fetched has the sha256 whose beginning its name tells by torch's convention, NAME-HASH.pth.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file
    found = _in_folder(file) or cached
    if found.is_file():
        return found
    if not download or offline():
        advice = "HF_HUB_OFFLINE forbids" if download else "add download=true"
        raise MissingWeightsError(
            f"{file} is neither in torch's cache ({cached.parent}) nor in a folder that {FOLDER_VARIABLE} "
            f"names: {advice} to fetch it from {url}."
        )
    cached.parent.mkdir(parents=True, exist_ok=True)
    named = re.search(r"-([0-9a-f]{8,})\.pth$", file)
    sha256 = None if named is None else named[1]
    try:
        torch.hub.download_url_to_file(url, str(cached), hash_prefix=sha256, progress=sys.stderr.isatty())
    except (urllib.error.URLError, OSError, RuntimeError) as error:  # RuntimeError: another hash
        raise WarmstartError(
            f"{url} could not be fetched: {error}. Fetch it elsewhere and give its path."
        ) from error
    return cached
