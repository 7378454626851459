"""Which encoder is meant, as settings and as text. Imports no torch until a name is looked up."""

import json
import os
import re
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args

from warmstart.core.bounds import Before, Bounds, Count, Finite, Natural, State
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.grammar import Scanner, format_vector
from warmstart.core.plain import check, read

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS = get_args(Precision)
Triple = Annotated[
    tuple[Finite, Finite, Finite], Before(lambda v: v if isinstance(v, list | tuple) else [v] * 3)
]
"""A number for each colour channel, or one for all of them."""

_ARCHITECTURE = re.compile(r"[A-Za-z_][\w./-]*")
_OPTION = re.compile(r"[A-Za-z_]\w*")
_OPTIONS_FOLLOW = re.compile(r":[A-Za-z_]\w*\s*=")
_TEXT = re.compile(r'[^\s",]+')


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder: its network, weights, readout and history.

    The text form is ``NAME[:option=value,…]`` with the fields below as options, such as
    ``squeezenet1_1:weights=imagenet,features=128``; or the path of a file that ``Encoder.save`` wrote.

    Raises:
        WarmstartError: A name is unknown, or a number out of range.
    """

    architecture: str = ""
    """Name of a backbone; empty where ``file`` is given."""
    weights: str = "random"
    """``random``, the path of a file, checkpoint or SB3 zip, a name such as ``imagenet``, or a source such
    as ``torchvision:resnet18/IMAGENET1K_V1``, ``timm:MODEL`` and ``hf:REPOSITORY``."""
    tap: str = ""
    """Module whose output is used; empty for the architecture's usual one."""
    readout: str = "pca"
    """How a map of features becomes a vector."""
    features: Annotated[int, Bounds(1, 65_536)] = 64
    """Features of one frame, where the readout has a choice."""
    frames: Count = 2
    """Frames that an observation looks back on, the newest included."""
    difference: Finite = 5.0
    """Factor on the differences between frames."""
    fit_frames: Count = 960
    """Frames that the readout is fitted on."""
    seed: Natural = 0
    """Of random weights, projections and queries."""
    precision: Precision = "auto"
    """Of the convolutions: ``auto`` takes bfloat16 where the processor computes with it."""
    order: Literal["", "rgb", "bgr"] = ""
    """Order of the channels that the network is fed, ``rgb`` or ``bgr``; empty for the usual one."""
    scale: float | None = None
    """Largest value that the network is fed, 255 or 1, before mean and std; ``None`` for the usual one."""
    mean: Triple | None = None
    """Subtracted from the channels; ``None`` for the usual one."""
    std: Triple | None = None
    """Divides the channels; ``None`` for the usual one."""
    input_size: Annotated[int, Bounds(0, 4_096)] | None = None
    """Height and width that frames are resized to; ``None`` for the usual one, 0 to keep the frames'."""
    crop: Annotated[int, Bounds(0, 4_096)] | None = None
    """Height and width of the centre that is kept; ``None`` for the usual one, 0 to keep all."""
    download: bool = False
    """Whether weights may be fetched from the network."""
    file: str = ""
    """Path of a file that ``Encoder.save`` wrote; it decides everything but ``precision``."""

    def __post_init__(self) -> None:
        if bool(self.architecture) == bool(self.file):
            raise WarmstartError(
                "Expected the name of an architecture or the path of an encoder's file, found "
                f"{'both' if self.file else 'neither'}."
            )
        check(self)
        if self.file:
            given = {f.name for f in fields(self) if getattr(self, f.name) != f.default}
            for name in sorted(given - {"file", "precision"}):
                raise WarmstartError(
                    f"The encoder's file {self.file} decides its {name}: leave the option out; only its "
                    "precision can be chosen."
                )
            return
        if self.readout == "pca" and self.fit_frames <= self.features:
            raise WarmstartError(
                f"The readout pca is fitted on more frames than it has features: expected fit_frames above "
                f"{self.features}, found {self.fit_frames}."
            )
        if self.scale not in (None, 1, 255):
            raise WarmstartError(f"Expected scale=255 or scale=1, found {self.scale}.")
        self._check_names()

    def _check_names(self) -> None:
        from warmstart.agents.encoders.backbones import backbone_kind  # they import torch
        from warmstart.agents.encoders.readouts import READOUTS

        if self.readout not in READOUTS:
            raise unknown_name("readout", self.readout, READOUTS)
        kind = backbone_kind(self.architecture)
        if self.tap and kind.taps and self.tap not in kind.taps:
            raise unknown_name(f"tap of {self.architecture}", self.tap, kind.taps)
        if self.tap == kind.tap:
            object.__setattr__(self, "tap", "")  # so that one encoder has one text

    @classmethod
    def parse(cls, text: str) -> "EncoderConfig":
        """Read an encoder's text form, or the path of its file.

        Raises:
            WarmstartError: The text is not an encoder; the message points at the place.
        """
        scanner = Scanner(text, "encoder")
        values: State = {}
        path = _leading_file(scanner)
        if path is not None:
            values["file"] = path
        else:
            name = scanner.match(_ARCHITECTURE)
            if name is None:
                raise scanner.fail("an architecture such as squeezenet1_1, or the path of an encoder's file")
            values["architecture"] = name
        if scanner.accept(":"):
            values |= _read_options(scanner)
        scanner.skip_space()
        if not scanner.done:
            raise scanner.fail("',' or the end" if len(values) > 1 else "':' or the end")
        config: EncoderConfig = read(cls, values)
        return config

    def __str__(self) -> str:
        name = self.architecture
        if self.file:
            name = self.file if _is_bare_file(self.file) else json.dumps(self.file, ensure_ascii=False)
        options = ",".join(
            f"{field.name}={_format(getattr(self, field.name))}"
            for field in fields(self)
            if field.name not in ("architecture", "file") and getattr(self, field.name) != field.default
        )
        return name + (f":{options}" if options else "")


def _is_bare_file(path: str) -> bool:
    return (
        path.endswith(".safetensors")
        and path == path.strip()
        and '"' not in path
        and (_OPTIONS_FOLLOW.search(path) is None)
    )


def _leading_file(scanner: Scanner) -> str | None:
    """The path of an encoder's file before the options, if the text begins with one."""
    quoted = scanner.quoted()
    if quoted is not None:
        return quoted
    options = _OPTIONS_FOLLOW.search(scanner.text)
    end = len(scanner.text) if options is None else options.start()
    head = scanner.text[:end].strip()
    known = head.endswith(".safetensors")
    if not known and os.path.isfile(head):  # which takes any text
        from warmstart.agents.encoders.backbones import BACKBONES  # it imports torch

        known = head not in BACKBONES
    if known:
        scanner.position = end
    return head if known else None


def _read_options(scanner: Scanner) -> State:
    options: State = {}
    texts = {f.name: isinstance(f.default, str) for f in fields(EncoderConfig)}
    del texts["architecture"], texts["file"]
    while True:
        scanner.skip_space()
        start = scanner.position
        name = scanner.match(_OPTION)
        if name is None:
            raise scanner.fail("an option's name, as in features=128")
        if name not in texts:
            raise unknown_name("option of an encoder", name, texts)
        if name in options:
            raise scanner.fail(f"each option once ({name!r} was given before)", start)
        scanner.expect("=", f"'=' after the option {name!r}")
        options[name] = _read_text(scanner, name) if texts[name] else scanner.value()
        if not scanner.accept(","):
            return options


def _read_text(scanner: Scanner, name: str) -> str:
    quoted = scanner.quoted()
    found = scanner.match(_TEXT) if quoted is None else quoted
    if found is None:
        raise scanner.fail(f"the {name}")
    return found


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if _TEXT.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return format_vector(value)
