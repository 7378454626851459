"""Random changes of frames; every draw comes from a given generator. Imports nothing of the project."""

import torch


def patch_masks(
    n: int, size: tuple[int, int], patch: int, fraction: float, generator: torch.Generator
) -> torch.Tensor:
    """Choose random square patches of images; the last row and column of patches may be cut off.

    Args:
        n: Number of images.
        size: Height and width of an image.
        patch: Side of a patch, pixels.
        fraction: Share of an image's patches that is chosen, rounded to whole patches.
        generator: On the CPU.

    Returns:
        Whether a pixel is chosen. Shape: (n, 1, height, width).
    """
    rows, columns = (-(-side // patch) for side in size)
    order = torch.rand(n, rows * columns, generator=generator).argsort(1)
    chosen = torch.zeros(n, rows * columns, dtype=torch.bool)
    chosen.scatter_(1, order[:, : round(fraction * rows * columns)], True)
    grid = chosen.view(n, 1, rows, columns)
    pixels = grid.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return pixels[:, :, : size[0], : size[1]]
