"""A wrapper of vector environments that passes on whatever it doesn't change."""

from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper


class PassingWrapper(VectorWrapper[Any, Any, Any, Any, Any]):
    """Gymnasium's `VectorWrapper`, with every public attribute of the environment inside.

    Contexts, layouts, privileged values and counters of `BatchedEnv` stay reachable, through any number of
    wrappers.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.env, name)
