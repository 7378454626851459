"""Encoding many frames fast on a CPU, with features that depend on nothing but the frame.

Frames are always encoded in chunks of 8, each by one thread: the same kernels run whatever the batch's size
and the number of threads, so a frame's features are the same bits in any batch.
"""

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from warmstart.agents.encoders.config import PRECISIONS, Precision
from warmstart.agents.encoders.encoder import Encoder
from warmstart.agents.encoders.packed import PackedLinear, pack
from warmstart.agents.encoders.preprocessing import Preprocessing, check_frames
from warmstart.agents.encoders.readouts import LinearReadout, rows_of
from warmstart.core.errors import WarmstartError, unknown_name

CHUNK = 8
"""Frames that convolutions take at once."""
GROUP = 16
"""Frames that a linear readout takes at once: its weights outgrow the caches, so more would be better."""
PART = 128
"""Frames that are held between the two at most."""
NEGLIGIBLE = 1e-6
"""Weights of a linear readout below this share of the largest, no more than rounding, count as none."""
TOLERANCE = 0.01
"""Relative error of the features up to which ``auto`` computes in bfloat16."""
Frames = NDArray[np.uint8]
Features = NDArray[np.float32]
Encode = Callable[[torch.Tensor], torch.Tensor]


def native_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 itself: AVX512-BF16 or AMX."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


class ChunkEncoder:
    """Encodes chunks of `CHUNK` frames in one precision; a copy of an encoder as it is now.

    Args:
        encoder: A fitted encoder.
        dtype: Of the convolutions; the readout computes in float32.

    Attributes:
        linear: Turns `GROUP` rows into features, where the readout is linear; else None.
        columns: Size of a row: of what ``linear`` takes, or of the features.
    """

    def __init__(self, encoder: Encoder, dtype: torch.dtype) -> None:
        self.dtype, self.preprocessing = dtype, encoder.preprocessing
        self.backbone = copy.deepcopy(encoder.backbone).cpu()
        self.readout = copy.deepcopy(encoder.readout).cpu()
        self.linear: PackedLinear | None = None
        self.positions: torch.Tensor | None = None
        self.columns = encoder.n_features
        plain = self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            self._pack(encoder)
        except (AttributeError, NotImplementedError, RuntimeError):  # this build of torch has other kernels
            self.backbone, self.linear, self.preprocessing = plain.to(dtype), None, encoder.preprocessing
            self.columns = encoder.n_features

    def _pack(self, encoder: Encoder) -> None:
        """Rewrite the network for oneDNN, and see whether that runs."""
        self.backbone = copy.deepcopy(self.backbone)
        network = self.backbone.network
        if self.backbone.ordered:
            if self.preprocessing.order == "bgr":
                self.preprocessing = as_rgb(self.preprocessing, network)
            pack(network, self.dtype)
        network.to(self.dtype)
        if isinstance(self.readout, LinearReadout):
            weight, self.positions = self.readout.weight, live_positions(self.readout)
            if self.positions is not None:
                channels = self.readout.shape[0]
                weight = weight.view(len(weight), -1, channels)[:, self.positions].flatten(1)
            self.linear, self.columns = PackedLinear(weight, self.readout.offset, GROUP), weight.shape[1]
            self.linear(torch.zeros(GROUP, self.columns))
        self.rows(torch.zeros(CHUNK, *encoder.frame_shape, dtype=torch.uint8))

    def rows(self, frames: torch.Tensor) -> torch.Tensor:
        """Features of frames, or what ``linear`` makes them of.

        Args:
            frames: uint8. Shape: (CHUNK, height, width, 3).

        Returns:
            Shape: (CHUNK, columns).
        """
        maps = self.backbone(self.preprocessing(frames).to(self.dtype))
        if self.linear is None:
            return self.readout(maps)  # type: ignore[no-any-return]
        if self.positions is None:
            return rows_of(maps)
        return maps.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, self.positions).flatten(1)  # type: ignore[no-any-return]


def live_positions(readout: LinearReadout) -> torch.Tensor | None:
    """Positions of a map that a readout takes anything from, where it leaves out a tenth at least.

    What never moved in the frames of the fit has no weight in principal components.

    Returns:
        Indices into height * width, int64. Shape: (positions,). ``None`` where it takes nearly all.
    """
    largest = readout.weight.abs().amax(0).view(-1, readout.shape[0]).amax(1)
    live = torch.nonzero(largest > NEGLIGIBLE * largest.max()).flatten()
    return live if len(live) <= 0.9 * len(largest) else None


def as_rgb(preprocessing: Preprocessing, network: nn.Module) -> Preprocessing:
    """Swap the channels in a network's first convolution instead of in every frame, if it begins with one."""
    first = network
    while list(first.children()):
        first = next(first.children())
    if not isinstance(first, nn.Conv2d) or first.groups != 1:
        return preprocessing
    first.weight.data = first.weight.flip(1).contiguous(memory_format=torch.channels_last)
    mean, std = ((v[2], v[1], v[0]) for v in (preprocessing.mean, preprocessing.std))
    return replace(preprocessing, order="rgb", mean=mean, std=std)


class FastEncoder:
    """Frames to features on the CPU; to be called from one thread at a time.

    In bfloat16, most of the error is the same in every frame, since it comes from what doesn't move; it is
    measured on the encoder's samples and subtracted.

    Args:
        encoder: A fitted encoder; what becomes of it later has no effect.
        precision: Of the convolutions. ``auto`` takes bfloat16 where the processor computes with it and the
            features of the samples err by less than `TOLERANCE`.
        n_threads: Threads that share the chunks.
    """

    def __init__(self, encoder: Encoder, precision: Precision = "auto", n_threads: int = 1) -> None:
        if precision not in PRECISIONS:
            raise unknown_name("precision", precision, PRECISIONS)
        if n_threads < 1:
            raise WarmstartError(f"Expected at least 1 thread, found {n_threads}.")
        if not encoder.fitted:
            raise WarmstartError("The encoder's readout was not fitted: call encoder.fit with frames first.")
        self.n_features, self.check_size = encoder.n_features, encoder.check_size
        self._threads = Threads(n_threads)
        self._correction: Features | None = None
        self.error = 0.0
        self.precision: Precision = "float32"
        self._use(ChunkEncoder(encoder, torch.float32))
        if precision == "bfloat16" or (precision == "auto" and native_bfloat16() and len(encoder.samples)):
            self._lower(encoder, always=precision == "bfloat16")

    def _use(self, chunks: ChunkEncoder) -> None:
        self._chunks, self._held = chunks, torch.zeros(0, chunks.columns)

    def _lower(self, encoder: Encoder, always: bool) -> None:
        """Turn to bfloat16 if the error on the encoder's samples allows it."""
        exact = self._chunks
        samples: Frames = encoder.samples.cpu().numpy()
        wanted = self(samples).astype(np.float64)
        self._use(ChunkEncoder(encoder, torch.bfloat16))
        self.precision = "bfloat16"
        if not len(samples):
            return
        found = self(samples).astype(np.float64)
        correction = (found - wanted).mean(0)
        self.error = relative_error(found - correction, wanted)
        if always or self.error < TOLERANCE:
            self._correction = correction.astype(np.float32)
        else:
            self._use(exact)
            self.precision, self.error = "float32", 0.0

    def __call__(self, frames: Frames) -> Features:
        """Features of frames.

        Args:
            frames: RGB, uint8. Shape: (n, height, width, 3).

        Returns:
            Shape: (n, n_features).

        Raises:
            WarmstartError: The frames are of another type or shape.
        """
        if not isinstance(frames, np.ndarray):
            raise WarmstartError(f"Expected frames as a NumPy array, found {type(frames).__name__}.")
        check_frames(frames.shape, str(frames.dtype))
        self.check_size(frames.shape)
        parts = [self._part(frames[start : start + PART]) for start in range(0, len(frames), PART)]
        out = np.concatenate(parts) if parts else np.zeros((0, self.n_features), dtype=np.float32)
        return out if self._correction is None else out - self._correction

    def _part(self, frames: Frames) -> Features:
        """Features of at most `PART` frames, not corrected yet."""
        size, chunks = len(frames), self._chunks
        if len(self._held) < size:
            self._held = torch.zeros(-(-size // GROUP) * GROUP, chunks.columns)
        held, linear = self._held, chunks.linear

        @torch.inference_mode()
        def encode(start: int) -> None:
            held[start : start + CHUNK] = chunks.rows(chunk_of(frames, start))

        self._threads.run(encode, range(0, size, CHUNK))
        if linear is None:
            return held[:size].numpy().copy()
        out = torch.empty(len(held), self.n_features)

        @torch.inference_mode()
        def read(start: int) -> None:
            out[start : start + GROUP] = linear(held[start : start + GROUP])

        self._threads.run(read, range(0, size, GROUP))
        return out[:size].numpy()


def chunk_of(frames: Frames, start: int) -> torch.Tensor:
    """Frames (n, height, width, 3) from ``start`` on, black where there are none. Shape: (CHUNK, …)."""
    chunk = frames[start : start + CHUNK]
    if len(chunk) == CHUNK and chunk.flags.c_contiguous and chunk.flags.writeable:
        return torch.from_numpy(chunk)
    padded = np.zeros((CHUNK, *frames.shape[1:]), dtype=np.uint8)
    padded[: len(chunk)] = chunk
    return torch.from_numpy(padded)


class Threads:
    """Runs a function over chunks, each on one thread only, as sums depend on how many share them.

    Args:
        n_threads: Threads beside one another.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None

    def run(self, function: Callable[[int], None], items: range) -> None:
        """Call a function with each item."""
        todo = iter(items)  # who is done first takes the next

        def work() -> None:
            for item in todo:
                function(item)

        helps = torch.get_num_threads() == 1  # then the calling thread computes the same bits
        others = min(self.n_threads, len(items)) - helps
        if others and self._pool is None:
            self._pool = self._start()
        waiting = [self._pool.submit(work) for _ in range(others)] if self._pool is not None else []
        if helps:
            work()
        for each in waiting:
            each.result()

    def _start(self) -> ThreadPoolExecutor:
        own = torch.get_num_threads()
        pool = ThreadPoolExecutor(self.n_threads, "encode", lambda: torch.set_num_threads(1))
        all_started = threading.Barrier(self.n_threads)
        for _ in pool.map(lambda _: all_started.wait(), range(self.n_threads)):
            pass
        torch.set_num_threads(own)  # what a worker sets holds for threads started later, too
        return pool


@torch.no_grad()
def feature_error(encoder: Encoder, frames: Any, precision: Precision) -> float:
    """Relative error of the fast features, |fast - exact| / |exact| in L2, against the encoder itself.

    Args:
        encoder: A fitted encoder.
        frames: RGB, uint8. Shape: (n, height, width, 3).
        precision: Of the fast convolutions.
    """
    frames = np.array(frames)
    exact = [encoder(part) for part in torch.split(torch.from_numpy(frames), CHUNK)]
    return relative_error(FastEncoder(encoder, precision)(frames), torch.cat(exact).numpy())


def relative_error(found: NDArray[Any], exact: NDArray[Any]) -> float:
    """|found - exact| / |exact| in L2, over all elements of two arrays of the same shape."""
    wanted = exact.astype(np.float64)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
