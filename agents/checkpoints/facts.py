"""What there is to be told of a checkpoint."""

from warmstart.agents.checkpoints.checkpoint import Checkpoint, plain_fields
from warmstart.core.bounds import State


def checkpoint_facts(checkpoint: Checkpoint) -> State:
    """What ``warmstart inspect`` shows: plain values, with every tensor's shape and type.

    The normaliser is summed up by its observations' count and settings.
    """
    tensors = {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in checkpoint.tensors.items()
    }
    fields = plain_fields(checkpoint)
    for name in ("mean", "var"):
        (fields["normalizer"] or {}).pop(name, None)
    return {
        "path": None if checkpoint.path is None else str(checkpoint.path),
        "format": checkpoint.format,
        **fields,
        "parameters": sum(value.numel() for value in checkpoint.policy_tensors.values()),
        "tensors": tensors,
        "fingerprint": checkpoint.fingerprint(),
        "notes": list(checkpoint.notes),
    }
