"""What `save_training` keeps goes on, bit for bit, in an agent that `load_training` builds."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

import warmstart
from warmstart import load_training, save_training
from warmstart.agents.resuming import recipe, storage
from warmstart.agents.resuming import training_state as training_state_module
from warmstart.agents.resuming.storage import state_files, write_state
from warmstart.core.errors import WarmstartError

STEPS = 192
ON: dict[str, Any] = {"seed": 0, "n_steps": 32, "batch_size": 16}
OFF: dict[str, Any] = {"seed": 0, "learning_starts": 32, "buffer_size": 120, "batch_size": 16}


def normalized(task: str, n: int = 2) -> VecNormalize:
    return VecNormalize(make_vec_env(task, n, seed=1))


def stacked(task: str) -> VecFrameStack:
    return VecFrameStack(make_vec_env(task, 2, seed=1), 3)


MAKERS: dict[str, Callable[[], Any]] = {
    "PPO": lambda: stable_baselines3.PPO(
        "MlpPolicy", normalized("Hopper-v5"), n_epochs=2, learning_rate=LinearSchedule(1e-3, 1e-4, 0.5), **ON
    ),
    "PPO, gSDE": lambda: stable_baselines3.PPO("MlpPolicy", "Pendulum-v1", use_sde=True, n_epochs=2, **ON),
    "A2C": lambda: stable_baselines3.A2C("MlpPolicy", "CartPole-v1", seed=0),
    "DQN": lambda: stable_baselines3.DQN("MlpPolicy", "CartPole-v1", **OFF),
    "SAC": lambda: stable_baselines3.SAC(
        "MlpPolicy",
        normalized("Hopper-v5"),
        policy_kwargs={"net_arch": [8], "activation_fn": torch.nn.Tanh},
        **OFF,
    ),
    "SAC, gSDE": lambda: stable_baselines3.SAC(
        "MlpPolicy", "Pendulum-v1", use_sde=True, train_freq=8, policy_kwargs={"net_arch": [8]}, **OFF
    ),
    "TD3": lambda: stable_baselines3.TD3(
        "MlpPolicy",
        stacked("Pendulum-v1"),
        action_noise=NormalActionNoise(np.zeros(1), 0.1 * np.ones(1)),
        policy_kwargs={"net_arch": [8]},
        **OFF,
    ),
    "DDPG": lambda: stable_baselines3.DDPG(
        "MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, **OFF
    ),
    "TQC": lambda: sb3_contrib.TQC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, **OFF),
    "CrossQ": lambda: sb3_contrib.CrossQ("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, **OFF),
    "QRDQN": lambda: sb3_contrib.QRDQN("MlpPolicy", "CartPole-v1", **OFF),
    "TRPO": lambda: sb3_contrib.TRPO("MlpPolicy", "Pendulum-v1", seed=0, n_steps=32, batch_size=16),
    "ARS": lambda: sb3_contrib.ARS("MlpPolicy", "Pendulum-v1", seed=0, n_delta=1),
    "RecurrentPPO": lambda: sb3_contrib.RecurrentPPO(
        "MlpLstmPolicy", "CartPole-v1", policy_kwargs={"lstm_hidden_size": 8}, **ON
    ),
}


def same(first: Any, second: Any) -> None:
    """Compare every tensor of two agents, those of their optimizers too."""
    assert first.num_timesteps == second.num_timesteps
    for name, values in first.get_parameters().items():
        theirs = second.get_parameters()[name]
        if "param_groups" in values:
            values, theirs = values["state"], theirs["state"]
            pairs = [(values[i][each], theirs[i][each]) for i in values for each in values[i]]
        else:
            pairs = [(values[each], theirs[each]) for each in values]
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs), name


@pytest.mark.parametrize("name", MAKERS)
def test_every_algorithm_goes_on_with_the_same_bits(name: str, tmp_path: Path) -> None:
    whole = MAKERS[name]().learn(STEPS).learn(STEPS, reset_num_timesteps=False)
    save_training(MAKERS[name]().learn(STEPS), tmp_path / "half")
    torch.manual_seed(99)  # nothing of this process is needed
    np.random.seed(99)  # noqa: NPY002
    same(whole, load_training(tmp_path / "half", device="cpu").learn(STEPS, reset_num_timesteps=False))


def test_hindsight_replay_and_an_agent_that_is_given(tmp_path: Path) -> None:
    def make() -> Any:
        envs = DummyVecEnv([lambda: BitFlippingEnv(n_bits=4, continuous=True)])
        kind = stable_baselines3.HerReplayBuffer
        return stable_baselines3.SAC(
            "MultiInputPolicy", envs, replay_buffer_class=kind, policy_kwargs={"net_arch": [8]}, **OFF
        )

    whole = make().learn(STEPS).learn(STEPS, reset_num_timesteps=False)
    save_training(make().learn(STEPS), tmp_path / "half")
    with pytest.raises(WarmstartError, match=r"the environments aren't made from plain values: .*env=env\)"):
        load_training(tmp_path / "half")
    same(whole, load_training(tmp_path / "half", model=make()).learn(STEPS, reset_num_timesteps=False))


def test_warmstarts_own_agents_and_environments(tmp_path: Path) -> None:
    def make() -> Any:
        env = warmstart.as_sb3(warmstart.make_vec("Hopper-v5", 4, seed=0))
        return warmstart.PPO("MlpPolicy", VecNormalize(env), n_epochs=2, **ON)

    whole = make().learn(STEPS).learn(STEPS, reset_num_timesteps=False)
    save_training(make().learn(STEPS), tmp_path / "half")
    with pytest.raises(WarmstartError, match="the agent isn't built from plain values: the agent is PPO"):
        load_training(tmp_path / "half")
    same(whole, load_training(tmp_path / "half", model=make()).learn(STEPS, reset_num_timesteps=False))


class Saving(BaseCallback):
    """Saves at a step, before a rollout or in the middle of one."""

    def __init__(self, folder: Path, at: int, middle: bool = False) -> None:
        super().__init__()
        self.folder, self.at, self.middle = folder, at, middle

    def _save(self) -> None:
        if self.num_timesteps >= self.at:
            save_training(self.model, self.folder)
            self.at = 1 << 60

    def _on_rollout_start(self) -> None:
        if not self.middle:
            self._save()

    def _on_step(self) -> bool:
        if self.middle:
            self._save()
        return True


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_saved_within_learn(name: str, tmp_path: Path) -> None:
    whole = MAKERS[name]().learn(2 * STEPS, callback=Saving(tmp_path / "half", STEPS))
    model = load_training(tmp_path / "half", device="cpu")
    assert model.num_timesteps < 2 * STEPS
    same(whole, model.learn(2 * STEPS - model.num_timesteps, reset_num_timesteps=False))
    with pytest.raises(WarmstartError, match="A training is saved between two rollouts: after learn, or in"):
        MAKERS[name]().learn(STEPS, callback=Saving(tmp_path / "none", 8, middle=True))


def test_another_process_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    whole = MAKERS["A2C"]().learn(STEPS).learn(STEPS, reset_num_timesteps=False)
    save_training(MAKERS["A2C"]().learn(STEPS), tmp_path / "half")
    program = (
        "import sys, torch; torch.set_num_threads(1); from warmstart import load_training, save_training\n"
        f"model = load_training(sys.argv[1], device='cpu').learn({STEPS}, reset_num_timesteps=False)\n"
        "save_training(model, sys.argv[2])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "half"), str(tmp_path / "end")]
    subprocess.run(command, check=True, timeout=120)
    same(whole, load_training(tmp_path / "end", device="cpu"))


class Opaque(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps something that isn't a plain value."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.emulator = complex(1, 2)


def test_what_cant_be_exact_says_so_and_goes_on(tmp_path: Path) -> None:
    def make() -> Any:
        return stable_baselines3.A2C("MlpPolicy", Opaque(gymnasium.make("CartPole-v1")), seed=0)

    model = make().learn(STEPS)
    why = r"Statistical resume, not exact: the environments begin new episodes: .*Opaque.emulator \(complex\)"
    with pytest.warns(UserWarning, match=why):
        save_training(model, tmp_path / "half")
    with pytest.warns(UserWarning, match=why):
        again = load_training(tmp_path / "half", model=make())
    same(model, again)
    assert again._last_episode_starts.tolist() == [True]
    again.learn(STEPS, reset_num_timesteps=False)

    envs = SubprocVecEnv([lambda: gymnasium.make("CartPole-v1")])
    with pytest.warns(UserWarning, match="the environments of SubprocVecEnv are in other processes"):
        save_training(stable_baselines3.A2C("MlpPolicy", envs).learn(10), tmp_path / "processes")
    envs.close()


def test_noise_that_learn_begins_anew_is_told(tmp_path: Path) -> None:
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(1), np.ones(1))
    kind = stable_baselines3.TD3
    model = kind("MlpPolicy", "Pendulum-v1", action_noise=noise, policy_kwargs={"net_arch": [8]}, **OFF)
    with pytest.warns(UserWarning, match="learn begins the action noise anew"):
        model.learn(STEPS, callback=Saving(tmp_path / "half", 64))
    with pytest.raises(WarmstartError, match="action_noise is a OrnsteinUhlenbeckActionNoise"):
        load_training(tmp_path / "half")


def test_other_versions_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_training(MAKERS["A2C"]().learn(10), tmp_path / "half")
    monkeypatch.setattr(torch, "__version__", "9.9")
    with pytest.warns(UserWarning, match=r"Statistical resume, not exact: it was kept with torch 2.*here"):
        load_training(tmp_path / "half")


def test_another_processor_or_number_of_threads_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_training(MAKERS["A2C"]().learn(10), tmp_path / "half")
    here = training_state_module.machine()
    other = {**here, "processor": "another", "threads of torch": "7"}
    monkeypatch.setattr(training_state_module, "machine", lambda: other)
    with pytest.warns(
        UserWarning, match=r"kept on another processor \(.*, here another\); .*threads of torch"
    ):
        load_training(tmp_path / "half")


def test_the_last_two_states_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    model = MAKERS["A2C"]()
    for _ in range(3):
        save_training(model.learn(50, reset_num_timesteps=False), tmp_path)
    newest, older = state_files(tmp_path)
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{newest.name} is passed over: it isn't what was written"):
        assert load_training(tmp_path).num_timesteps == int(older.name.partition("-")[0])
    with pytest.raises(WarmstartError, match="holds no training state: expected a folder that save_training"):
        load_training(tmp_path / "nowhere")


def test_a_folder_used_again_holds_the_new_training(tmp_path: Path) -> None:
    for steps in (100, 200):
        save_training(MAKERS["A2C"]().learn(steps), tmp_path)
    anew = MAKERS["A2C"]().learn(60)
    path = save_training(anew, tmp_path)
    assert state_files(tmp_path) == [path]
    assert load_training(tmp_path).num_timesteps == anew.num_timesteps


def test_a_spoilt_block_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmstart.agents.resuming.packing.BLOCK", 1000)
    rows = np.arange(10_000, dtype=np.float32)
    write_state(tmp_path, 1, {"rows": rows})
    block = next((tmp_path / storage.BLOCKS).iterdir())
    block.write_bytes(b"\0" * block.stat().st_size)
    told: list[str] = []
    assert list(storage.read_states(tmp_path, told.append)) == []
    write_state(tmp_path, 1, {"rows": rows})
    ((_, state),) = storage.read_states(tmp_path, told.append)
    np.testing.assert_array_equal(state["rows"], rows)
    assert len(told) == 1


def test_numbers_that_are_none_are_not_kept(tmp_path: Path) -> None:
    model = MAKERS["A2C"]().learn(50)
    with torch.no_grad():
        model.policy.value_net.weight[0, 0] = torch.nan
    with pytest.raises(WarmstartError, match=r"value_net\.weight holds numbers that aren't finite"):
        save_training(model, tmp_path)
    assert state_files(tmp_path) == []


def test_logs_are_written_to_no_folder_that_a_stranger_named(tmp_path: Path) -> None:
    model = MAKERS["A2C"]().learn(50)
    model.tensorboard_log = str(tmp_path / "nowhere")
    save_training(model, tmp_path / "half")
    with pytest.warns(UserWarning, match="nowhere, where TensorBoard's files were, isn't here"):
        assert load_training(tmp_path / "half").tensorboard_log is None


def test_blocks_that_did_not_change_are_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warmstart.agents.resuming.packing.BLOCK", 1000)
    rows = np.arange(10_000, dtype=np.float32)
    write_state(tmp_path, 1, {"rows": rows})
    blocks = {path.name: path.stat().st_ino for path in (tmp_path / storage.BLOCKS).iterdir()}
    assert len(blocks) == 40
    rows[5] = -1
    for step in (2, 3):
        write_state(tmp_path, step, {"rows": rows})
    now = {path.name: path.stat().st_ino for path in (tmp_path / storage.BLOCKS).iterdir()}
    assert len(now) == 40
    assert len(now.items() & blocks.items()) == 39
    states = list(storage.read_states(tmp_path, print))
    np.testing.assert_array_equal(states[0][1]["rows"], rows)
    block = next((tmp_path / storage.BLOCKS).iterdir())
    block.write_bytes(b"\0" * block.stat().st_size)
    told: list[str] = []
    assert list(storage.read_states(tmp_path, told.append)) == []
    assert all("isn't what was written" in each for each in told)


HOSTILE: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (lambda made: made.update(kind={"class": "os:system"}), "os:system isn't a class that an agent is made"),
    (lambda made: made.update(kind={"class": "torch.hub:load"}), "torch.hub:load isn't a class"),
    (lambda made: made.update(policy={"class": "stable_baselines3.a2c.a2c:A2C"}), "A2C isn't a class that"),
    (lambda made: made["arguments"].update(n_steps="many"), "can't be built again|doesn't fit"),
    (
        lambda made: made["arguments"].update(policy_kwargs={"net_arch": [90_000, 90_000]}),
        "a larger network than its .* tensors",
    ),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_a_recipe_names_only_what_agents_are_made_of(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    model = MAKERS["A2C"]()
    state = next(storage.read_states(save_training(model, tmp_path / "good").parent, print))[1]
    change(state["recipe"]["made"])
    write_state(tmp_path / "bad", 0, state)
    with pytest.raises(WarmstartError, match=message):
        load_training(tmp_path / "bad")
    state["envs"]["made"][0]["envs"][0]["id"] = "antigravity:CartPole-v1"
    with pytest.raises(WarmstartError, match="Gymnasium doesn't know antigravity:CartPole-v1 here"):
        recipe.build_env_again(state["envs"]["made"])


def test_nothing_warns_where_all_is_well(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        save_training(MAKERS["A2C"]().learn(10), tmp_path)
        load_training(tmp_path)
    assert told == []
