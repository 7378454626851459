"""Functions that torch runs without Python in between."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a function of tensors by TorchScript, which calls the same kernels in the same order.

    Small operations cost less than Python needs to call them; the results are the same bits. TorchScript is
    deprecated in favour of ``torch.compile``, which needs a C++ compiler on the user's machine; where a later
    torch has no TorchScript any more, the function stays as it is, slower.
    """
    script = getattr(torch.jit, "script", None)
    if script is None:
        return function
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found: Function = script(function)
    return found
