"""Rapid motor adaptation: a teacher that is told the physics, and a student that finds it out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import checkpoint_of, save_checkpoint
from warmstart.agents.checkpoints.normalization import NormalizerState
from warmstart.agents.evaluation import evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.history import ObservationHistory
from warmstart.agents.observing.privileged import PrivilegedObservation
from warmstart.agents.settings.config import PPOConfig
from warmstart.core.errors import WarmstartError
from warmstart.sim2real.adaptation import distill, teacher_seams
from warmstart.sim2real.randomization.randomization import Randomization, read_terms
from warmstart.sim2real.reality import load_reality
from warmstart.sim2real.student import history_normalizer, student_of

TASK = "InvertedPendulum-v5"
TERMS = {"gear": "x0.3:x1.2", "pole.mass": "x0.5:x3"}
CONFIG = PPOConfig(n_envs=8, n_steps=64, batch_size=64, n_epochs=4, net_arch=(16,))
SMALL = {"seed": 0, "steps": 1600, "iterations": 2, "frames": 4, "n_envs": 8, "hidden": (16,)}


def trained(config=CONFIG, steps=2048, terms=TERMS):
    drawn = Randomization(read_terms(terms)[0], 0)
    env = make_training_env(config, TASK, 0, context_source=drawn, vision=PrivilegedObservation(who="both"))
    model = build_agent(config, env, 0, device="cpu", seams=teacher_seams(4, (16,)))
    return checkpoint_of(model.learn(steps))


@pytest.fixture(scope="module")
def teacher():
    return trained()


def test_from_teacher_to_reality(teacher, tmp_path):
    save_checkpoint(teacher, tmp_path / "teacher")
    reports = []
    student = distill(load_checkpoint(tmp_path / "teacher"), TASK, TERMS, **SMALL, progress=reports.append)
    assert [(r.iteration, r.iterations, r.steps) for r in reports] == [(1, 2, 800), (2, 2, 1600)]
    assert student.vision == ObservationHistory(4, actions=True)
    assert student.observation_space.shape == (4 * 4 + 3,)
    assert len(student.observation_layout) == 19
    assert student.steps == 2048 + 1600
    loaded = load_checkpoint(save_checkpoint(student, tmp_path / "student"))
    assert loaded.fingerprint() == student.fingerprint()
    for where in (load_reality("pendulum-worn"), TASK, TASK + "@pole.mass=x2"):
        mine, theirs = (evaluate(c.policy(), where, 3, 5) for c in (student, loaded))
        np.testing.assert_array_equal(mine.returns, theirs.returns)
        assert mine.lengths.min() > 1
    with pytest.raises(WarmstartError, match="which RealityEnv doesn't tell"):
        evaluate(teacher.policy(), load_reality("pendulum-worn"), 1)


def test_the_code_is_learned_better_than_by_any_constant():
    terms = {"joint.hinge.damping": "x0.2:x20"}
    reports = []
    distill(
        trained(terms=terms),
        TASK,
        terms,
        **{**SMALL, "steps": 24_000, "iterations": 6, "n_envs": 32, "hidden": (32,), "frames": 6},
        progress=reports.append,
    )
    assert reports[0].relative_error > 1
    assert reports[-1].relative_error < 0.6
    assert reports[-1].error < 0.5 * reports[0].error


def test_the_same_arguments_give_the_same_student(teacher):
    before = torch.random.get_rng_state()
    one, other = (distill(teacher, TASK, TERMS, **SMALL) for _ in range(2))
    assert one.fingerprint() == other.fingerprint()
    assert torch.equal(before, torch.random.get_rng_state()), "the global generators are left alone"
    told = distill(teacher, TASK, TERMS, **SMALL, progress=lambda _: None)
    assert told.fingerprint() == one.fingerprint()
    assert distill(teacher, TASK, TERMS, **{**SMALL, "seed": 1}).fingerprint() != one.fingerprint()


def test_only_phi_is_learned(teacher):
    student = distill(teacher, TASK, TERMS, **SMALL)
    for name, value in teacher.tensors.items():
        if "features_extractor" not in name:
            assert torch.equal(student.tensors[name], value), name


def test_a_student_that_knew_the_code_would_act_as_its_teacher(teacher, monkeypatch):
    rng = np.random.default_rng(0)
    histories, contexts = rng.normal(size=(5, 19)), rng.uniform(1, 9, (5, len(teacher.vision.names)))
    seen = {"policy": histories[:, 12:16], "privileged": contexts}
    policy = teacher.policy()
    expected = policy.predict(seen)
    standardised = policy.normalizer.apply(seen)["privileged"]
    codes = policy.module.features_extractor.mu(torch.from_numpy(standardised))
    space = spaces.Box(-np.inf, np.inf, (19,), np.float64)
    student = student_of(teacher, space, 4, (16,))
    monkeypatch.setattr(student.features_extractor, "latent", lambda _: codes)
    normalizer = history_normalizer(teacher.normalizer, teacher.action_space, 4)
    actions, _ = student.predict(normalizer.apply(histories), deterministic=True)
    np.testing.assert_array_equal(actions, expected)


def test_statistics_of_histories_by_hand():
    state = NormalizerState(
        mean={"policy": np.array([1.0, 2.0]), "privileged": np.array([9.0])},
        var={"policy": np.array([4.0, 9.0]), "privileged": np.array([1.0])},
        count=10,
    )
    found = history_normalizer(state, spaces.Box(np.float32([-1]), np.float32([3])), 2)
    assert found.mean.tolist() == [1, 2, 1, 2, 1]
    assert found.var.tolist() == [4, 9, 4, 9, 4]
    np.testing.assert_allclose(found.apply(np.array([[3, 2, 1, 5, 3.0]])), [[1, 0, 0, 1, 1]], rtol=1e-6)
    assert history_normalizer(None, spaces.Box(-1, 1, (1,)), 2) is None


def test_a_teacher_without_normaliser_can_be_distilled():
    plain = trained(replace(CONFIG, normalize_obs=False, normalize_reward=False), steps=512)
    student = distill(plain, TASK, TERMS, **SMALL)
    assert student.normalizer is None
    assert evaluate(student.policy(), TASK, 2).lengths.min() > 0


def test_what_is_no_teacher_is_refused(teacher):
    for no_teacher in (
        replace(teacher, vision=None),
        replace(teacher, vision=replace(teacher.vision, who="critic")),
        replace(teacher, policy_kwargs={}),
        replace(teacher, algorithm="sac"),
    ):
        with pytest.raises(WarmstartError, match="Expected a teacher's checkpoint"):
            distill(no_teacher, TASK, TERMS, **SMALL)
    with pytest.raises(WarmstartError, match="distil it in the task it was trained in"):
        distill(teacher, "Hopper-v5", {"torso.mass": "x0.5:x2"}, **SMALL)
    with pytest.raises(WarmstartError, match=r"at least one step in each of 2 iterations.*found steps=15"):
        distill(teacher, TASK, TERMS, **{**SMALL, "steps": 15})
    with pytest.raises(WarmstartError, match="at least 2 frames; found steps=1600 and frames=1"):
        distill(teacher, TASK, TERMS, **{**SMALL, "frames": 1})
