"""A source's replay buffer: written beside its checkpoint, read back as it was, and learned from."""

import numpy as np
import pytest

from tests.transfer.conftest import build
from tests.transfer.methods.test_every_method import OURS
from warmstart.agents.checkpoints.checkpoint import checkpoint_of, save_checkpoint
from warmstart.agents.checkpoints.replay import COLUMNS, REPLAY, read_replay
from warmstart.agents.loading import load_checkpoint
from warmstart.core.bounds import SettingError
from warmstart.core.errors import WarmstartError
from warmstart.experiments.study.checks import check_buildable
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.transfer.warm_start import warm_start

TASK = "InvertedPendulum-v5"


def trained(envs, tmp_path, steps=60, **settings):
    settings = {"learning_starts": 1000, "buffer_size": 80, **settings}
    model = build("sac", envs(TASK, n_envs=2), seed=1, classes=OURS, **settings)
    model.learn(steps)
    return model, save_checkpoint(model, tmp_path / "source", keep_replay=True, task=TASK)


@pytest.mark.parametrize("economical", [False, True])
@pytest.mark.parametrize("steps", [60, 120])
def test_what_is_read_are_the_steps_in_their_order(economical, steps, envs, tmp_path):
    settings = {"optimize_memory_usage": True} if economical else {}
    if economical:
        settings["replay_buffer_kwargs"] = {"handle_timeout_termination": False}
    model, path = trained(envs, tmp_path, steps, **settings)
    found = read_replay(path, load_checkpoint(path).replay)
    assert tuple(sorted(found)) == tuple(sorted(COLUMNS))
    full = steps == 120  # two environments, forty places each
    count = (40 if full else 30) - (full and economical)
    assert len(found["rewards"]) == 2 * count
    for env in range(2):
        rows = slice(env * count, (env + 1) * count)
        begun, after = found["observations"][rows], found["next_observations"][rows]
        going = ~(found["terminated"][rows] + found["truncated"][rows]).astype(bool)[:-1]
        assert going.any()
        np.testing.assert_array_equal(after[:-1][going], begun[1:][going])
    newest = (model.replay_buffer.pos - 1) % 40
    expected = model.policy.unscale_action(model.replay_buffer.actions[newest, 1])
    np.testing.assert_allclose(found["actions"][-1], expected, rtol=1e-6)
    assert np.abs(found["actions"]).max() > 1.5  # in the environment's range, which is ±3


def test_it_is_drawn_from_beside_the_agent_s_own_steps(envs, tmp_path):
    _, path = trained(envs, tmp_path)
    model = build("sac", envs(TASK), seed=2, classes=OURS, learning_starts=16)
    method = {"method": "rlpd", "data": "replay"}
    report = warm_start(model, path, method, seed=0)
    assert "60 steps of the source's replay buffer, which aren't counted as the target's." in report.notes
    model.learn(32, reset_num_timesteps=False, callback=report.callback)
    assert len(model.replay_buffer.prior.rewards) == 60


def test_a_copy_of_the_checkpoint_takes_it_along(envs, tmp_path):
    _, path = trained(envs, tmp_path)
    copy = save_checkpoint(load_checkpoint(path), tmp_path / "copy")
    assert (copy / REPLAY).read_bytes() == (path / REPLAY).read_bytes()
    assert load_checkpoint(copy).replay == load_checkpoint(path).replay


def test_what_is_missing_or_changed_is_refused(envs, tmp_path):
    model, path = trained(envs, tmp_path)
    target = build("sac", envs(TASK), seed=2, classes=OURS)
    method = {"method": "rlpd", "data": "replay"}
    save_checkpoint(model, tmp_path / "without", task=TASK)
    with pytest.raises(WarmstartError, match="saved without its replay buffer: train with --keep-replay"):
        warm_start(target, tmp_path / "without", method, seed=0)
    with pytest.raises(WarmstartError, match="only a checkpoint's folder may"):
        warm_start(target, checkpoint_of(model), method, seed=0)
    damaged = bytearray((path / REPLAY).read_bytes())
    damaged[-1] ^= 1
    (path / REPLAY).write_bytes(damaged)
    with pytest.raises(WarmstartError, match="truncated or was changed"):
        warm_start(target, path, method, seed=0)
    with pytest.raises(WarmstartError, match="PPO keeps no replay buffer"):
        save_checkpoint(build("ppo", envs(TASK), classes=OURS), tmp_path / "ppo", keep_replay=True)


def study(algorithm, **settings):
    return Study("s", TASK, 100, source=TASK, source_steps=100, algorithm=algorithm, seeds=1, **settings)


def test_a_study_s_sources_keep_theirs_where_an_arm_asks():
    arms = ("scratch", {"method": "rlpd", "data": "replay"}, "fine_tune")
    plan = make_plan(study("sac", arms=arms))
    check_buildable(plan)
    kept = {trial.arm: trial.config.replay for trial in plan.unique}
    assert kept == {"random": False, "source": True, "scratch": False, "rlpd": False, "fine_tune": False}
    plain = make_plan(study("sac", arms=("scratch", "fine_tune")))
    assert not any("replay" in trial.config.to_json() for trial in plain.unique)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"arms": ("scratch", {"method": "clone", "data": "replay"})},
            "ppo keeps no replay buffer; leave",
        ),
        ({"arms": ("scratch",), "keep_replay": True}, "keep_replay: ppo keeps no replay buffer"),
    ],
)
def test_ppo_has_none_to_keep(settings, message):
    with pytest.raises(SettingError, match=message):
        check_buildable(make_plan(study("ppo", **settings)))


def test_it_goes_through_a_trial(tmp_path):
    from warmstart.experiments.run.run import run_study

    small = {"name": "sac", "net_arch": [8], "learning_starts": 20, "buffer_size": 1_000}
    arms = ("scratch", {"method": "rlpd", "data": "replay"})
    found = Study(
        "s", TASK, 40, source=TASK, source_steps=60, algorithm=small, seeds=1, arms=arms,
        evaluation={"every": 40, "episodes": 1},
    )  # fmt: skip
    run_study(found, tmp_path / "run", workers=1, progress="none")
    (kept,) = (tmp_path / "run").glob(f"trials/*/checkpoint/{REPLAY}")
    assert len(read_replay(kept.parent, load_checkpoint(kept.parent).replay)["rewards"]) >= 60
