"""The checkpoint that a study gives its warm starts, and the files that describe it."""

from pathlib import Path

from warmstart.agents.checkpoints.recurrent import refuse_recurrent
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.rsl_rl_files.onnx_names import onnx_beside
from warmstart.agents.settings.config import ALGORITHMS
from warmstart.core.bounds import SettingError, State
from warmstart.core.files import content_hash
from warmstart.core.plain import placed
from warmstart.core.trust import check_trusted
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.source import CHECKPOINTS, file_copy


def told_of(study: Study) -> State:
    """What a study says of a source of rsl_rl's, as ``load_checkpoint`` takes it."""
    return {"activation": study.source_activation, "onnx": study.source_onnx}


def given_source(study: Study, files: dict[str, Path]) -> State:
    """What trials say of the source that a study gives its warm starts, which the run keeps copies of."""
    names = ("source_observation_names", "source_action_names")
    said: State = {
        "observation_map": dict(study.observation_map),
        "action_map": dict(study.action_map),
        "source_task": study.source_task or "",
        "source_activation": study.source_activation or "",
        **{name: getattr(study, name) for name in names},
    }
    path = study.source_checkpoint
    if path is not None:
        loaded = placed(("source",), load_checkpoint, path, **told_of(study))
        placed(("source",), refuse_recurrent, loaded.algorithm)
        if loaded.algorithm not in ALGORITHMS:
            message = f"{path} holds an agent of {loaded.algorithm}, which isn't supported."
            raise SettingError(("source",), message)
        said["source"] = content_hash(path)[:16]
        files[f"{CHECKPOINTS}/{said['source']}"] = path
        named = loaded.observation_layout is not None or loaded.action_layout is not None
        if loaded.format == "rsl_rl" and named:
            onnx = onnx_beside(path) if study.source_onnx is None else Path(study.source_onnx).expanduser()
            assert onnx is not None  # nothing else names its dimensions
            said["source_onnx"] = content_hash(onnx)
            files[file_copy(said["source_onnx"], ".onnx")] = onnx
    if study.source_normalizer is not None:
        path = Path(study.source_normalizer)
        said["source_normalizer"] = placed(("source_normalizer",), check_trusted, path)
        files[file_copy(said["source_normalizer"], ".pkl")] = path
    return said
