"""Arrays in NumPy's archives (``.npz``) from anybody: plain values, as many as there are bytes."""

import math
import tokenize
import warnings
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.agents.untrusted.zips import DAMAGE
from warmstart.core.bounds import show
from warmstart.core.errors import WarmstartError

_DAMAGE = (*DAMAGE, TypeError, SyntaxError, RecursionError, tokenize.TokenError)


def read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array.

    Args:
        archive: As `open_zip` gives it.
        name: The member, such as ``time.npy``.

    Raises:
        WarmstartError: It is damaged, holds Python objects, or claims another size than it has.
    """
    key = show(name.removesuffix(".npy"))
    try:
        member = archive.getinfo(name)
        with archive.open(member) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            else:
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
            content = file.read()
        if dtype.hasobject:
            raise WarmstartError(f"expected numbers in the array {key}, found Python objects.")
        if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(content):
            what = f"{dtype} of the shape {show(shape)}, with {len(content):,} bytes"
            raise WarmstartError(f"expected numbers in the array {key}, found broken data: {what}.")
        flat = np.frombuffer(content, dtype) if content else np.zeros(0, dtype)
        return flat.reshape(shape, order="F" if fortran else "C").copy()
    except WarmstartError:
        raise
    except _DAMAGE as error:
        why = str(error) or type(error).__name__
        raise WarmstartError(f"expected numbers in the array {key}, found broken data: {why}.") from None
