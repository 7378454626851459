"""stable-baselines3's zip files of any age, read without running anything that they name."""

import base64
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from warmstart.agents.checkpoints.architecture import POLICIES, check_size
from warmstart.agents.checkpoints.checkpoint import EXTRA, Checkpoint
from warmstart.agents.checkpoints.recurrent import RECURRENT
from warmstart.agents.encoders.tensors import MOST_BYTES, check_tensors
from warmstart.agents.sb3_files.classes import named_class
from warmstart.agents.sb3_files.policy import architecture
from warmstart.agents.sb3_files.spaces import space_of
from warmstart.agents.untrusted.pickles import read_pickle
from warmstart.agents.untrusted.torch_files import read_torch
from warmstart.agents.untrusted.zips import DAMAGE, open_zip
from warmstart.core.errors import WarmstartError
from warmstart.core.files import parse_json

LARGEST_DATA = 1 << 26
"""Most bytes of ``data``, unpacked."""
LARGEST_TENSORS = 1 << 33
"""Most bytes of a file of tensors, unpacked."""
_ADVICE = "Load it with stable-baselines3 where you trust it, and save it again with model.save."

SIGNATURES: dict[str, tuple[frozenset[str], str]] = {
    "RecurrentPPO": (frozenset({"n_epochs", "clip_range"}), "sb3_contrib.common.recurrent."),
    "MaskablePPO": (frozenset({"n_epochs", "clip_range"}), "sb3_contrib.common.maskable."),
    "TRPO": (frozenset({"line_search_max_iter"}), ""),
    "TQC": (frozenset({"top_quantiles_to_drop_per_net"}), ""),
    "CrossQ": (frozenset({"ent_coef", "policy_delay"}), ""),
    "QRDQN": (frozenset({"exploration_fraction"}), "sb3_contrib.qrdqn."),
    "DQN": (frozenset({"exploration_fraction"}), ""),
    "ARS": (frozenset({"n_delta"}), ""),
    "PPO": (frozenset({"n_epochs", "clip_range"}), ""),
    "SAC": (frozenset({"target_entropy", "ent_coef"}), ""),
    "TD3": (frozenset({"policy_delay"}), ""),
    "A2C": (frozenset({"gae_lambda", "n_steps"}), ""),
}
"""By what an algorithm's zips are known, the first that fits: fields of ``data`` and the policy's module."""


def read_sb3_zip(path: Path) -> Checkpoint:
    """Read a zip that ``save`` of PPO, SAC, TD3, DDPG, TQC, CrossQ or RecurrentPPO wrote.

    Tensors are read by torch's restricted loader, spaces and classes out of their pickles as data
    (`warmstart.agents.untrusted.pickles`). What can't be built again exactly is refused by its name.

    Raises:
        WarmstartError: It is damaged, not SB3's, of another algorithm, or of a policy of the user's own.
    """
    try:
        with open_zip(path, MOST_BYTES, what="a zip that stable-baselines3 wrote") as archive:
            return _read(path, archive)
    except WarmstartError as error:
        told = str(error)
        raise WarmstartError(told if told.startswith(str(path)) else f"{path}: {told}") from error


def _read(path: Path, archive: zipfile.ZipFile) -> Checkpoint:
    names = archive.namelist()
    if "data" not in names or "policy.pth" not in names:
        raise WarmstartError(_foreign(names))
    data = _data(_member(archive, "data", LARGEST_DATA))
    tensors = _tensors(archive, "policy.pth")
    policy = _named(data, "policy_class")
    algorithm = _algorithm(data, policy)
    variables = _tensors(archive, "pytorch_variables.pth") if "pytorch_variables.pth" in names else {}
    policy_kwargs, tensors, notes = architecture(algorithm, data, policy, tensors)
    check_size(policy_kwargs, tensors)
    tensors |= {EXTRA + name: value for name, value in variables.items()}
    stamp = "_stable_baselines3_version"
    version = _member(archive, stamp, 1000).decode(errors="replace").strip() if stamp in names else "unknown"
    return Checkpoint(
        algorithm=algorithm,
        tensors=tensors,
        observation_space=space_of(_held(data, "observation_space")),
        action_space=space_of(_held(data, "action_space")),
        policy_kwargs=policy_kwargs,
        steps=_count(data, "num_timesteps"),
        hyperparameters={
            name: value
            for name, value in data.items()
            if not name.startswith("_")
            and isinstance(value, bool | int | float | str)
            and not (isinstance(value, float) and not math.isfinite(value))
        },
        versions={"stable_baselines3": version},
        path=path,
        format="sb3",
        notes=notes,
    )


def _foreign(names: list[str]) -> str:
    """Say what a zip is that isn't a model of SB3's."""
    if any(name.endswith("/data.pkl") for name in names):
        return (
            "a file of torch.save, such as policy.save of SB3 or of imitation's behaviour cloning writes: it "
            "holds a policy and no model, nor a checkpoint of rsl_rl (model_state_dict, actor_state_dict). "
            "Load it with stable-baselines3 (ActorCriticPolicy.load), put its parameters into a model "
            "(model.policy.load_state_dict) and save that with model.save."
        )
    some = ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
    return f"truncated or not an SB3 model: expected data and policy.pth, found {some or 'nothing'}."


def _member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """Unpack a file.

    Raises:
        WarmstartError: It is larger than that.
    """
    size = archive.getinfo(name).file_size
    if size > largest:
        raise WarmstartError(f"{name} has {size:,} bytes, expected at most {largest:,}.")
    try:
        return archive.read(name)
    except DAMAGE as error:
        raise WarmstartError(f"{name} is damaged: {str(error) or type(error).__name__}.") from error


def _data(content: bytes) -> dict[str, Any]:
    """Read ``data``.

    Raises:
        WarmstartError: It is no JSON object.
    """
    try:
        data = parse_json(content.decode(), "data", constants=True)
    except UnicodeDecodeError as error:
        raise WarmstartError(f"data is no text: byte {error.start:,} isn't UTF-8.") from None
    if not isinstance(data, dict):
        raise WarmstartError(f"data is a {type(data).__name__}, expected an object.")
    return data


def _tensors(archive: zipfile.ZipFile, name: str) -> dict[str, torch.Tensor]:
    """Read a ``.pth`` file by torch's restricted loader.

    Raises:
        WarmstartError: It is damaged, or holds anything but tensors by name.
    """
    found = read_torch(_member(archive, name, LARGEST_TENSORS), name, _ADVICE)
    if found is None and name != "policy.pth":
        return {}
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WarmstartError(f"{name} holds something other than tensors by name.")
    return check_tensors({str(key): value.detach() for key, value in found.items()}, name)


def _held(data: Mapping[str, Any], name: str) -> Any:
    """What an entry of ``data`` holds: itself, or what its pickle says.

    Raises:
        WarmstartError: It is missing, or its pickle is damaged.
    """
    content = _pickled(data, name)
    if content is None:
        return data.get(name)
    try:
        return read_pickle(content)
    except WarmstartError as error:
        raise WarmstartError(f"{name}: {error}.") from error


def _pickled(data: Mapping[str, Any], name: str) -> bytes | None:
    entry = data.get(name)
    if not isinstance(entry, Mapping) or ":serialized:" not in entry:
        return None
    try:
        return base64.b64decode(str(entry[":serialized:"]), validate=False)
    except ValueError as error:
        raise WarmstartError(f"{name}: its pickle is not in base64 ({error}).") from error


def _named(data: Mapping[str, Any], name: str) -> str:
    content = _pickled(data, name)
    try:
        return "" if content is None else named_class(content)
    except WarmstartError as error:
        raise WarmstartError(f"{name}: {error}.") from error


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise WarmstartError(f"{name}: expected a whole number at least 0, found {value!r}.")
    return value


def _algorithm(data: Mapping[str, Any], policy: str) -> str:
    """Which algorithm wrote it, as a name in ``ALGORITHMS``.

    Raises:
        WarmstartError: It is of another one, which is named.
    """
    found = next(
        (
            name
            for name, (fields, module) in SIGNATURES.items()
            if fields <= data.keys() and policy.startswith(module)
        ),
        "",
    )
    algorithm = RECURRENT if found == "RecurrentPPO" else found.lower()
    if algorithm in POLICIES:
        return algorithm
    name = found or f"an unknown algorithm with the policy class {policy or 'unknown'}"
    raise WarmstartError(f"a model of {name}; expected PPO, SAC, TD3, DDPG, TQC, CrossQ or RecurrentPPO.")
