"""stable-baselines3's zip files: read without unpickling, and written so that plain SB3 opens them."""

import base64
import io
import json
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from warmstart.agents.checkpoints.architecture import (
    POLICIES,
    SB3_ALGORITHMS,
    kwargs_from_json,
    kwargs_to_json,
    policy_class,
)
from warmstart.agents.checkpoints.checkpoint import EXTRA, Checkpoint
from warmstart.agents.checkpoints.normalization import FastVecNormalize, NormalizerState, read, write
from warmstart.agents.checkpoints.policy import load_tensors
from warmstart.agents.checkpoints.spaces import space_from_json
from warmstart.core.bounds import Settings, State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import replace_file

SIGNATURES = {
    "ppo": {"n_epochs", "clip_range"},
    "sac": {"target_entropy", "ent_coef"},
    "td3": {"policy_delay"},
}
"""Fields of a zip's ``data`` by which its algorithm is known."""


BUILTINS = ("dict", "list", "tuple", "set", "bytearray", "bytes", "slice", "object")
NORMALIZER_GLOBALS: dict[str, tuple[str, ...]] = {
    "builtins": BUILTINS,
    "__builtin__": BUILTINS,
    "collections": ("OrderedDict",),
    "copyreg": ("_reconstructor",),
    "copy_reg": ("_reconstructor",),
    "_codecs": ("encode",),
    "numpy": ("dtype", "ndarray"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy.random._pcg64": ("PCG64",),
    "numpy.random._pickle": ("__bit_generator_ctor", "__generator_ctor"),
    "numpy.random.bit_generator": ("SeedSequence", "__pyx_unpickle_SeedSequence"),
    "gymnasium.spaces.box": ("Box",),
    "gymnasium.spaces.dict": ("Dict",),
    "gymnasium.spaces.discrete": ("Discrete",),
    "gymnasium.spaces.multi_binary": ("MultiBinary",),
    "gymnasium.spaces.multi_discrete": ("MultiDiscrete",),
    "stable_baselines3.common.running_mean_std": ("RunningMeanStd",),
    "stable_baselines3.common.vec_env.vec_normalize": ("VecNormalize",),
    "warmstart.agents.normalization": ("FastVecNormalize",),
    "warmstart.agents.checkpoints.normalization": ("FastVecNormalize",),
}
"""Names by module that a ``VecNormalize`` refers to; old modules of NumPy, Python and this package too."""


def read_sb3_zip(path: Path) -> Checkpoint:
    """Read a zip that SB3's ``PPO``, ``SAC`` or ``TD3.save`` wrote, without unpickling anything.

    Tensors are read by torch's restricted loader; of ``data`` only what is plain JSON or a plain
    description beside a pickle is used. Spaces come from these descriptions.

    Raises:
        WarmstartError: If it is truncated, not SB3's, of another algorithm, or can't be read without
        unpickling.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "data" not in names or "policy.pth" not in names:
                raise WarmstartError(
                    f"{path} is truncated or not an SB3 model: expected data and policy.pth, found "
                    f"{_some(names)}."
                )
            data = json.loads(archive.read("data"))
            tensors = dict(load_tensor_file(archive.read("policy.pth")))
            extras = "pytorch_variables.pth"
            variables = load_tensor_file(archive.read(extras)) if extras in names else None
            stamp = "_stable_baselines3_version"
            saved_with = archive.read(stamp).decode().strip() if stamp in names else "unknown"
    except (zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError, EOFError, OSError) as error:
        raise WarmstartError(
            f"{path} is truncated or not a zip that stable-baselines3 wrote: {error}."
        ) from error
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise WarmstartError(
            f"{path} holds tensors that can't be read without unpickling: {error}."
        ) from error
    for name, value in (variables or {}).items():
        if isinstance(value, torch.Tensor):
            tensors[EXTRA + name] = value
    try:
        algorithm = zip_algorithm(data)
        observation_space, action_space = (
            described_space(data.get(name)) for name in ("observation_space", "action_space")
        )
        policy_kwargs = described_policy_kwargs(algorithm, data)
    except WarmstartError as error:
        raise WarmstartError(f"{path}: {error}") from None
    return Checkpoint(
        algorithm=algorithm,
        tensors={name: value.detach() for name, value in tensors.items()},
        observation_space=observation_space,
        action_space=action_space,
        policy_kwargs=policy_kwargs,
        steps=int(data.get("num_timesteps", 0)),
        hyperparameters={
            k: v for k, v in data.items() if k[0] != "_" and isinstance(v, bool | int | float | str)
        },
        versions={"stable_baselines3": saved_with},
        path=path,
        format="sb3",
    )


def _some(names: list[str], most: int = 5) -> str:
    """The first few names, and how many there are."""
    if not names:
        return "nothing"
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


def load_tensor_file(content: bytes) -> Any:
    """Load a ``.pth`` with torch's restricted loader."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def zip_algorithm(data: Settings) -> str:
    """Which algorithm wrote a zip's ``data``."""
    for name, fields in SIGNATURES.items():
        if fields <= set(data) and not {"top_quantiles_to_drop_per_net", "line_search_max_iter"} & set(data):
            return name
    raise WarmstartError(
        "of an algorithm other than PPO, SAC and TD3 (DQN, A2C and the like are not supported)."
    )


def described_space(described: Any) -> spaces.Space[Any]:
    """A space from the plain description that SB3 writes beside its pickle.

    Raises:
        WarmstartError: There is no description, of another kind, or it is shortened where it matters.
    """
    if not isinstance(described, dict):
        raise WarmstartError("no observation or action space is described.")
    kind = re.sub(r".*\.(\w+)'>", r"\1", str(described.get(":type:", "")))
    if kind not in DESCRIBED:
        raise WarmstartError(f"a space of type {kind!r}; expected Box, Discrete or a flat Dict of these.")
    return space_from_json({"type": kind, **DESCRIBED[kind](described)})


def described_box(described: Settings) -> State:
    """A Box from the prints of its parts."""
    shape, dtype = json.loads(str(described["_shape"])), str(described["dtype"])
    bounds = {
        name: bound(str(described[name]), str(described.get(f"{name}_repr")), math.prod(shape))
        for name in ("low", "high")
    }
    return {"shape": shape, "dtype": dtype, **bounds}


def described_members(described: Settings) -> State:
    """The members of a flat Dict from its print: ``{'a': Box(-1.0, 1.0, (3,), float32), …}``."""
    text = str(described["spaces"])
    pattern = (
        r"'([^']+)': (?:Box\((.+?), \(([\d, ]*)\), (\w+)\)|Discrete\((\d+)(?:, start=(-?\d+))?\))(?=, '|\}$)"
    )
    out: State = {}
    for key, bounds, shape_text, dtype, n, start in re.findall(pattern, text, re.DOTALL):
        if n:
            out[key] = {"type": "Discrete", "n": int(n), "start": int(start or 0)}
            continue
        shape = [int(size) for size in re.findall(r"\d+", shape_text)]
        parts = re.findall(r"\[.*?\]|[^\s,\[\]]+", bounds, re.DOTALL)
        low, high = (bound(part, "", math.prod(shape)) for part in parts)
        out[key] = {"type": "Box", "shape": shape, "dtype": dtype, "low": low, "high": high}
    if len(out) != len(re.findall(r"'[^']+': \w+\(", text)):
        raise WarmstartError(f"the Dict space {text} can't be read without unpickling it.")
    return {"spaces": out}


def bound(text: str, short: str, size: int) -> float | list[float]:
    """A Box's bound of so many numbers from NumPy's print of it: one number where all are the same.

    Where the print is shortened by dots, it is read from its one-number form, or it is the number that is
    shown where all that are shown are the same.
    """
    shown = numbers(text)
    for found in ([] if "..." in text else shown, numbers(short), shown[:1] if len(set(shown)) == 1 else []):
        if len(found) == 1:
            return found[0]
        if len(found) == size:
            return found
    raise WarmstartError(f"the bounds {text} of a space can't be read without unpickling them.")


def numbers(text: str) -> list[float]:
    """The numbers in a text, among them ``inf``."""
    return [float(n) for n in re.findall(r"-?inf|-?\d+\.?\d*(?:e[+-]?\d+)?", text)]


DESCRIBED: dict[str, Callable[[Settings], State]] = {
    "Box": described_box,
    "Discrete": lambda d: {"n": int(d["n"]), "start": int(d.get("start", 0))},
    "MultiDiscrete": lambda d: {"nvec": [int(n) for n in numbers(str(d["nvec"]))]},
    "MultiBinary": lambda d: {"n": [int(d["n"])]},
    "Dict": described_members,
}
"""How a zip describes each kind of space: from its description to the values that `space_from_json` takes."""


def described_policy_kwargs(algorithm: str, data: Settings) -> State:
    """Architecture from ``policy_kwargs``, plain or described beside its pickle."""
    described = data.get("policy_kwargs") or {}
    out = kwargs_to_json({k: v for k, v in described.items() if k not in (":type:", ":serialized:")})
    name = described_class(str(data.get("policy_class", {}).get(":serialized:", "")))
    if name in POLICIES[algorithm]:
        out["policy_class"] = name
    if out.get("use_sde") is False:
        del out["use_sde"]
    if algorithm == "ppo" and data.get("use_sde"):
        out["use_sde"] = True
    return out


def described_class(serialized: str) -> str:
    """Name of the class that a pickle refers to, found in its bytes without executing them."""
    try:
        strings = [
            arg for _, arg, _ in pickletools.genops(base64.b64decode(serialized)) if isinstance(arg, str)
        ]
    except ValueError:
        return ""
    return strings[-1].split()[-1] if strings else ""


def write_sb3_zip(checkpoint: Checkpoint, path: str | Path) -> Path:
    """Write a zip that plain ``PPO.load``, ``SAC.load`` or ``TD3.load`` opens, with fresh optimizers.

    Where the checkpoint has a normaliser, SB3's ``VecNormalize.load`` opens ``NAME.vecnormalize.pkl``
    beside it.

    Args:
        checkpoint: What to write.
        path: The zip; ``.zip`` is appended where it is missing.

    Returns:
        The zip's path.
    """
    target = Path(path)
    target = target if target.suffix == ".zip" else target.with_name(target.name + ".zip")
    model = build_model(checkpoint)
    buffer = io.BytesIO()
    model.save(buffer)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if checkpoint.normalizer is not None:
            normalizer = sb3_normalizer(checkpoint, checkpoint.normalizer)
            replace_file(target.with_name(f"{target.stem}.vecnormalize.pkl"), pickle.dumps(normalizer))
        replace_file(target, buffer.getvalue())
    except OSError as error:
        raise WarmstartError(f"{target} could not be written: {error}.") from error
    return target


def build_model(checkpoint: Checkpoint) -> BaseAlgorithm:
    """A plain SB3 model of a checkpoint, without an environment."""
    cls: Any = SB3_ALGORITHMS[checkpoint.algorithm]
    kwargs = kwargs_from_json(checkpoint.policy_kwargs)
    policy = policy_class(checkpoint.algorithm, checkpoint.observation_space, checkpoint.policy_kwargs)
    use_sde = bool(kwargs.get("use_sde", False))
    if checkpoint.algorithm == "ppo":
        kwargs.pop("use_sde", None)
    model = cls(policy, env=None, device="cpu", policy_kwargs=kwargs, _init_setup_model=False)
    settable = {k: v for k, v in checkpoint.hyperparameters.items() if k in vars(model)}
    vars(model).update(settable | {"use_sde": use_sde, "n_envs": 1, "num_timesteps": checkpoint.steps})
    model.observation_space, model.action_space = checkpoint.observation_space, checkpoint.action_space
    buffer_size = None
    if checkpoint.algorithm != "ppo":
        buffer_size, model.buffer_size = model.buffer_size, 1
    if checkpoint.algorithm == "sac" and model.target_entropy == "auto":
        model.target_entropy = -float(np.prod(checkpoint.action_space.shape or ()))
    with torch.random.fork_rng(devices=[]):
        model._setup_model()
    if buffer_size is not None:
        model.buffer_size = buffer_size
    load_tensors(model.policy, checkpoint.policy_tensors)
    for extra in ("log_ent_coef", "ent_coef_tensor"):
        if EXTRA + extra in checkpoint.tensors and getattr(model, extra, None) is not None:
            getattr(model, extra).data.copy_(checkpoint.tensors[EXTRA + extra])
    return model  # type: ignore[no-any-return]


def sb3_normalizer(checkpoint: Checkpoint, state: NormalizerState) -> VecNormalize:
    """A ``VecNormalize`` as SB3 pickles it, around an environment that only has spaces."""
    env: gymnasium.Env[Any, Any] = gymnasium.Env()
    env.observation_space, env.action_space = checkpoint.observation_space, checkpoint.action_space
    wrapper = VecNormalize(
        DummyVecEnv([lambda: env]),
        training=False,
        norm_obs=state.normalize_obs,
        norm_reward=state.normalize_reward,
        norm_obs_keys=list(state.mean) if isinstance(state.mean, dict) else None,
    )
    write(wrapper, state)
    return wrapper


class NormalizerUnpickler(pickle.Unpickler):
    """Finds only what a ``VecNormalize`` consists of, also in a file that is trusted."""

    def find_class(self, module: str, name: str) -> Any:
        """Look a class up, unless it has no business in a ``VecNormalize``."""
        if name not in NORMALIZER_GLOBALS.get(module, ()):
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        if module == "warmstart.agents.normalization":
            return FastVecNormalize
        return super().find_class(module, name)


def read_trusted_normalizer(path: Path) -> NormalizerState:
    """Read a file that SB3's ``VecNormalize.save`` wrote. It is a pickle: only for files the user trusts.

    Raises:
        WarmstartError: If it is missing, damaged, or not a ``VecNormalize``.
    """
    try:
        with path.open("rb") as file:
            wrapper = NormalizerUnpickler(file).load()
    except FileNotFoundError:
        raise WarmstartError(f"There is no VecNormalize file at {path}.") from None
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        ImportError,
        TypeError,
        ValueError,
        IndexError,
    ) as error:
        raise WarmstartError(
            f"{path} is not a VecNormalize that stable-baselines3 saved: {error}."
        ) from error
    if not isinstance(wrapper, VecNormalize):
        raise WarmstartError(f"{path} holds a {type(wrapper).__name__}, expected SB3's VecNormalize.")
    state = read(wrapper)
    assert state is not None
    return state
