"""Encoding many frames fast on a CPU, with results that depend on nothing but the frame.

Frames are always encoded in chunks of 8 rows: the same kernels run whatever the batch's size and the number
of threads, so a frame's features are the same bits in any batch. May import envs and agents.
"""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.agents.encoder_config import PRECISIONS, Precision
from warmstart.agents.encoders import Encoder
from warmstart.envs.errors import WarmstartError, unknown_name

CHUNK = 8
"""Frames that are encoded at once."""
Frames = NDArray[np.uint8]
Features = NDArray[np.float32]


def native_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 itself: AVX512-BF16 or AMX."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def resolve_precision(precision: Precision) -> torch.dtype:
    """Type of the convolutions."""
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    wanted = precision == "bfloat16" or (precision == "auto" and native_bfloat16())
    return torch.bfloat16 if wanted else torch.float32


class FastEncoder:
    """Frames to features on the CPU.

    Args:
        encoder: A fitted encoder; it is copied as it is now.
        precision: Of the convolutions; the readout computes in float32.
        n_threads: Threads that share the chunks.
        compile: Whether to compile the network, which takes some time at the first call.
    """

    def __init__(
        self, encoder: Encoder, precision: Precision = "auto", n_threads: int = 1, compile: bool = False
    ) -> None:
        if not encoder.fitted:
            raise WarmstartError("The encoder's readout was not fitted: call encoder.fit with frames first.")
        if n_threads < 1:
            raise WarmstartError(f"Expected at least 1 thread, found {n_threads}.")
        self.dtype = resolve_precision(precision)
        self.encoder = copy.deepcopy(encoder).cpu()
        backbone = self.encoder.backbone.to(self.dtype)
        backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._backbone: Callable[[torch.Tensor], torch.Tensor] = backbone
        if compile:
            self._backbone = torch.compile(backbone, dynamic=False, options={"freezing": True})
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None

    @torch.inference_mode()
    def __call__(self, frames: Frames) -> Features:
        """Features of frames.

        Args:
            frames: RGB, uint8. Shape: (n, height, width, 3).

        Returns:
            Shape: (n, n_features).
        """
        if not isinstance(frames, np.ndarray):
            raise WarmstartError(f"Expected frames as a NumPy array, found {type(frames).__name__}.")
        self.encoder.check_size(frames.shape)
        rows = len(frames)
        starts = range(0, rows, CHUNK)
        out: Features = np.empty((len(starts) * CHUNK, self.encoder.n_features), dtype=np.float32)

        def encode(start: int) -> None:
            chunk = frames[start : start + CHUNK]
            if len(chunk) < CHUNK:
                chunk = np.concatenate(
                    (chunk, np.zeros((CHUNK - len(chunk), *frames.shape[1:]), frames.dtype))
                )
            with torch.inference_mode():
                out[start : start + CHUNK] = self._encode(torch.from_numpy(chunk)).numpy()

        if self._pool is None or len(starts) < 2:
            for start in starts:
                encode(start)
        else:
            list(self._pool.map(encode, starts))
        return out[:rows]

    def _encode(self, frames: torch.Tensor) -> torch.Tensor:
        x = self.encoder.preprocessing(frames).to(self.dtype)
        return self.encoder.readout(self._backbone(x))  # type: ignore[no-any-return]


def fast(
    encoder: Encoder, precision: Precision = "auto", *, n_threads: int = 1, compile: bool = False
) -> FastEncoder:
    """A function from frames (n, height, width, 3), uint8, to features (n, n_features), float32.

    See `FastEncoder`.
    """
    return FastEncoder(encoder, precision, n_threads, compile)


@torch.no_grad()
def feature_error(encoder: Encoder, frames: Any, precision: Precision) -> float:
    """Relative error of the fast path's features, |fast - exact| / |exact| in L2, against float32 eager.

    Args:
        encoder: A fitted encoder.
        frames: RGB, uint8. Shape: (n, height, width, 3).
        precision: Of the fast path's convolutions.
    """
    frames = np.ascontiguousarray(frames)
    exact = torch.cat([encoder(part) for part in torch.from_numpy(frames).split(32)]).double()
    found = torch.from_numpy(fast(encoder, precision)(frames)).double()
    return float((found - exact).norm() / exact.norm())
