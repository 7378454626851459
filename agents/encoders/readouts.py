"""Readouts: from a backbone's map of features to a vector, standardised on frames of the task.

Statistics are buffers, so that a saved state is complete.
"""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn
from typing_extensions import override

from warmstart.core.errors import WarmstartError, unknown_name

DEAD = 1e-3
"""Standard deviations below this share of the largest are raised to it, so that dead channels stay quiet."""
TINY = 1e-6
"""Variances below this share of the largest are raised to it by ``pca``."""
COLUMNS = 4096
"""Columns that are multiplied in double precision at once, to bound memory."""


class Readout(nn.Module):
    """Turns a map (n, channels, height, width) into a vector (n, n_features), float32.

    Args:
        shape: Channels, height and width of the map.
        features: Numbers wanted, where the readout has a choice.
        seed: Of random projections and queries.
    """

    needs_fit: ClassVar[bool] = True
    _fitted: torch.Tensor

    def __init__(self, shape: tuple[int, int, int], features: int, seed: int = 0) -> None:
        super().__init__()
        if features < 1:
            raise WarmstartError(f"Expected at least 1 feature, found {features}.")
        self.shape, self.seed = shape, seed
        self.n_features = features
        self.register_buffer("_fitted", torch.tensor(not self.needs_fit))

    @property
    def fitted(self) -> bool:
        """Whether it can be used."""
        return bool(self._fitted)

    @torch.no_grad()
    def fit(self, maps: torch.Tensor) -> None:
        """Take statistics from maps of the task's frames.

        Args:
            maps: Shape: (n, channels, height, width).
        """
        self._check(maps)
        self._fit(maps)
        self._fitted.fill_(True)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Features of maps.

        Args:
            maps: Shape: (n, channels, height, width).

        Returns:
            Shape: (n, n_features).

        Raises:
            WarmstartError: It hasn't been fitted, or the map has another shape.
        """
        if not self._fitted:
            raise WarmstartError(
                f"The readout {type(self).__name__} was not fitted: call fit with frames of the task first."
            )
        self._check(maps)
        return self._read(maps.float())

    def _fit(self, maps: torch.Tensor) -> None:
        """Take statistics; a readout without any has nothing to do."""

    def _read(self, maps: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no _read(maps).")

    def _check(self, maps: torch.Tensor) -> None:
        if tuple(maps.shape[1:]) != self.shape:
            raise WarmstartError(
                f"Expected maps of shape (n, {', '.join(map(str, self.shape))}), found {tuple(maps.shape)}: "
                "the frames have another size, or the backbone another tap."
            )


def rows_of(maps: torch.Tensor) -> torch.Tensor:
    """Maps as rows, channels varying fastest: a view where the memory is channels-last.

    Args:
        maps: Shape: (n, channels, height, width).

    Returns:
        Shape: (n, height * width * channels).
    """
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1)


class LinearReadout(Readout):
    """A linear map of the whole spatial map: ``weight @ (rows - mean)``; channels vary fastest in rows."""

    weight: torch.Tensor
    """Shape: (k, height * width * channels)."""
    mean: torch.Tensor
    """Shape: (height * width * channels,)."""

    def __init__(self, shape: tuple[int, int, int], features: int, seed: int = 0) -> None:
        super().__init__(shape, features, seed)
        size = math.prod(shape)
        if features > size:
            raise WarmstartError(
                f"Expected at most {size} features, the size of the map {shape}, found {features}."
            )
        self.register_buffer("weight", torch.zeros(features, size))
        self.register_buffer("mean", torch.zeros(size))

    @property
    def offset(self) -> torch.Tensor:
        """What is added to ``weight @ rows``. Shape: (k,)."""
        return -(self.weight.double() @ self.mean.double()).float()

    def _read(self, maps: torch.Tensor) -> torch.Tensor:
        return (rows_of(maps) - self.mean) @ self.weight.t()


class PcaReadout(LinearReadout):
    """Whitened principal components of the whole spatial map: unit variance, uncorrelated."""

    def _fit(self, maps: torch.Tensor) -> None:
        rows, k = rows_of(maps).float(), self.n_features
        n = len(rows)
        if n < k + 1:
            raise WarmstartError(
                f"Expected at least {k + 1} frames to fit {k} principal components, found {n}: give more "
                "frames (fit_frames) or ask for fewer features."
            )
        mean = column_means(rows)
        gram = torch.zeros(n, n, dtype=torch.float64)
        for part in centred_columns(rows, mean):
            add_gram(gram, part)
        values, vectors = torch.linalg.eigh(gram, UPLO="L")
        values, vectors = values[-k:].flip(0), vectors[:, -k:].flip(1)
        if not values[0] > 0:
            raise WarmstartError("The frames to fit on are all equal; give frames of different states.")
        # The component x^T u / sqrt(value) divided by the standard deviation sqrt(value / (n - 1)).
        scaled = vectors * (math.sqrt(n - 1) / values.clamp_min(TINY * float(values[0])))
        weight = torch.cat([(scaled.t() @ part).float() for part in centred_columns(rows, mean)], 1)
        largest = weight.gather(1, weight.abs().argmax(1, keepdim=True))
        self.weight.copy_(weight * largest.sign())  # an eigenvector's sign is arbitrary
        self.mean.copy_(mean)


class ProjectionReadout(LinearReadout):
    """A random projection of the standardised spatial map, each feature standardised."""

    def _fit(self, maps: torch.Tensor) -> None:
        rows = rows_of(maps).float()
        mean = column_means(rows)
        rows = rows - mean.float()
        std = alive(rows.double().square().mean(0).sqrt())
        generator = torch.Generator().manual_seed(self.seed)
        weight = torch.randn(self.weight.shape, generator=generator, dtype=torch.float32) / std.float()
        spread = alive((rows @ weight.t()).double().square().mean(0).sqrt())
        self.weight.copy_(weight / spread[:, None])
        self.mean.copy_(mean)


class StandardisedReadout(Readout):
    """Some numbers of each map, each standardised by its mean and deviation over the frames of the fit.

    Args:
        shape: Channels, height and width of the map.
        features: How many numbers.
        seed: Not used.
    """

    mean: torch.Tensor
    """Shape: (n_features,)."""
    std: torch.Tensor
    """Shape: (n_features,)."""

    def __init__(self, shape: tuple[int, int, int], features: int, seed: int = 0) -> None:
        super().__init__(shape, features, seed)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def numbers(self, maps: torch.Tensor) -> torch.Tensor:
        """The numbers of maps before they are standardised. Shape: (n, channels, …) to (n, n_features)."""
        raise NotImplementedError(f"{type(self).__name__} has no numbers(maps).")

    def _fit(self, maps: torch.Tensor) -> None:
        found = torch.cat([self.numbers(part.float()) for part in torch.split(maps, 64)]).double()
        self.mean.copy_(found.mean(0))
        self.std.copy_(alive(found.std(0, correction=0)))

    def _read(self, maps: torch.Tensor) -> torch.Tensor:
        return (self.numbers(maps) - self.mean) / self.std


class SpatialSoftmax(StandardisedReadout):
    """Where each channel is bright: expected x and y, from -1 to 1, under a softmax over positions.

    Finn et al., 1509.06113, section IV; channels are standardised before it and the coordinates after it.
    """

    TEMPERATURE: ClassVar[float] = 1.0

    channel_std: torch.Tensor
    """Shape: (channels,)."""
    grid: torch.Tensor
    """x and y of each position. Shape: (2, height * width)."""

    def __init__(self, shape: tuple[int, int, int], features: int = 1, seed: int = 0) -> None:
        del features
        channels, height, width = shape
        super().__init__(shape, 2 * channels, seed)
        self.register_buffer("channel_std", torch.ones(channels))
        x, y = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)
        grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)))
        self.register_buffer("grid", grid.flatten(1), persistent=False)

    @override
    def numbers(self, maps: torch.Tensor) -> torch.Tensor:
        positions = maps.permute(0, 2, 3, 1).flatten(1, 2)  # (n, height * width, channels)
        weights = (positions / (self.channel_std * self.TEMPERATURE)).softmax(1)  # their mean has no effect
        return (self.grid @ weights).transpose(1, 2).flatten(1)

    def _fit(self, maps: torch.Tensor) -> None:
        self.channel_std.copy_(channel_statistics(maps)[1])
        super()._fit(maps)


class AverageReadout(StandardisedReadout):
    """Each channel's mean over positions, standardised."""

    def __init__(self, shape: tuple[int, int, int], features: int = 1, seed: int = 0) -> None:
        del features
        super().__init__(shape, shape[0], seed)

    @override
    def numbers(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.mean((2, 3))


class FlattenReadout(Readout):
    """The map as it is."""

    needs_fit = False

    def __init__(self, shape: tuple[int, int, int], features: int = 1, seed: int = 0) -> None:
        super().__init__(shape, features, seed)
        self.n_features = math.prod(shape)

    def _read(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.flatten(1)


class AttentionReadout(Readout):
    """Attention pooling: queries that look for positions, and a linear layer of what they find.

    Queries and layer stay as the seed drew them, as encoders with a readout are frozen. Keys are
    layer-normalised, values standardised by channel once it has been fitted.
    """

    needs_fit = False
    QUERIES: ClassVar[int] = 8

    channel_mean: torch.Tensor
    """Shape: (channels,)."""
    channel_std: torch.Tensor
    """Shape: (channels,)."""

    def __init__(self, shape: tuple[int, int, int], features: int, seed: int = 0) -> None:
        super().__init__(shape, features, seed)
        channels = shape[0]
        generator = torch.Generator().manual_seed(seed)
        self.queries = nn.Parameter(torch.randn(self.QUERIES, channels, generator=generator))
        inputs = self.QUERIES * channels
        self.output = nn.Parameter(torch.randn(features, inputs, generator=generator) / math.sqrt(inputs))
        self.register_buffer("channel_mean", torch.zeros(channels))
        self.register_buffer("channel_std", torch.ones(channels))

    def _fit(self, maps: torch.Tensor) -> None:
        mean, std = channel_statistics(maps)
        self.channel_mean.copy_(mean)
        self.channel_std.copy_(std)

    def _read(self, maps: torch.Tensor) -> torch.Tensor:
        values = (maps.flatten(2).transpose(1, 2) - self.channel_mean) / self.channel_std
        keys = nn.functional.layer_norm(values, values.shape[2:])
        weights = (self.queries @ keys.transpose(1, 2) / math.sqrt(keys.shape[2])).softmax(2)
        return (weights @ values).flatten(1) @ self.output.t()


def channel_statistics(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel of maps (n, channels, …), float64. Shapes: (channels,)."""
    count = maps.numel() // maps.shape[1]
    mean = torch.stack([part.double().sum((0, 2, 3)) for part in torch.split(maps, 64)]).sum(0) / count
    squares = [
        (part.double() - mean[:, None, None]).square().sum((0, 2, 3)) for part in torch.split(maps, 64)
    ]
    return mean, alive((torch.stack(squares).sum(0) / count).sqrt())


def centred_columns(rows: torch.Tensor, mean: torch.Tensor) -> Iterator[torch.Tensor]:
    """Columns of rows (n, columns) less their means, float64. Shapes: (n, at most `COLUMNS`)."""
    for start in range(0, rows.shape[1], COLUMNS):
        columns = slice(start, start + COLUMNS)
        yield rows[:, columns].double() - mean[columns]


def add_gram(gram: torch.Tensor, rows: torch.Tensor, block: int = 128) -> None:
    """Add ``rows @ rows.T`` to the lower triangle of ``gram``, block by block.

    Args:
        gram: Shape: (n, n).
        rows: Shape: (n, columns).
        block: Rows at a time.
    """
    for start in range(0, len(rows), block):
        own = slice(start, start + block)
        gram[own, : start + block].addmm_(rows[own], rows[: start + block].t())


def column_means(rows: torch.Tensor) -> torch.Tensor:
    """Mean of each column, float64. Shape: (n, columns) to (columns,)."""
    return torch.stack([part.double().sum(0) for part in torch.split(rows, 64)]).sum(0) / len(rows)


def alive(std: torch.Tensor) -> torch.Tensor:
    """Standard deviations with those of dead channels raised; ones where all are dead. Shape: (k,)."""
    largest = float(std.max())
    return std.clamp_min(DEAD * largest) if largest > 0 else torch.ones_like(std)


READOUTS: dict[str, type[Readout]] = {
    "pca": PcaReadout,
    "spatial_softmax": SpatialSoftmax,
    "attention": AttentionReadout,
    "projection": ProjectionReadout,
    "average": AverageReadout,
    "flatten": FlattenReadout,
}
"""Readouts by name."""


def build_readout(name: str, shape: tuple[int, int, int], features: int, seed: int = 0) -> Readout:
    """A readout of a map, not fitted yet; an unknown name is an error that lists the known ones."""
    if name not in READOUTS:
        raise unknown_name("readout", name, READOUTS)
    return READOUTS[name](shape, features, seed)
