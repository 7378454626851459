"""A trusted ``VecNormalize`` file: what it consists of is read, and nothing else is looked up."""

import pickle
from pathlib import Path

import pytest

from tests.agents.conftest import gym_env
from warmstart.agents.checkpoints.normalization import read_normalizer, vec_normalize
from warmstart.agents.sb3_files.normalizer import read_trusted_normalizer
from warmstart.core.errors import WarmstartError


@pytest.mark.parametrize("task", ["Hopper-v5", "CartPole-v1"], ids=["our class", "SB3's class"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_statistics_are_read(protocol: int, task: str, tmp_path: Path) -> None:
    env = vec_normalize(gym_env(task, 2))
    env.seed(0)
    env.reset()
    env.action_space.seed(1)
    data = pickle.dumps(env, protocol=protocol)
    if protocol == 0:  # written before files moved, with NumPy 1
        ours, theirs = b"warmstart.agents.checkpoints.normalization\n", b"warmstart.agents.normalization\n"
        assert (ours in data) == (task == "Hopper-v5")
        data = data.replace(ours, theirs).replace(b"cnumpy._core.", b"cnumpy.core.")
    (tmp_path / "norm.pkl").write_bytes(data)
    own = read_normalizer(env)
    assert own is not None
    assert read_trusted_normalizer(tmp_path / "norm.pkl").to_json() == own.to_json()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "save"),
        ("numpy.testing", "measure"),
        ("builtins", "eval"),
        ("os", "system"),
        ("stable_baselines3.common.save_util", "load_from_pkl"),
        ("warmstart.agents.checkpoints.normalization", "write"),
    ],
)
def test_other_globals_are_refused_by_name(module: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "norm.pkl").write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(WarmstartError, match=f"it refers to {module}.{name}"):
        read_trusted_normalizer(tmp_path / "norm.pkl")
