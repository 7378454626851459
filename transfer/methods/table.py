"""The table of transfer methods, and how one is built from its name. May import ``envs`` and ``agents``."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.transfer.methods.base import METHODS, TransferContext, TransferMethod, register_method
from warmstart.transfer.methods.controls import Scratch, Shuffled, ZeroShot
from warmstart.transfer.methods.feature_extraction import FeatureExtraction
from warmstart.transfer.methods.fine_tuning import FineTune

__all__ = [
    "METHODS",
    "FeatureExtraction",
    "FineTune",
    "Scratch",
    "Shuffled",
    "TransferContext",
    "TransferMethod",
    "ZeroShot",
    "make_method",
    "register_method",
]


def make_method(method: "str | Mapping[str, Any] | TransferMethod", **options: Any) -> TransferMethod:
    """Build a method from its name and options.

    Args:
        method: A name; a mapping with the name under ``method`` and options beside it; or a method, which is
            returned as it is.
        options: Options of the method.

    Returns:
        The method.

    Raises:
        WarmstartError: If the name or an option is unknown; the nearest valid ones are named.
    """
    if isinstance(method, TransferMethod):
        if options:
            raise WarmstartError(
                f"{method.name} was given as an object; set its options there, not beside it: "
                f"{', '.join(options)}."
            )
        return method
    if isinstance(method, Mapping):
        if "method" not in method:
            raise WarmstartError(f"A transfer method needs its name under 'method'; found {dict(method)!r}.")
        options = {**{key: value for key, value in method.items() if key != "method"}, **options}
        method = str(method["method"])
    if method not in METHODS:
        raise unknown_name("transfer method", method, METHODS)
    valid = [entry.name for entry in fields(METHODS[method])]
    for option in options:
        if option not in valid:
            raise unknown_name(f"option of {method}", option, valid)
    return METHODS[method](**options)
