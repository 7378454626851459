"""That a warm start is worth it, where it should be."""

import pytest

from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.evaluation import evaluate
from warmstart.agents.settings.config import PPOConfig, SACConfig
from warmstart.transfer.warm_start import warm_start

SOURCE, TARGET = "InvertedPendulum-v5", "InvertedPendulum-v5@pole.mass=x3"
CONFIGS = {
    "ppo": PPOConfig(n_envs=8, n_steps=64, batch_size=64, learning_rate=1e-3),
    "sac": SACConfig(n_envs=1, learning_starts=500, net_arch=(64, 64), gradient_steps=1, batch_size=64),
}
STEPS = {"ppo": (60_000, 10_240, 2_048), "sac": (6_000, 3_000, 1_000)}


def play(agent):
    return evaluate(Policy.from_model(agent), TARGET, episodes=8, seed=100).mean


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_warm_beats_shuffled_and_keeps_what_it_knew(algorithm):
    config, (source_steps, steps, fit) = CONFIGS[algorithm], STEPS[algorithm]
    env = make_training_env(config, SOURCE, seed=0)
    source = build_agent(config, env, seed=0)
    source.learn(source_steps)
    found = {}
    for method in ("fine_tune", "shuffled"):
        target_env = make_training_env(config, TARGET, seed=1)
        agent = build_agent(config, target_env, seed=1)
        report = warm_start(agent, source, method, critic_fit_steps=fit, seed=2)
        start = play(agent)
        agent.learn(steps - report.steps, reset_num_timesteps=False, callback=report.callback)
        found[method] = (start, play(agent))
        target_env.close()
    env.close()
    assert found["fine_tune"][0] > 5 * found["shuffled"][0]
    assert found["fine_tune"][1] > 0.8 * found["fine_tune"][0]
    if algorithm == "ppo":  # a SAC source this short knows too little to stay ahead
        assert found["fine_tune"][1] > found["shuffled"][1]
