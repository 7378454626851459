"""Random changes of frames; every draw comes from a given generator. Imports nothing of the project."""

import torch


def random_shift(images: torch.Tensor, pixels: int, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to some pixels and fill with its border (DrQ, 2004.13649).

    Args:
        images: Shape: (n, channels, height, width).
        pixels: Largest shift in each direction.
        generator: On the CPU, so that draws are the same on every device.

    Returns:
        Of the same shape, type and memory format.
    """
    if pixels == 0:
        return images
    n, _, height, width = images.shape
    shifts = torch.randint(-pixels, pixels + 1, (2, n, 1), generator=generator)
    rows, columns = (
        (torch.arange(size) + shift).clamp_(0, size - 1).to(images.device)
        for size, shift in zip((height, width), shifts, strict=True)
    )
    each = torch.arange(n, device=images.device)[:, None, None]
    # indexing puts the channels last, which is the memory format of channels_last
    return images[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


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
