"""All rewards that an agent can train on, and how one is made from its name."""

from warmstart.agents.rewards import state_entropy, task
from warmstart.agents.rewards.base import REWARDS, RewardConfig
from warmstart.core.bounds import Place, Settings
from warmstart.core.plain import read_named

__all__ = ["REWARDS", "read_reward"]

OURS = (task.TaskReward, state_entropy.StateEntropy)
"""Ours, in the order in which they are listed."""
for _reward in OURS:
    REWARDS[_reward.name] = REWARDS.pop(_reward.name)


def read_reward(written: str | Settings | RewardConfig, place: Place = ()) -> RewardConfig:
    """Make a reward from plain values, as in YAML: ``{name: state_entropy, neighbours: 12}``.

    Args:
        written: A name, a mapping with the name under ``name`` and options beside it, or what is wanted.
        place: Where it stands, for messages.

    Raises:
        SettingError: The name or an option is unknown (the nearest valid ones are named), or a value is of
            the wrong type or out of bounds.
    """
    return read_named("reward", REWARDS, written, place=place)


def recorded_reward(written: str | Settings | RewardConfig, place: Place = ()) -> Settings:
    """Every option of a reward as plain values; nothing where it is the task's own.

    Raises:
        SettingError: As `read_reward`.
    """
    reward = read_reward(written, place)
    return reward.to_json() if reward.replaces else {}
