"""What is fuzzed: every loader and parser, with sound files to begin from and the ways to damage them."""

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzzing import deployed, seeds
from tests.fuzzing.formats import (
    edit_cells,
    edit_events,
    edit_metadata,
    edit_pickle,
    edit_safetensors,
    edit_zip,
)
from tests.fuzzing.mutators import BLIND, Mutator, edit_json, edit_text
from warmstart.agents.checkpoints.replay import read_replay
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import load_encoder
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.resuming.saving import load_training
from warmstart.agents.rsl_rl_files.onnx_names import names_for
from warmstart.agents.sb3_files.normalizer import read_trusted_normalizer
from warmstart.core.documents import parse_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash, parse_json
from warmstart.envs.simulation.models import load_model
from warmstart.envs.tasks.contexts import parse_context
from warmstart.envs.tasks.task import Task
from warmstart.experiments.foreign.evaluations import read_evaluations
from warmstart.experiments.foreign.events import read_events
from warmstart.experiments.foreign.monitors import read_monitors
from warmstart.experiments.pairs.pairs import load_pairs
from warmstart.experiments.records import schema
from warmstart.experiments.records.claims import holder
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.status import read_status
from warmstart.experiments.run.reading import find_checkpoints, load_run, shown_study
from warmstart.experiments.study.loading import load_study
from warmstart.experiments.trial.resuming import kept_states
from warmstart.experiments.trial.worlds import terms_of
from warmstart.sim2real.deployment.monitor import monitor
from warmstart.sim2real.deployment.runtime.contract import Contract, DeploymentError, read_contract
from warmstart.sim2real.deployment.runtime.udp import Wire
from warmstart.sim2real.reality import load_reality
from warmstart.sim2real.recordings.files import read_csv, read_lerobot, read_npz
from warmstart.transfer.encoders.weights import load_weights
from warmstart.transfer.replaying.run_logs import read_run_log

TASK = Task.parse("InvertedPendulum-v5")
Seeds = Callable[[Path], Sequence[bytes]]
"""Writes sound inputs into an empty folder, by the real writers, and gives their content."""


@dataclass(frozen=True)
class Target:
    """A loader or parser."""

    name: str
    """What `--target` and the table call it."""
    file: str
    """Name of the file that is damaged, in the folder that `seeds` filled; empty for a text."""
    seeds: Seeds
    """Sound inputs."""
    read: Callable[[Any], object]
    """Reads the file at a path, or the text."""
    ways: tuple[Mutator, ...]
    """How it is damaged."""
    names: str = ""
    """What a message must name; by default the file."""
    seal: Callable[[Path], None] | None = None
    """Writes hashes anew after a change, as a stranger would."""

    @contextmanager
    def opened(self, folder: Path) -> "Iterator[tuple[Sequence[bytes], Callable[[bytes], object]]]":
        """The seeds, and a function that reads an input."""
        folder.mkdir(parents=True)
        path = folder / self.file
        found = self.seeds(folder) or [path.read_bytes()]

        def read(content: bytes) -> object:
            if not self.file:
                return self.read(content.decode("utf-8", "surrogatepass" if _half(content) else "replace"))
            path.write_bytes(content)
            if self.seal is not None:
                self.seal(path)
            return self.read(path)

        try:
            yield found, read
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def expected(self) -> str:
        """What a message must name."""
        return self.names or Path(self.file).name.replace(".", r"\.")


def _half(content: bytes) -> bool:
    try:
        content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _act(path: Path) -> None:
    """Load a policy and act once."""
    checkpoint = load_checkpoint(path)
    space = checkpoint.observation_space
    policy = checkpoint.policy()
    if hasattr(space, "spaces") or np.prod(space.shape or ()) > 10_000:
        return
    policy.predict(np.zeros((1, *space.shape), space.dtype))


def _tasks(text: str) -> None:
    assert Task.parse(str(Task.parse(text))) == Task.parse(text), "a task doesn't read back equal"


def _contexts(text: str) -> None:
    found = parse_context(text)
    assert parse_context(",".join(map(str, found))) == found, "a context doesn't read back equal"


def _encoders(text: str) -> None:
    assert EncoderConfig.parse(str(EncoderConfig.parse(text))) == EncoderConfig.parse(text)


def _states(path: Path) -> None:
    told: list[str] = []
    read = list(kept_states(path.parent.parent, told.append))
    assert all(isinstance(state, dict) for state in read)
    assert read or told, "a training state wasn't looked at"
    for message in told:
        assert path.name[:12] in message, message


def _training(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that way why a resume isn't exact
        load_training(path.parent)


def _contract(path: Path) -> None:
    try:
        found = read_contract(path.parent)
    except DeploymentError as error:
        raise WarmstartError(str(error)) from None
    assert Contract.from_json(found.to_json(), "again") == found, "a contract doesn't read back equal"


def _monitored(path: Path) -> None:
    read_run_log(path)
    monitor(path)


def _described(text: str) -> None:
    try:
        found = Wire.read(text.encode("utf-8", "surrogatepass"), "The robot")
    except DeploymentError as error:
        raise WarmstartError(str(error)) from None
    assert found.rate > 0, "a rate that is none"


def _unpacked(path: Path) -> None:
    deployed.WIRE.unpack(path.read_bytes(), 0.0, {})
    deployed.WIRE.unpack_command(path.read_bytes())


def _part(kinds: schema.Fields) -> Callable[[Path], object]:
    return lambda path: schema.read_file(path, kinds, path.parent.parent.parent)


def _sound(found: Any) -> None:
    """See that what was read is finite where it must be."""
    for item in found.items:
        for name in ("time", "qpos", "ctrl"):
            assert np.isfinite(getattr(item, name)).all(), name


def _recorded(read: Callable[..., Any]) -> Callable[[Path], None]:
    return lambda path: _sound(read(path, seeds.model()).prepare(TASK))


def _whole(path: Path) -> None:
    load_run(path.parents[2])


_JSON: tuple[Mutator, ...] = (edit_json, edit_json, edit_json, edit_text, *BLIND[::2])
_TEXT: tuple[Mutator, ...] = (edit_text, edit_text, edit_text, *BLIND[::2])
_ZIP: tuple[Mutator, ...] = (edit_zip, edit_zip, edit_zip, edit_zip, *BLIND[::2])
_TENSORS: tuple[Mutator, ...] = (edit_safetensors, edit_safetensors, *BLIND[::2])
_IN_TRIAL = f"run/trials/{seeds.TRIAL}/"

ALL = (
    Target("task", "", seeds.tasks, _tasks, _TEXT, ".", None),
    Target("context", "", seeds.contexts, _contexts, _TEXT, "."),
    Target("encoder text", "", seeds.encoder_texts, _encoders, _TEXT, "."),
    Target("YAML", "", seeds.yamls, lambda text: parse_yaml(text, "a.yaml"), _TEXT, r"a\.yaml"),
    Target("JSON", "", seeds.jsons, lambda text: parse_json(text, "a.json"), _JSON, r"a\.json"),
    Target("study", "study.yaml", seeds.studies, load_study, _TEXT),
    Target("pairs", "pairs.yaml", seeds.pairs, load_pairs, _TEXT),
    Target("reality", "reality.yaml", seeds.realities, load_reality, _TEXT, seal=seeds.seal_reality),
    Target(
        "checkpoint's JSON",
        "c/checkpoint.json",
        seeds.metadata,
        lambda p: _act(p.parent),
        _JSON,
        "checkpoint.json|/c\\b",
        seeds.seal_checkpoint,
    ),
    Target(
        "checkpoint's tensors",
        "c/policy.safetensors",
        seeds.tensors,
        lambda p: _act(p.parent),
        _TENSORS,
        "policy.safetensors|/c\\b",
        seeds.seal_checkpoint,
    ),
    Target(
        "replay", "replay.safetensors", seeds.replay, lambda p: read_replay(p.parent, file_hash(p)), _TENSORS
    ),
    Target("SB3 zip", "model.zip", seeds.zips, _act, _ZIP),
    Target("VecNormalize", "v.pkl", seeds.normalizers, read_trusted_normalizer, (edit_pickle, *BLIND[::2])),
    Target("rsl_rl", "m.pt", seeds.rsl_rl, _act, _ZIP),
    Target("ONNX", "m.onnx", seeds.onnx, lambda p: names_for(p.with_name("m.pt"), p, 15, 2), BLIND),
    Target("weights, safetensors", "w.safetensors", seeds.safetensors_, load_weights, _TENSORS),
    Target("weights, torch", "w.pth", seeds.torch_files, load_weights, (*_ZIP, edit_pickle)),
    Target(
        "encoder", "e.safetensors", seeds.encoders, load_encoder, (edit_metadata, edit_metadata, *_TENSORS)
    ),
    Target(
        "training state",
        "training/000000000010-x.safetensors",
        seeds.states,
        _states,
        (edit_metadata, edit_metadata, *_TENSORS),
        ".",
        seeds.seal_state,
    ),
    Target(
        "save_training",
        "training/000000000010-x.safetensors",
        seeds.trainings,
        _training,
        (*[edit_metadata] * 9, *_TENSORS),
        "training",
        seeds.seal_state,
    ),
    Target(
        "contract",
        "policy/contract.json",
        deployed.contracts,
        _contract,
        _JSON,
        "policy",
        deployed.seal_contract,
    ),
    Target("run's log", "run.csv", deployed.run_logs, _monitored, (edit_cells, *_TEXT, edit_text)),
    Target("robot's description", "", deployed.wires, _described, _JSON, "robot"),
    Target("robot's packets", "packet", deployed.packets, _unpacked, BLIND),
    Target("recording, npz", "r.npz", seeds.npz, _recorded(read_npz), _ZIP, r"r\.npz|\br\b"),
    Target("recording, csv", "r.csv", seeds.csv, _recorded(read_csv), (edit_cells, *_TEXT), r"r\.csv|\br\b"),
    Target(
        "recording, Parquet", "r.parquet", seeds.parquet, _recorded(read_lerobot), BLIND, r"r\.parquet|\br\b"
    ),
    Target(
        "LeRobot's JSON",
        "set/meta/info.json",
        seeds.lerobot,
        lambda p: _sound(read_lerobot(p.parent.parent, seeds.model()).prepare(TASK)),
        _JSON,
        "info.json|/set|set",
    ),
    Target("evaluations.npz", "evaluations.npz", seeds.evaluations, read_evaluations, _ZIP),
    Target(
        "Monitor csv", "0.monitor.csv", seeds.monitors, lambda p: read_monitors([p]), (edit_cells, *_TEXT)
    ),
    Target(
        "TensorBoard events", seeds.EVENTS, seeds.events, read_events, (edit_events, edit_events, *BLIND[::2])
    ),
    Target("trial.json", _IN_TRIAL + "trial.json", seeds.of_run, lambda p: TrialConfig.read(p.parent), _JSON),
    Target(
        "records.jsonl",
        _IN_TRIAL + "records.jsonl",
        seeds.of_run,
        lambda p: schema.read_records(p, p.parent.parent.parent),
        _JSON,
    ),
    Target(
        "times.jsonl",
        _IN_TRIAL + "times.jsonl",
        seeds.of_run,
        lambda p: schema.read_times(p, p.parent.parent.parent),
        _JSON,
    ),
    Target("status.json", _IN_TRIAL + "status.json", seeds.of_run, lambda p: read_status(p.parent), _JSON),
    Target("gap.json", _IN_TRIAL + "gap.json", seeds.of_run, _part(schema.GAP), _JSON),
    Target("transfer.json", _IN_TRIAL + "transfer.json", seeds.of_run, _part(schema.TRANSFER), _JSON),
    Target(
        "curriculum.json",
        _IN_TRIAL + "curriculum.json",
        seeds.of_run,
        lambda p: terms_of(p.parent / "checkpoint"),
        _JSON,
        "curriculum.json|trial.json",
    ),
    Target("claim", _IN_TRIAL + "claim.lock", seeds.claims, lambda p: holder(p.parent), _JSON),
    Target("trials.json", "run/trials.json", seeds.of_run, lambda p: find_checkpoints(p.parent), _JSON),
    Target(
        "run's study",
        "run/study.yaml",
        seeds.of_run,
        lambda p: (shown_study(p.parent), load_study(p.parent)),
        _TEXT,
    ),
    Target("whole run", _IN_TRIAL + "records.jsonl", seeds.one_trial, _whole, _JSON),
    Target("MuJoCo model", "m.xml", seeds.models, load_model, _TEXT),
)
TARGETS = {target.name: target for target in ALL}
assert len(TARGETS) == len(ALL)
