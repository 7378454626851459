"""Repositories on a hub of this machine: pinned, bounded in size and time, and read as data."""

import pickle
import time
from pathlib import Path

import gymnasium
import huggingface_hub
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from tests.agents.hub.server import Hub, hub_in_use
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.checkpoints.places import find_checkpoint
from warmstart.agents.hub.fetching import fetched, pin, pinned
from warmstart.agents.hub.reference import read_reference
from warmstart.agents.hub.taking import read_pulled
from warmstart.agents.loading import load_checkpoint
from warmstart.cli.checkpoints import named_checkpoints
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task

CARD = b"---\nlicense: mit\n---\n# A policy\n"
EVIL = b"cos\nsystem\n(S'touch /tmp/never'\ntR."


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_in_use(monkeypatch, tmp_path) as hub:
        yield hub


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> dict[str, bytes]:
    """What RL Zoo pushes, of an agent that learned a little."""
    folder = tmp_path_factory.mktemp("zoo")
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("InvertedPendulum-v5")]))
    model = PPO(
        "MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, policy_kwargs={"net_arch": [8]}
    )
    model.learn(64)
    model.save(folder / "ppo-InvertedPendulum-v5.zip")
    env.save(str(folder / "vec_normalize.pkl"))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {
        **files,
        "README.md": CARD,
        "config.yml": b"!!python/object/apply:os.system ['touch /tmp/never']\n",
        "args.yml": b"!!python/object/apply:collections.OrderedDict\n- []\n",
        "train_eval_metrics.zip": b"PK\x05\x06" + bytes(18),
    }


@pytest.fixture(scope="module")
def ours(zoo, tmp_path_factory) -> dict[str, bytes]:
    """A checkpoint of ours as it is pushed."""
    folder = tmp_path_factory.mktemp("ours")
    (folder / "model.zip").write_bytes(zoo["ppo-InvertedPendulum-v5.zip"])
    saved = save_checkpoint(load_checkpoint(folder / "model.zip"), folder / "saved")
    return {"README.md": CARD, **{path.name: path.read_bytes() for path in saved.iterdir()}}


def test_zoo_files_are_read_as_data_with_their_normalizer(hub: Hub, zoo, tmp_path):
    repository = hub.repository("sb3/ppo-InvertedPendulum-v5", zoo)
    checkpoint = load_checkpoint("hf:sb3/ppo-InvertedPendulum-v5")
    assert checkpoint.algorithm == "ppo"
    assert checkpoint.task == "InvertedPendulum-v5"
    told = " ".join(checkpoint.notes)
    assert "standardised by vec_normalize.pkl" in told
    assert "InvertedPendulum-v5, after which it is named" in told
    assert checkpoint.path is not None
    held = {path.name for path in checkpoint.path.iterdir()}
    assert held == {"README.md", "pulled.json", "vec_normalize.pkl", "ppo-InvertedPendulum-v5.zip"}
    assert read_pulled(checkpoint.path)["revision"] == repository.head
    (tmp_path / "m.zip").write_bytes(zoo["ppo-InvertedPendulum-v5.zip"])
    model, observations = PPO.load(tmp_path / "m.zip"), np.array([[0.1, 0.2, 0.3, 0.4]])
    with (tmp_path / "n.pkl").open("wb") as file:
        file.write(zoo["vec_normalize.pkl"])
    env = VecNormalize.load(
        str(tmp_path / "n.pkl"), DummyVecEnv([lambda: gymnasium.make("InvertedPendulum-v5")])
    )
    expected, _ = model.predict(env.normalize_obs(observations), deterministic=True)
    np.testing.assert_allclose(checkpoint.policy().predict(observations), expected, atol=1e-6)


def test_a_branch_that_moves_is_pinned_and_both_commits_stay(hub: Hub, ours):
    repository = hub.repository("me/policy", ours)
    repository.private = True
    first = pinned("hf:me/policy")
    assert first == f"hf:me/policy@{repository.head}"
    there = find_checkpoint(first)
    second = repository.commit({**ours, "README.md": CARD + b"More.\n"})
    assert pinned("hf:me/policy") == f"hf:me/policy@{second}"
    assert (find_checkpoint("hf:me/policy") / "README.md").read_bytes().endswith(b"More.\n")
    asked = len(hub.requests)
    assert find_checkpoint(first) == there
    assert (there / "README.md").read_bytes() == CARD
    assert len(hub.requests) == asked, "a commit that is here needs no network"
    assert sum("/lfs/" in each for each in hub.requests) == 2
    assert hub.leaked == 0


def test_offline_takes_what_was_fetched_before(hub: Hub, ours, monkeypatch, caplog):
    hub.repository("me/policy", ours)
    there = fetched("hf:me/policy")
    hub.repository("me/other", ours)
    asked = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetched("hf:me/policy") == there
    assert "which was fetched before: HF_HUB_OFFLINE is set." in caplog.text
    with pytest.raises(WarmstartError, match=r"HF_HUB_OFFLINE is set\. hf:me/other wasn't fetched before\.$"):
        fetched("hf:me/other")
    with pytest.raises(WarmstartError, match=r"wasn't fetched before, and HF_HUB_OFFLINE is set"):
        fetched(f"hf:me/other@{'1' * 40}")
    assert len(hub.requests) == asked


def test_offline_takes_what_huggingface_hub_itself_fetched(hub: Hub, ours, monkeypatch):
    repository = hub.repository("me/policy", ours)
    for name in ours:
        huggingface_hub.hf_hub_download("me/policy", name, endpoint=hub.address)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    checkpoint = load_checkpoint("hf:me/policy")
    assert read_pulled(checkpoint.path)["revision"] == repository.head


def test_an_unreachable_hub_is_told_in_one_sentence(hub: Hub, ours, monkeypatch, caplog):
    hub.repository("me/policy", ours)
    there = fetched("hf:me/policy")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        WarmstartError, match=r"http://127.0.0.1:9 can't be reached \(.*\)\. Check the network"
    ):
        fetched("hf:me/other")
    assert fetched("hf:me/policy") == there
    assert "can't be reached" in caplog.text
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.down = 503
    assert fetched("hf:me/policy") == there
    monkeypatch.setenv("HF_ENDPOINT", "127.0.0.1")
    with pytest.raises(
        WarmstartError, match=r"HF_ENDPOINT: expected an address with https://, found '127.0.0.1'"
    ):
        fetched("hf:me/policy")


def test_a_hub_that_is_down_hangs_up_or_hangs_takes_no_time(hub: Hub, ours):
    hub.repository("me/policy", ours)
    began = time.monotonic()
    hub.down = 503  # which asks to come back in a day
    with pytest.raises(WarmstartError, match=r"answers with status 503\. Try again later\."):
        fetched("hf:me/policy")
    hub.down, hub.hangs_up = 0, True
    with pytest.raises(WarmstartError, match=r"can't be reached \(Server disconnected"):
        fetched("hf:me/policy")
    hub.hangs_up, hub.waits = False, 1.5
    with pytest.raises(WarmstartError, match=r"can't be reached \(timed out\)"):
        fetched("hf:me/policy")
    assert time.monotonic() - began < 10


def test_missing_private_and_gated_repositories_are_told_apart(hub: Hub, ours, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    hub.repository("me/gated", ours).gated = True
    hub.repository("me/private", ours).private = True
    hub.repository("me/policy", ours)
    for name, told in (
        ("me/nothing", "has no such repository, or it is private: check the name, or log in"),
        ("me/private", "has no such repository, or it is private: check the name, or log in"),
        ("me/gated", "its owners let in only whom they know"),
        ("me/policy@v9", "the repository has no such revision"),
    ):
        with pytest.raises(WarmstartError, match=f"hf:{name}.*{told}"):
            fetched(f"hf:{name}")


def test_a_card_without_a_licence_is_refused_until_it_is_asked_for(hub: Hub, ours):
    hub.repository("me/policy", {**ours, "README.md": b"---\ntags: [ppo]\n---\n# ?\n"})
    with pytest.raises(
        WarmstartError, match=r"names a licence, found one without `license`.*--without-licence"
    ):
        find_checkpoint("hf:me/policy")
    taken = fetched("hf:me/policy", without_licence=True)
    assert read_pulled(taken)["licence"] is None
    assert find_checkpoint("hf:me/policy") == taken
    hub.repository("me/bare", {name: content for name, content in ours.items() if name != "README.md"})
    with pytest.raises(WarmstartError, match=r"names a licence, found no card"):
        find_checkpoint("hf:me/bare")


def test_front_matter_with_objects_is_refused(hub: Hub, ours):
    hub.repository("me/policy", {**ours, "README.md": b"---\nlicense: !!python/name:os.system\n---\n"})
    with pytest.raises(WarmstartError, match=r"README.md of hf:me/policy@.*line 1: .* can't be read as"):
        fetched("hf:me/policy")


@pytest.mark.parametrize("name", ["policy.safetensors", "checkpoint.json"])
@pytest.mark.parametrize(
    ("content", "found"),
    [(pickle.dumps({"a": 1}), "a pickle"), (b"PK\x03\x04" + bytes(40), "a zip archive")],
    ids=["pickle", "torch.save"],
)
def test_a_pickle_in_place_of_tensors_is_never_opened(hub: Hub, ours, name, content, found):
    hub.repository("me/policy", {**ours, name: content})
    with pytest.raises(WarmstartError, match=rf"{name} of hf:me/policy@\w+: expected \w+, found {found}"):
        fetched("hf:me/policy")


def test_a_normalizer_that_would_run_code_is_refused(hub: Hub, zoo):
    hub.repository("sb3/ppo-InvertedPendulum-v5", {**zoo, "vec_normalize.pkl": EVIL})
    with pytest.raises(WarmstartError, match=r"is not a VecNormalize.*it refers to os.system"):
        load_checkpoint("hf:sb3/ppo-InvertedPendulum-v5")
    assert not Path("/tmp/never").exists()


@pytest.mark.parametrize("name", ["../../outside.json", "/etc/passwd", "a\\..\\b", "a/../../b", "C:x"])
def test_a_name_that_leads_out_is_refused(hub: Hub, ours, name):
    hub.repository("me/policy", ours)
    hub.listed_names = [name]
    with pytest.raises(WarmstartError, match=r"the name .* leads out of it; nothing is taken"):
        fetched("hf:me/policy")
    assert not any("/resolve/" in asked for asked in hub.requests)


def test_claimed_and_served_sizes_are_held(hub: Hub, ours):
    repository = hub.repository("me/policy", ours)
    repository.claims["policy.safetensors"] = 1 << 45
    with pytest.raises(
        WarmstartError, match=r"policy.safetensors .* has 35,184,372,088,832 bytes; expected at most"
    ):
        fetched("hf:me/policy")
    assert not any("/resolve/" in asked for asked in hub.requests)
    repository.claims.clear()
    size = len(ours["policy.safetensors"])
    repository.served["policy.safetensors"] = bytes(size + 1)
    with pytest.raises(WarmstartError, match=rf"has more than {size:,} bytes, which the hub lists"):
        fetched("hf:me/policy")
    repository.served["policy.safetensors"] = bytes(size - 1)
    with pytest.raises(WarmstartError, match=rf"expected {size:,} bytes, found {size - 1:,}"):
        fetched("hf:me/policy")
    repository.served["policy.safetensors"] = bytes(size)
    with pytest.raises(WarmstartError, match=r"isn't the commit's: its hash is \w{64}, the hub lists \w{64}"):
        fetched("hf:me/policy")
    repository.served = {"checkpoint.json": bytes(len(ours["checkpoint.json"]))}
    with pytest.raises(WarmstartError, match=r"isn't the commit's: its hash is \w{40}, the hub lists \w{40}"):
        fetched("hf:me/policy")


def test_a_repository_without_a_policy_lists_what_it_holds(hub: Hub, zoo):
    hub.repository("me/data", {"README.md": CARD, "model.bin": b"x"})
    with pytest.raises(
        WarmstartError, match=r"holds no policy: expected checkpoint.json.*found neither:.*model.bin"
    ):
        fetched("hf:me/data")
    content = zoo["ppo-InvertedPendulum-v5.zip"]
    hub.repository("me/two", {"README.md": CARD, "a.zip": content, "b.zip": content})
    with pytest.raises(WarmstartError, match=r"found several zips: .*a.zip, b.zip"):
        fetched("hf:me/two")


def test_a_list_that_is_none_is_refused(hub: Hub, ours):
    repository = hub.repository("me/policy", ours)
    repository.claims["policy.safetensors"] = -5
    with pytest.raises(WarmstartError, match=r"The hub's list of hf:me/policy.*siblings\[\d\].size"):
        pin(read_reference("hf:me/policy"))


def test_commands_that_take_several_checkpoints_take_repositories(hub: Hub, ours):
    repository = hub.repository("me/policy", ours)
    paths = [Path("hf:me/policy"), Path(f"hf:me/policy@{repository.head}")]
    found = named_checkpoints(paths, Task.parse("InvertedPendulum-v5"))
    assert [each.name for each in found] == ["policy", f"policy@{repository.head}"]
