"""sb3-contrib's RecurrentPPO: the name and classes of its policies, and why they start no other agent."""

from sb3_contrib import RecurrentPPO

from warmstart.core.errors import WarmstartError

RECURRENT = "recurrent_ppo"
"""Name of the algorithm in a checkpoint. It is read, evaluated and shown, and not trained."""
RECURRENT_POLICIES = {cls.__name__: cls for cls in RecurrentPPO.policy_aliases.values()}


def refuse_recurrent(algorithm: str) -> None:
    """Say why a recurrent source's networks can't start a target's.

    Raises:
        WarmstartError: The source's algorithm is RecurrentPPO.
    """
    if algorithm == RECURRENT:
        raise WarmstartError(
            "The source is a policy of RecurrentPPO. Its layers read the units of its LSTM and not the "
            "observations, and the agents that are trained here have no LSTM: neither the LSTM nor what "
            "reads it can be carried over. It can be evaluated, filmed and compared (warmstart evaluate, "
            "video, gap). Train a source by ppo."
        )
