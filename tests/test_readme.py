"""The five lines of the README, and the code of the documents, run."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from warmstart.experiments.pairs.pairs import load_pairs
from warmstart.experiments.run.run import plan
from warmstart.transfer.table import METHODS

NOT_CROSSQ = ("ppo", "sac", "td3", "tqc")
ROOT = Path(__file__).parents[1]


def _blocks(path):
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), flags=re.S)


def test_the_five_lines_of_the_readme(tmp_path, monkeypatch):
    lines, _ = _blocks("README.md")
    assert len(lines.strip().splitlines()) == 5
    import stable_baselines3 as sb3

    import warmstart

    source_env = warmstart.as_sb3(warmstart.make_vec("Hopper-v5", n_envs=4, seed=1))
    source = sb3.PPO(
        "MlpPolicy", sb3.common.vec_env.VecNormalize(source_env), n_steps=64, batch_size=64, seed=1
    ).learn(256)
    monkeypatch.chdir(tmp_path)
    warmstart.save_checkpoint(source, "hopper", task="Hopper-v5", steps=256)
    names = {}
    short = lines.replace("100_000", "2_048").replace(
        'method="fine_tune"', 'method="fine_tune", critic_fit_steps=2_048'
    )
    exec(compile(short, "README.md", "exec"), names)
    assert names["report"].copied > 0
    assert names["model"].num_timesteps >= 4_096
    assert "copied" in str(names["report"])


def test_the_training_of_the_readme_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    _, lines = _blocks("README.md")
    assert len(lines.strip().splitlines()) == 5
    monkeypatch.chdir(tmp_path)
    short = lines.replace("10_000", "150")
    parts, whole = {}, {}
    exec(compile(short, "README.md", "exec"), parts)
    uninterrupted = "\n".join(line for line in short.splitlines() if "_training" not in line)
    exec(compile(uninterrupted, "README.md", "exec"), whole)
    ours, theirs = (names["model"].policy.state_dict() for names in (parts, whole))
    assert parts["model"].num_timesteps == 300
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_the_own_task_of_the_documents_runs(tmp_path):
    (code,) = _blocks("docs/own_task.md")
    code += (
        "\nimport warmstart\nenv = warmstart.make_vec('example/Crane-v0:goal=0.5@gravity=x0.5', 3, seed=0)\n"
    )
    code += "print(env.reset()[0].shape)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "(3, 4)" in done.stdout


def test_the_own_method_of_the_documents_trains_in_a_study(tmp_path):
    (code,) = _blocks("docs/own_method.md")
    (study,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/own_method.md").read_text(), flags=re.S)
    (tmp_path / "regenerative.py").write_text(code)
    short = re.sub(r"65_536", "4_096", study).replace("seeds: 6", "seeds: 1")
    short = short.replace("strength: 0.01", "strength: 0.01, critic_fit_steps: 512")
    (tmp_path / "regenerative.yaml").write_text(
        short.replace("arms: [scratch, fine_tune,", "arms: [scratch,")
    )
    command = [
        sys.executable,
        "-m",
        "warmstart",
        "compare",
        "regenerative.yaml",
        "--plugin",
        "regenerative.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    records = [p.read_text() for p in tmp_path.glob("runs/regenerative/trials/*/records.jsonl")]
    assert any("regenerative" in text for text in records), "the loss term was never logged"


def test_the_documented_methods_are_those_that_there_are(tmp_path):
    text = (ROOT / "docs/methods.md").read_text()
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    rows = [[cell.strip().strip("`") for cell in line] for line in lines]
    assert [row[0] for row in rows] == list(METHODS)
    names = {"SAC, TD3, TQC, CrossQ": ("sac", "td3", "tqc", "crossq"), "PPO, SAC, TD3, TQC": NOT_CROSSQ}
    for name, title, paper, algorithms in rows:
        method = METHODS[name]
        assert title == method.title
        assert paper == (f"[{method.paper}](https://arxiv.org/abs/{method.paper})" if method.paper else "")
        assert set(method.algorithms) == set(names.get(algorithms, (*NOT_CROSSQ, "crossq")))
    (served,) = re.findall(r"^\*\*Unsupervised.*?Served by (.*?)\.$", text, flags=re.S | re.M)
    assert re.findall(r"`(\w+)`", served) == [n for n, m in METHODS.items() if "unsupervised" in m.serves]
    (study,) = [block for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.S) if "pairs:" in block]
    (tmp_path / "pairs.yaml").write_text(study)
    pairs = load_pairs(tmp_path / "pairs.yaml")
    assert pairs is not None
    assert len([plan(study) for study in pairs.studies]) == 2


@pytest.mark.parametrize(
    "path", sorted(p.relative_to(ROOT) for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
)
def test_links_lead_somewhere(path):
    text = (ROOT / path).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / path).parent / target).exists(), f"{path} links to {target}"


@pytest.mark.parametrize(
    "block",
    re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/sim2real.md").read_text(), flags=re.S),
    ids=lambda block: block.strip().splitlines()[0][:30],
)
def test_the_settings_of_the_documents_are_ones(block, tmp_path):
    """Studies are planned; worlds act on a Hopper; a reality is sealed."""
    from warmstart.core.documents import parse_yaml
    from warmstart.envs.tasks.task import Task
    from warmstart.experiments.study.plan import make_plan
    from warmstart.experiments.study.study import Study
    from warmstart.sim2real.reality import seal_reality
    from warmstart.sim2real.world import check_world, resolved
    from warmstart.sim2real.world_config import WorldConfig

    data = parse_yaml(block, "docs").data
    if "arms" in data:
        block = re.sub(r"^source: runs/.*", "source: HalfCheetah-v5\nsource_steps: 20_480", block, flags=re.M)
        usual = {"name": "docs", "target": "HalfCheetah-v5", "target_steps": 20_480}
        missing = "".join(f"{key}: {value}\n" for key, value in usual.items() if key not in data)
        made = make_plan(Study.from_document(parse_yaml(missing + block, "docs")))
        assert len(made.trials) > len(data["arms"])
    elif "task" in data:
        path = tmp_path / "mine.yaml"
        path.write_text(block)
        assert seal_reality(path).name == data["name"]
    else:
        task = Task.parse("Hopper-v5")
        check_world(resolved(WorldConfig(**data), task), task)


@pytest.mark.slow
def test_from_source_task_to_running_policy(tmp_path, monkeypatch, capfd):
    """The section's own commands, with fewer steps."""
    from warmstart.__main__ import main

    monkeypatch.chdir(tmp_path)
    section = (
        (ROOT / "README.md")
        .read_text()
        .split("## From source task to running policy")[1]
        .split("`policy/`")[0]
    )
    commands = re.findall(r"^    warmstart (.*)$", section, flags=re.M)
    assert [command.split()[0] for command in commands] == [
        "train", "transfer", "export", "run", "monitor", "identify", "transfer", "view",
    ]  # fmt: skip
    for command in commands:
        words = (
            re.sub(r"--steps \d+", "--steps 20000", command).replace("--seconds 30", "--seconds 8").split()
        )
        if words[0] == "view":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            words += ["--seconds", "2", "--port", str(port)]
        assert main(words) in ((0, 1) if words[0] == "monitor" else (0,)), command
    assert "torso.mass" in capfd.readouterr().out
