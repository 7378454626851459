"""A wrapper of vector environments that passes on whatever it doesn't change."""

from typing import Any

from gymnasium.vector import VectorWrapper


class PassingWrapper(VectorWrapper[Any, Any, Any, Any, Any]):
    """Gymnasium's `VectorWrapper`, with every public attribute of the environment inside.

    Contexts, layouts, privileged values and counters of `BatchedEnv` stay reachable, through any number of
    wrappers.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.env, name)
