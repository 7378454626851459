"""A teacher in other spaces, of other algorithms; how its influence fades; a guide that steps back."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from tests.transfer.conftest import build, corresponding, disturb
from tests.transfer.methods.test_every_method import OURS
from warmstart.agents.algorithms.seams import EpisodeBatch, Seams
from warmstart.agents.algorithms.terms import ActionTargets, divergence
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.table import make_method
from warmstart.transfer.teaching.fading import Fading
from warmstart.transfer.teaching.jump_start import JumpStartGuide
from warmstart.transfer.teaching.seams import together
from warmstart.transfer.teaching.teacher import Teacher
from warmstart.transfer.warm_start import warm_start


def context(**maps):
    return TransferContext(np.random.default_rng(0), **maps)


def taught(source, target):
    return Teacher(read_source(source), target, context())


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3", "tqc", "crossq"])
@pytest.mark.parametrize("student", ["ppo", "sac", "td3"])
def test_any_algorithm_teaches_any_other_in_the_same_task(algorithm, student, envs):
    source = disturb(build(algorithm, envs("Reacher-v5"), seed=1, classes=OURS))
    target = build(student, envs("Reacher-v5"), seed=2, classes=OURS)
    teacher = taught(source, target)
    observations = np.random.default_rng(0).normal(size=(8, 10))
    expected = Policy.from_model(source).predict(observations)
    np.testing.assert_allclose(teacher.act(observations), expected, atol=1e-5)
    seen = torch.as_tensor(target.get_vec_normalize_env().normalize_obs(observations), dtype=torch.float32)
    found = teacher.targets(target, seen)
    aim = found.mean if student == "td3" else torch.tanh(found.mean) if student == "sac" else found.mean
    np.testing.assert_allclose(aim.numpy().clip(-1, 1), expected.clip(-0.999, 0.999), atol=2e-3)
    assert bool((found.weight == 1).all())


def test_a_squashed_teacher_of_a_squashed_student_is_exact(envs):
    source = disturb(build("sac", envs("Reacher-v5"), seed=1, classes=OURS))
    target = build("sac", envs("Reacher-v5"), seed=2, classes=OURS)
    target.policy.load_state_dict(source.policy.state_dict())
    target.get_vec_normalize_env().obs_rms = source.get_vec_normalize_env().obs_rms
    seen = torch.randn(64, 10) * 0.1
    targets = taught(source, target).targets(target, seen)
    assert divergence(target, seen, targets).item() == pytest.approx(0.0, abs=1e-4)


def test_other_bodies_meet_by_name_and_in_physical_units(envs):
    source = disturb(build("ppo", envs("Hopper-v5"), seed=1, classes=OURS))
    target = build("ppo", envs("Walker2d-v5"), seed=2, classes=OURS)
    teacher = taught(source, target)
    observations = np.random.default_rng(0).normal(size=(8, 17))
    seen, _ = corresponding(source, target, observations)
    np.testing.assert_allclose(teacher.seen(observations), seen)
    theirs = Policy.from_model(source).module
    normal = source.get_vec_normalize_env().normalize_obs(seen)
    with torch.no_grad():
        mean = theirs.get_distribution(torch.as_tensor(normal, dtype=torch.float32)).distribution.mean.numpy()
    ratio = 200.0 / 100.0  # gears of hopper and walker
    targets = teacher.targets(target, torch.zeros(8, 17))
    assert targets.weight[0].tolist() == [1, 1, 1, 0, 0, 0]
    acted = teacher.act(observations)
    np.testing.assert_allclose(acted[:, :3], np.clip(mean * ratio, -1, 1), atol=1e-5)
    assert (acted[:, 3:] == 0).all()
    assert "knows nothing of" in " ".join(teacher.notes)


def test_a_converged_teacher_leaves_ppo_its_exploration(envs):
    source = disturb(build("ppo", envs("Reacher-v5"), seed=1, classes=OURS))
    with torch.no_grad():
        source.policy.log_std.copy_(torch.tensor([-4.0, 0.5]))
    target = build("ppo", envs("Reacher-v5"), seed=2, classes=OURS)
    found = taught(source, target).targets(target, torch.zeros(2, 10))
    np.testing.assert_allclose(found.log_std, [[-1.0, 0.5]] * 2, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("Hopper-v5", "Reacher-v5", "Nothing to carry|none of its actions"),
        (
            "CartPole-v1",
            "InvertedPendulum-v5",
            "choices of CartPole-v1, which stand for no continuous action",
        ),
    ],
)
def test_who_cannot_teach_is_told(source, target, said, envs):
    theirs, ours = (build("ppo", envs(task, normalize=False), classes=OURS) for task in (source, target))
    with pytest.raises(WarmstartError, match=said):
        taught(theirs, ours)


def test_several_teachers_pull_to_the_mean_of_their_moments():
    one = ActionTargets(torch.tensor([[0.0]]), torch.tensor([[0.0]]), torch.ones(1, 1))
    two = ActionTargets(torch.tensor([[2.0]]), torch.tensor([[0.0]]), torch.ones(1, 1))
    silent = ActionTargets(torch.tensor([[9.0]]), torch.tensor([[0.0]]), torch.zeros(1, 1))
    found = together([one, two, silent])
    # mean 1, second moment (1 + 5) / 2 = 3, variance 2; two of three have a say
    assert found.mean.item() == pytest.approx(1.0)
    assert found.log_std.item() == pytest.approx(math.log(2) / 2)
    assert found.weight.item() == pytest.approx(2 / 3)


def model_at(step, total=1000):
    return SimpleNamespace(num_timesteps=step, _total_timesteps=total, seed=0)


class Counting(BaseCallback):
    """Counts the steps of each rollout that are left out."""

    def _on_training_start(self):
        self.left_out = []

    def _on_rollout_end(self):
        out = self.model._left_out
        self.left_out.append(0 if out is None else int(out.sum()))

    def _on_step(self):
        return True


def model_in(step):
    return SimpleNamespace(**vars(model_at(step)), n_envs=1, env=None)


def episodes(*returns):
    n = len(returns)
    return EpisodeBatch(np.array(returns, float), np.full(n, 30), np.zeros(n, int), 0)


def test_a_share_fades_over_half_of_training_or_the_steps_that_are_given():
    fading = Fading("steps", None)
    assert fading.share(model_at(50)) == 1.0  # nobody has begun
    fading.begin(model_at(200))
    assert [fading.share(model_at(s)) for s in (200, 400, 600, 900)] == [1.0, 0.5, 0.0, 0.0]
    given = Fading("steps", 100)
    given.begin(model_at(0))
    assert given.share(model_at(25)) == 0.75
    assert Fading("never", None).share(model_at(999)) == 1.0


def test_a_share_fades_with_what_the_student_lacks():
    fading = Fading("performance", None)
    fading.on_episodes(episodes(100.0, 300.0))  # the teacher's: 200
    fading.begin(model_at(0))
    assert fading.share(model_at(1)) == 1.0
    fading.on_episodes(episodes(*[0.0] * 20))
    assert fading.share(model_at(1)) == 1.0
    fading.on_episodes(episodes(*[150.0] * 100))  # λ = 1 − 150 / 200
    assert fading.share(model_at(1)) == pytest.approx(0.25)
    again = Fading("performance", None)
    again.load_state_dict(fading.state_dict())
    assert again.share(model_at(1)) == pytest.approx(0.25)
    fading.on_episodes(episodes(*[400.0] * 100))
    assert fading.share(model_at(1)) == 0.0
    costs = Fading("performance", None)  # returns below zero: the way from the first returns counts
    costs.on_episodes(episodes(-10.0))
    costs.begin(model_at(0))
    costs.on_episodes(episodes(*[-50.0] * 20))
    costs.on_episodes(episodes(*[-20.0] * 100))
    assert costs.share(model_at(1)) == pytest.approx(0.25)


def test_a_guide_steps_back_by_stages_and_is_gone_in_time():
    guide = JumpStartGuide(stages=3, tolerance=0.1, schedule="curriculum", steps=500)
    guide.on_episodes(episodes(100.0, 100.0))  # alone: thirty steps, a return of a hundred
    guide.begin(model_in(100))
    steps = np.array([0, 9, 10, 19, 20, 29, 30])
    assert guide.mask(steps, 100).tolist() == [True] * 6 + [False]
    guide.on_episodes(episodes(*[80.0] * 20))
    assert guide.stage == 0
    guide.on_episodes(episodes(*[95.0] * 20))
    assert guide.mask(steps, 100).tolist() == [True] * 4 + [False] * 3
    assert guide.mask(steps, 266).tolist() == [True] * 4 + [False] * 3
    assert guide.mask(steps, 434).tolist() == [True] * 2 + [False] * 5  # two thirds of its time are over
    assert not guide.mask(steps, 600).any()
    again = JumpStartGuide(3, 0.1, "curriculum", 500)
    again.load_state_dict(guide.state_dict())
    assert again.mask(steps, 600).tolist() == guide.mask(steps, 600).tolist()


def test_a_teacher_whose_episodes_have_not_ended_fades_with_steps_and_says_so():
    fading = Fading("performance", None)
    fading.begin(model_at(0))
    assert fading.share(model_at(250)) == 0.5
    assert "fades with steps" in fading.told


def test_a_guide_whose_episodes_have_not_ended_acts_up_to_the_time_limit():
    guide = JumpStartGuide(stages=2, tolerance=0.1, schedule="curriculum", steps=100)
    guide.begin(SimpleNamespace(**vars(model_at(64)), n_envs=4, env=SimpleNamespace(time_limit=50)))
    assert guide.horizon == 50
    assert guide.mask(np.array([0, 10]), 64).all()


def test_a_random_guide_draws_a_horizon_for_each_episode():
    guide = JumpStartGuide(stages=2, tolerance=0.1, schedule="random", steps=None)
    guide.on_episodes(episodes(1.0))
    guide.begin(model_in(0))
    guide.mask(np.zeros(500, int), 0)
    assert guide.drawn.min() == 0
    assert guide.drawn.max() == 30
    before = guide.drawn.copy()
    guide.mask(np.full(500, 7), 1)
    assert (guide.drawn == before).all()


def test_ppo_leaves_the_guides_steps_out(envs):
    source = disturb(build("ppo", envs("InvertedPendulum-v5"), seed=1, classes=OURS))
    model = build("ppo", envs("InvertedPendulum-v5"), seed=2, classes=OURS)
    warm_start(model, source, "jump_start", seed=0, critic_fit_steps=64, warm_up_steps=0)
    guide = model.seams.experience
    assert guide.horizon > 0
    model.learn(320, reset_num_timesteps=False, callback=(calls := Counting()))
    assert calls.left_out[0] > 5  # of 32 steps: half of training is the guide's, ever shorter
    assert sum(calls.left_out[5:]) == 0


def test_more_teachers_beside_the_source(envs, tmp_path):
    source = disturb(build("ppo", envs("InvertedPendulum-v5"), seed=1, classes=OURS))
    other = disturb(build("sac", envs("InvertedPendulum-v5"), seed=3, classes=OURS), seed=4)
    save_checkpoint(other, tmp_path / "other", task="InvertedPendulum-v5")
    model = build("ppo", envs("InvertedPendulum-v5"), seed=2, classes=OURS)
    method = make_method("kickstart", teachers=(str(tmp_path / "other"),))
    report = warm_start(model, source, method, seed=0)
    (term,) = model.seams.loss_terms
    assert len(term.teachers) == 2
    assert report.copied == 0
    model.learn(32, reset_num_timesteps=False)
    assert isinstance(model.seams, Seams)
