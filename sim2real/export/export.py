"""Export: a checkpoint as a folder with one graph and its contract, compared with the policy in its task."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mujoco
from gymnasium import spaces

from warmstart.agents.checkpoints.checkpoint import Checkpoint, library_versions
from warmstart.agents.checkpoints.fitting import check_fit
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.observing.base import EncodedFrames
from warmstart.core.errors import WarmstartError
from warmstart.envs.actions import split_bins
from warmstart.envs.describe import describe
from warmstart.envs.frames.options import split_options
from warmstart.envs.robots.table import robots
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.deployment.copying import copy_runtime
from warmstart.sim2real.deployment.runtime.contract import (
    CONTRACT,
    GRAPH,
    METADATA_KEY,
    Contract,
    write_contract,
)
from warmstart.sim2real.export.fronts import BEGINS
from warmstart.sim2real.export.graph import Choices, Deployed, to_onnx
from warmstart.sim2real.export.parity import Comparison, Graph, compare

TOLERANCE = 1e-5
"""Largest difference from ``predict``, as a share of an action's range."""
OBSERVATIONS = 1_000
"""Observations that are compared at least, the trained policy acting."""
WRITTEN = {GRAPH, CONTRACT, "run.py", "runtime"}
"""What an exported folder holds."""
SEED = 20_000
"""Of the first episode."""


@dataclass(frozen=True)
class Exported:
    """A policy ready to be written."""

    model: Any
    """The graph, an ``onnx.ModelProto`` without metadata."""
    contract: Contract
    """What it takes and gives, and what was measured."""
    task: Task
    """Where it was compared."""
    reference: Policy
    """The trained policy, computing in full precision."""
    comparison: Comparison
    """Closed-loop episodes of the graph, beside the policy."""

    @property
    def graph(self) -> bytes:
        """The graph's bytes, with the contract in its metadata."""
        return with_metadata(self.model, self.contract)


def export_policy(
    checkpoint: Checkpoint,
    task: Task | str | None = None,
    *,
    trained: Mapping[str, Any] | None = None,
    episodes: int | None = None,
    seed: int = SEED,
) -> Exported:
    """Make the graph of a checkpoint's policy and compare it with ``predict`` in its task.

    Args:
        checkpoint: Any that acts.
        task: Where it is compared; by default where it was trained.
        trained: What is known of its training, for the contract.
        episodes: Closed-loop episodes; by default 8, or 2 where it sees images.
        seed: Of the first episode.

    Raises:
        WarmstartError: It doesn't say its task, needs what no robot can tell, has no graph, or the graph acts
            otherwise than ``predict``: names the largest difference.
    """
    task = Task.parse(task) if isinstance(task, str) else task or _own_task(checkpoint)
    check_fit(checkpoint, task)
    plain, bins = split_bins(task)
    told, raw = describe(plain), describe(task)
    choices = None
    if bins is not None:
        assert isinstance(told.action_space, spaces.Box)
        choices = Choices(told.action_space, bins, told.action_layout)
    checkpoint = _named(checkpoint, raw.observation_layout, told.action_layout)
    policy = Deployed(checkpoint, raw.observation_space, choices)
    model = to_onnx(policy)
    contract = Contract(
        algorithm=checkpoint.algorithm,
        observations=policy.front.signals,
        action=policy.action,
        rate=told.control_rate,
        states=policy.states,
        begins=BEGINS if policy.states else None,
        history=policy.front.history,
        task=str(plain),
        joints=_joints(plain),
        trained={"steps": checkpoint.steps, **(trained or {})},
        versions={**library_versions(), **_onnx_versions()},
        source_sha256=checkpoint.fingerprint(),
    )
    reference = _in_full_precision(checkpoint.policy())
    images = any(each.dtype == "uint8" for each in contract.observations)
    open_loop, closed = _compared(model, contract, reference, task, episodes or (2 if images else 8), seed)
    _check(open_loop.joined(closed), chosen=bins is not None or contract.action.dtype != "float32")
    parity = {
        "observations": open_loop.observations,
        "largest": open_loop.largest,
        "closed_loop_observations": closed.observations,
        "closed_loop_largest": closed.largest,
        "closed_loop_episodes": len(closed.returns),
        "closed_loop_return": float(closed.returns.mean()),
        "tolerance": TOLERANCE,
        "seed": seed,
    }
    statistics = open_loop.joined(closed).statistics
    told_return = (checkpoint.evaluation or {}).get("return", float(closed.returns.mean()))
    trained = {"return": told_return, **contract.trained}
    contract = replace(contract, parity=parity, statistics=statistics, trained=trained)
    return Exported(model, contract, task, reference, closed)


def write_export(exported: Exported, folder: Path) -> Path:
    """Write the folder, entirely or not at all: graph, contract, and what runs them without warmstart.

    Raises:
        WarmstartError: Something other than an exported policy lies there, or beside it; or the disk is full.
    """
    check_free(folder)
    staged = folder.parent / f".{folder.name}.new-{os.getpid()}"
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        (staged / GRAPH).write_bytes(exported.graph)
        write_contract(exported.contract, staged)
        copy_runtime(staged)
        shutil.rmtree(folder, ignore_errors=True)
        staged.rename(folder)
    except OSError as error:
        raise WarmstartError(f"{folder} could not be written: {error}.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def check_free(folder: Path) -> None:
    """See that an exported policy may be written here.

    Raises:
        WarmstartError: Something else lies there.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or not (folder / CONTRACT).is_file():
        raise WarmstartError(f"{folder} exists and is no exported policy; choose another path or remove it.")
    if others := sorted(each.name for each in folder.iterdir() if each.name not in WRITTEN):
        raise WarmstartError(
            f"{folder} holds {', '.join(others[:3])} beside an exported policy, which a new one "
            "would remove; choose another path."
        )


def with_metadata(model: Any, contract: Contract) -> bytes:
    """The bytes of a graph that carries its contract."""
    import onnx

    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    marked.producer_name, marked.doc_string = "warmstart", f"{contract.algorithm} policy of {contract.task}"
    onnx.helper.set_model_props(marked, {METADATA_KEY: json.dumps(contract.to_json(), allow_nan=False)})
    content: bytes = marked.SerializeToString()
    return content


def _named(checkpoint: Checkpoint, observations: Layout | None, actions: Layout) -> Checkpoint:
    """A checkpoint that doesn't name its dimensions, with the names of the task that it is exported for."""
    plain = checkpoint.vision is None and isinstance(checkpoint.observation_space, spaces.Box)
    if checkpoint.observation_layout is None and plain:
        checkpoint = replace(checkpoint, observation_layout=observations)
    if checkpoint.action_layout is None:
        checkpoint = replace(checkpoint, action_layout=actions)
    return checkpoint


def _own_task(checkpoint: Checkpoint) -> Task:
    if checkpoint.task is None:
        raise WarmstartError(
            f"{checkpoint.path or 'The checkpoint'} doesn't say its task, where the graph is compared with "
            "the policy: name it (--task)."
        )
    return Task.parse(checkpoint.task)


def _compared(
    model: Any, contract: Contract, policy: Policy, task: Task, episodes: int, seed: int
) -> tuple[Comparison, Comparison]:
    """With the policy acting over enough observations, and with the graph acting over whole episodes."""
    content = model.SerializeToString()
    with closing(make_vec(task, episodes, seed, n_threads=1)) as env:
        per_episode = -(-OBSERVATIONS // episodes)
        found: Comparison | None = None
        while found is None or found.observations < OBSERVATIONS:
            graph = Graph(content, contract, episodes)
            new = compare(graph, policy, env, seed, driven=False, steps=per_episode)
            found, seed = new if found is None else found.joined(new), seed + episodes
        return found, compare(Graph(content, contract, episodes), policy, env, seed)


def _check(found: Comparison, chosen: bool) -> None:
    if chosen:  # a tie may end otherwise
        wrong, what = found.differing > 1 / OBSERVATIONS, f"at {found.differing:.2%} of the observations"
    else:
        wrong, what = found.largest > TOLERANCE, f"by {found.largest:.2g} of an action's range"
    if wrong:
        raise WarmstartError(
            f"The graph acts otherwise than the policy: {what} (allowed: {TOLERANCE:g}, or one choice in "
            f"{OBSERVATIONS:,}). It isn't written."
        )


def _in_full_precision(policy: Policy) -> Policy:
    """The policy, its frozen encoder computing in float32 as the graph does."""
    seen = policy.vision
    if isinstance(seen, EncodedFrames) and seen.encoder.config.precision != "float32":
        seen.encoder.config = replace(seen.encoder.config, precision="float32")
    return policy


def _joints(task: Task) -> dict[str, float]:
    """Positions of the joints with one degree of freedom in the model's own pose, in rad or m."""
    robot = robots().get(task.id.removeprefix("warmstart/"))
    if robot is None:
        return {}
    model = robot.with_options(task.id, split_options(str(task), dict(task.options))[1]).model()
    single = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    return {
        model.joint(i).name: float(model.qpos0[model.jnt_qposadr[i]])
        for i in range(model.njnt)
        if int(model.jnt_type[i]) in single and model.joint(i).name
    }


def _onnx_versions() -> dict[str, str]:
    import onnx
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
