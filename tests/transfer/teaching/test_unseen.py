"""A teacher that sees the state and a student that sees frames, and the other way round."""

import numpy as np
import pytest
import torch

from tests.agents.observing.test_observed_frames import fitted
from tests.transfer.conftest import disturb
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import checkpoint_of, save_checkpoint
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.evaluation import evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.base import EncodedFrames
from warmstart.agents.settings.config import PPOConfig, SACConfig, TD3Config, TQCConfig
from warmstart.core.errors import WarmstartError
from warmstart.transfer.table import make_method
from warmstart.transfer.warm_start import warm_start

STATE = "InvertedPendulum-v5"
FRAMES = "InvertedPendulum-v5:obs=pixels,size=24"
BOTH = "InvertedPendulum-v5:obs=pixels+state,size=24"
PPO = PPOConfig(n_envs=2, n_steps=16, batch_size=16, n_epochs=2, net_arch=(8,))
OFF_POLICY = {"n_envs": 2, "buffer_size": 256, "learning_starts": 16, "batch_size": 8, "net_arch": (8,)}
AGENTS = {
    "ppo": PPO,
    "sac": SACConfig(**OFF_POLICY),
    "td3": TD3Config(**OFF_POLICY),
    "tqc": TQCConfig(**OFF_POLICY),
}
SIMBA = SACConfig(**OFF_POLICY, network="simba", normalize_obs=True)
N_FEATURES = 12


@pytest.fixture(scope="module")
def encoder(opengl):
    return fitted(FRAMES)


@pytest.fixture
def agents(encoder):
    """Build an agent that is ready for a method, in any of the three tasks; close its environment."""
    made = []

    def make(task, config=PPO, method=None, source=None, seed=0):
        vision = EncodedFrames(encoder) if "pixels" in task else None
        env = make_training_env(config, task, seed, vision=vision)
        made.append(env)
        return build_agent(config, env, seed, seams=method.seams(source) if method else None)

    yield make
    for env in made:
        env.close()


def numbers(n=6):
    return np.random.default_rng(0).normal(size=(n, N_FEATURES + 4)).astype(np.float32)


def outputs(model, observations):
    """What actor and critic make of standardised observations."""
    seen = torch.as_tensor(observations)
    with torch.no_grad():
        acted = model.policy._predict(seen, deterministic=True)
        if hasattr(model.policy, "predict_values"):
            return acted, model.policy.predict_values(seen)
        return acted, *model.critic(seen, acted), *model.critic_target(seen, acted)


@pytest.mark.parametrize("algorithm", AGENTS)
@pytest.mark.parametrize("sees", ["pixels", "state"])
def test_neither_actor_nor_critic_reads_what_is_the_teachers_before_or_after_learning(
    sees, algorithm, agents
):
    source = disturb(agents(STATE if sees == "pixels" else FRAMES, seed=1))
    method = make_method("distill", critic_fit_steps=32, critic_updates=8, updates=5, student_sees=sees)
    student = agents(BOTH, AGENTS[algorithm], method)
    report = warm_start(student, source, method)
    assert f"the student's checkpoint takes {sees} alone" in " ".join(report.notes)
    mine, other = numbers(), numbers()
    hidden = slice(N_FEATURES, None) if sees == "pixels" else slice(0, N_FEATURES)
    other[:, hidden] = 7.0
    before = outputs(student, mine)
    student.learn(64, callback=report.callback, reset_num_timesteps=False)
    for ours, theirs in zip(outputs(student, mine), outputs(student, other), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(before[0], outputs(student, mine)[0]), "it learns from the rest"


@pytest.mark.parametrize(("sees", "alone"), [("pixels", FRAMES), ("state", STATE)])
def test_the_students_checkpoint_takes_only_what_it_reads_and_acts_alike(sees, alone, agents, tmp_path):
    source = disturb(agents(STATE if sees == "pixels" else FRAMES, seed=1))
    method = make_method("kickstart", student_sees=sees)
    student = agents(BOTH, PPO, method)
    report = warm_start(student, source, method)
    student.learn(64, callback=report.callback, reset_num_timesteps=False)
    kept = load_checkpoint(save_checkpoint(student, tmp_path / "agent"))
    width = N_FEATURES if sees == "pixels" else 4
    assert kept.observation_space.shape == (width,)
    assert len(kept.observation_layout) == width
    assert kept.normalizer.mean.shape == kept.normalizer.var.shape == (width,)
    assert kept.task == alone
    assert (kept.vision is None) == (sees == "state")
    ours, theirs = Policy.from_model(student), kept.policy()
    seen = numbers()
    own = seen[:, :N_FEATURES] if sees == "pixels" else seen[:, N_FEATURES:]
    np.testing.assert_allclose(ours.predict(seen), theirs.predict(own), atol=1e-6)
    np.testing.assert_allclose(
        evaluate(theirs, alone, episodes=3).returns, evaluate(ours, BOTH, episodes=3).returns, rtol=1e-4
    )


def test_the_teacher_acts_on_what_the_student_does_not_see(agents):
    source = disturb(agents(STATE, seed=1))
    method = make_method("kickstart", student_sees="pixels")
    student = agents(BOTH, PPO, method)
    warm_start(student, source, method)
    (teacher,) = student.seams.loss_terms[0].teachers
    seen = numbers()
    expected = Policy.from_model(source).predict(seen[:, N_FEATURES:])
    np.testing.assert_allclose(teacher.act(seen), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (STATE, {}, r"kickstart: student_sees=pixels .* obs=pixels\+state .* InvertedPendulum-v5 observes"),
        (
            FRAMES,
            {"student_sees": "all"},
            r"obs=pixels\+state\) and the source teach, .* student_sees=pixels",
        ),
        (BOTH, {"student_sees": "both"}, "student_sees: expected one of 'all', 'pixels', 'state'"),
    ],
)
def test_a_student_that_cannot_be_blinded_is_refused(task, options, message, agents):
    source = agents(STATE, seed=1)
    with pytest.raises(WarmstartError, match=message):
        warm_start(agents(task), source, "kickstart", **{"student_sees": "pixels", **options})


def test_a_student_with_the_simba_network_is_blinded_too(agents):
    source = agents(STATE, SACConfig(**OFF_POLICY), seed=1)
    student = agents(BOTH, SIMBA, make_method("kickstart"))
    warm_start(student, source, "kickstart", student_sees="pixels")
    assert checkpoint_of(student).observation_space.shape == (N_FEATURES,)
