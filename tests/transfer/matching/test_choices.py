"""Teachers that choose and students that don't, and the other way round."""

import numpy as np
import pytest
import torch

from tests.transfer.conftest import build, disturb
from tests.transfer.methods.test_every_method import OURS
from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.matching.choices import continuous
from warmstart.transfer.similarity.similarity import similarity
from warmstart.transfer.teaching.teacher import Teacher
from warmstart.transfer.warm_start import warm_start

PLAIN, BINNED = "InvertedPendulum-v5", "InvertedPendulum-v5:action_bins=5"
VALUES = np.array([-3.0, -1.5, 0.0, 1.5, 3.0])


def taught(source, target):
    return Teacher(read_source(source), target, TransferContext(np.random.default_rng(0)))


def seen(n=16):
    return np.random.default_rng(0).normal(size=(n, 4))


def standard(model, observations):
    return torch.as_tensor(model.get_vec_normalize_env().normalize_obs(observations), dtype=torch.float32)


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_a_continuous_teacher_likes_the_choice_that_is_nearest_to_its_action(algorithm, envs):
    source = disturb(build(algorithm, envs(PLAIN), seed=1, classes=OURS))
    target = build("ppo", envs(BINNED), seed=2, classes=OURS)
    teacher = taught(source, target)
    acted = Policy.from_model(source).predict(seen())
    nearest = np.abs(acted - VALUES).argmin(1)
    np.testing.assert_array_equal(teacher.act(seen()), nearest)
    found = teacher.targets(target, standard(target, seen()))
    np.testing.assert_allclose(found.mean.exp().sum(1).numpy(), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(found.mean.argmax(1).numpy(), nearest)


def test_the_shares_of_choices_are_those_of_a_gaussian(envs):
    source = disturb(build("ppo", envs(PLAIN), seed=1, classes=OURS))
    target = build("ppo", envs(BINNED), seed=2, classes=OURS)
    teacher = taught(source, target)
    np.testing.assert_allclose(
        teacher._scores(np.array([[1.5]]), np.array([[1.5]])), [[-4.5, -2.0, -0.5, 0.0, -0.5]]
    )
    narrow = teacher._scores(np.array([[0.0]]), np.array([[0.01]]))
    np.testing.assert_allclose(narrow, [[-8.0, -2.0, 0.0, -2.0, -8.0]])  # half the way between two at least


@pytest.mark.parametrize("student", ["ppo", "sac", "td3"])
def test_a_teacher_that_chooses_gives_moments_of_what_its_choices_stand_for(student, envs):
    source = disturb(build("ppo", envs(BINNED), seed=1, classes=OURS))
    target = build(student, envs(PLAIN), seed=2, classes=OURS)
    teacher = taught(source, target)
    chosen = Policy.from_model(source).predict(seen())
    np.testing.assert_allclose(teacher.act(seen())[:, 0], VALUES[chosen], atol=1e-6)
    mean, std = teacher._moments(seen())
    module = source.policy
    with torch.no_grad():
        shares = module.get_distribution(standard(source, seen())).distribution.probs.numpy()
    np.testing.assert_allclose(mean[:, 0], shares @ VALUES, atol=1e-5)
    np.testing.assert_allclose(std[:, 0] ** 2, shares @ VALUES**2 - (shares @ VALUES) ** 2, atol=1e-4)
    assert torch.isfinite(teacher.targets(target, standard(target, seen())).mean).all()


def test_other_numbers_of_choices_meet_in_what_they_stand_for(envs):
    source = disturb(build("ppo", envs("InvertedPendulum-v5:action_bins=3"), seed=1, classes=OURS))
    target = build("ppo", envs(BINNED), seed=2, classes=OURS)
    chosen = Policy.from_model(source).predict(seen())
    np.testing.assert_array_equal(taught(source, target).act(seen()), chosen * 2)  # −3, 0 and 3 are in both


@pytest.mark.parametrize(("source", "target"), [(PLAIN, BINNED), (BINNED, PLAIN)])
@pytest.mark.parametrize("method", ["kickstart", "distill", "jump_start"])
def test_teaching_methods_go_from_one_kind_to_the_other(method, source, target, envs):
    teacher = disturb(build("ppo", envs(source), seed=1, classes=OURS))
    student = build("ppo", envs(target), seed=2, classes=OURS)
    options = {} if method == "kickstart" else {"critic_fit_steps": 32}
    report = warm_start(student, teacher, method, **options)
    student.learn(32, callback=report.callback, reset_num_timesteps=False)
    assert all(torch.isfinite(p).all() for p in student.policy.parameters())


@pytest.mark.parametrize(("source", "target"), [(PLAIN, BINNED), (BINNED, PLAIN)])
def test_similarity_plays_across_kinds(source, target, envs):
    found = similarity(disturb(build("ppo", envs(source), seed=1, classes=OURS)), target, episodes=2)
    assert found.measure("one-step dynamics").value == pytest.approx(0.0, abs=1e-9)
    assert found.steps > 0


def test_equal_choices_of_different_tasks_are_carried_by_place(envs):
    source = disturb(build("ppo", envs("MountainCar-v0"), seed=1, classes=OURS))
    target = build("ppo", envs("MountainCarContinuous-v0:action_bins=3"), seed=2, classes=OURS)
    warm_start(target, source, "fine_tune", critic_fit_steps=0)
    observations = np.random.default_rng(0).normal(size=(8, 2)) * 0.1
    ours, theirs = (Policy.from_model(model).predict(observations) for model in (target, source))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (
            "CartPole-v1",
            "InvertedPendulum-v5",
            "choices of CartPole-v1, which stand for no",
        ),
        ("Reacher-v5:action_bins=3", "Reacher-v5", "choices of 2 actions at a time"),
        (
            "Reacher-v5",
            "Reacher-v5:action_bins=3",
            r"the target's actions are MultiDiscrete",
        ),
    ],
)
def test_choices_that_stand_for_nothing_that_is_known_are_refused(source, target, message, envs):
    teacher = build("ppo", envs(source), seed=1, classes=OURS)
    with pytest.raises(WarmstartError, match=message):
        warm_start(build("ppo", envs(target), seed=2, classes=OURS), teacher, "kickstart")


def test_carrying_across_kinds_says_who_could_do_it(envs):
    source = build("ppo", envs(PLAIN), seed=1, classes=OURS)
    with pytest.raises(WarmstartError, match=r"Where choices stand for a continuous action \(action_bins\)"):
        warm_start(build("ppo", envs(BINNED), seed=2, classes=OURS), source, "fine_tune")


def test_choices_of_an_unknown_task_are_refused():
    with pytest.raises(WarmstartError, match="its task isn't known: give source_task"):
        continuous(None, "source")
