"""Studies that ship with warmstart, studies in files, and the study of a run."""

from importlib import resources
from pathlib import Path

from warmstart.agents.settings.config import RETIRED
from warmstart.core.documents import Document, parse_yaml, read_yaml
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.tasks.modules import check_modules
from warmstart.experiments.study.study import Study

_PRESETS = "warmstart.experiments.presets"


def preset_names() -> tuple[str, ...]:
    """Names of the studies that ship with warmstart."""
    files = resources.files(_PRESETS).iterdir()
    return tuple(sorted(item.name.removesuffix(".yaml") for item in files if item.name.endswith(".yaml")))


def preset_comment(name: str) -> str:
    """Say what a preset asks: the comment at the top of its file, in one paragraph."""
    lines = resources.files(_PRESETS).joinpath(f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    return " ".join(line.lstrip("# ").strip() for line in head)


def study_document(name: str | Path) -> Document:
    """Read a preset by its name, a YAML file by its path, or a run directory's own study.

    Raises:
        WarmstartError: Neither a preset nor a file; not valid YAML; a task names a stranger's module.
    """
    path = Path(name).expanduser()
    if str(name) in preset_names():
        text = resources.files(_PRESETS).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        return parse_yaml(text, f"preset {name}")
    if path.is_dir() and (path / "study.yaml").is_file():
        return _without_retired(check_modules(read_yaml(path / "study.yaml")))
    if path.is_file():
        return check_modules(read_yaml(path))
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise WarmstartError(f"There is no study file {path}. Presets: {', '.join(preset_names())}.")
    raise unknown_name("preset", str(name), preset_names())


def _without_retired(document: Document) -> Document:
    """A run's own study without settings that were resolved into it and are gone since."""
    arms = document.data.get("arms") if isinstance(document.data, dict) else None
    for owner in (document.data, *(arms if isinstance(arms, list) else ())):
        for key in ("algorithm", "source_algorithm"):
            if isinstance(owner, dict) and isinstance(owner.get(key), dict):
                owner[key] = {name: value for name, value in owner[key].items() if name not in RETIRED}
    return document


def load_study(name: str | Path) -> Study:
    """Read and check a preset by its name, a YAML file by its path, or a run directory's own study.

    Raises:
        WarmstartError: A mistake, or a study over `pairs`, which is several.
    """
    document = study_document(name)
    if isinstance(document.data, dict) and "pairs" in document.data:
        raise WarmstartError(f"{document.source} is a study over pairs: `warmstart compare` runs it.")
    return Study.from_document(document)
