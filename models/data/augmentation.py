"""Random changes of batches of training images, on the device, drawn from torch's global generator."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

FlipName = Literal["none", "horizontal", "vertical", "both"]


@dataclass(frozen=True)
class Augmentation:
    """The strengths of the changes; 0 and none turn them off. Each image of a batch is changed differently.

    Attributes:
        flip: left and right (horizontal) or top and bottom (vertical) are exchanged in half of the images.
        shift: by up to this fraction of the width and of the height, in any direction.
        rotate: by up to so many degrees, in either direction.
        crop: a part whose sides are 1 - crop to 1 of the image's, anywhere in it, enlarged to the whole.
        erase: a rectangle of up to this fraction of the area is made black; Zhong et al. 2020, arXiv 1708.04896.
        mix_up: the alpha of a Beta distribution, whose draws weight the averages of pairs of images and their targets;
            Zhang et al. 2018, arXiv 1710.09412.
        cut_mix: the alpha of a Beta distribution, whose draws are the areas of rectangles that images get from others,
            with as much of their targets; Yun et al. 2019, arXiv 1905.04899. With both, each batch gets one of them.

    Raises:
        ValueError: a strength is out of range.
    """

    flip: FlipName = "none"
    shift: float = 0.0
    rotate: float = 0.0
    crop: float = 0.0
    erase: float = 0.0
    mix_up: float = 0.0
    cut_mix: float = 0.0

    def __post_init__(self) -> None:
        if self.flip not in ("none", "horizontal", "vertical", "both"):
            raise ValueError(f"flip: '{self.flip}' should be none, horizontal, vertical or both")
        limits = {"shift": 1.0, "rotate": 180.0, "crop": 0.9, "erase": 1.0, "mix_up": 100.0, "cut_mix": 100.0}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name}: {getattr(self, name)} should be 0 to {most:g}")

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) != field.default for field in fields(self))

    def __call__(self, images: Tensor, targets: Tensor, *, black: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Changed images, and targets, which become probabilities by mix-up and cut-mix.

        Args:
            images: (batch, channels, height, width).
            targets: class numbers (batch,).
            black: (channels, 1, 1), the value outside of an image.
            classes: targets become (batch, classes), of two classes (batch,).
        """
        if self.shift or self.rotate or self.crop:
            images = _moved(images - black, self) + black
        elif self.flip != "none":
            images = _flipped(images, self.flip)
        if self.erase:
            images = torch.where(_rectangles(images, self.erase), black, images)
        if not (self.mix_up or self.cut_mix):
            return images, targets
        return _with_others(images, targets, self, classes)


def _moved(images: Tensor, strength: Augmentation) -> Tensor:
    """One bilinear sampling for flips, shifts, rotations and crops, with zeros beyond the border."""
    count, _, height, width = images.shape
    scale = 1 - strength.crop * _uniform(count, images)
    angle = torch.deg2rad(strength.rotate * _around_0(count, images))
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    across, along = _signs(count, images, strength.flip)
    # Coordinates are -1 to 1 from border to border: a cropped window keeps within them, a shift is twice its fraction.
    x, y = ((1 - scale) * _around_0(count, images) + 2 * strength.shift * _around_0(count, images) for _ in range(2))
    rows = (cosine * across, -sine * along * height / width, x, sine * across * width / height, cosine * along, y)
    grid = functional.affine_grid(torch.stack(rows, 1).reshape(count, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _flipped(images: Tensor, flip: FlipName) -> Tensor:
    across, along = (sign.reshape(-1, 1, 1, 1) < 0 for sign in _signs(len(images), images, flip))
    if flip in ("horizontal", "both"):
        images = torch.where(across, images.flip(3), images)
    if flip in ("vertical", "both"):
        images = torch.where(along, images.flip(2), images)
    return images


def _signs(count: int, images: Tensor, flip: FlipName) -> tuple[Tensor, Tensor]:
    """1, or -1 for half of the images, in the horizontal and in the vertical direction."""
    ones = images.new_ones(count)
    across = torch.where(_uniform(count, images) < 0.5, ones, -ones) if flip in ("horizontal", "both") else ones
    along = torch.where(_uniform(count, images) < 0.5, ones, -ones) if flip in ("vertical", "both") else ones
    return across, along


def _rectangles(images: Tensor, most: float) -> Tensor:
    """Whether a pixel is in its image's rectangle, (batch, 1, height, width); sides have a ratio of 0.3 to 3.3."""
    count, _, height, width = images.shape
    area = most * _uniform(count, images)
    ratio = torch.exp(_around_0(count, images) * 1.2)
    inside = []
    for pixels, side in ((height, (area * ratio).sqrt()), (width, (area / ratio).sqrt())):
        length = (side.clamp(max=1) * pixels).unsqueeze(1)
        start = (pixels - length) * _uniform(count, images).unsqueeze(1)
        centres = torch.arange(pixels, device=images.device) + 0.5
        inside.append((centres >= start) & (centres < start + length))
    return (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).unsqueeze(1)


def _with_others(images: Tensor, targets: Tensor, strength: Augmentation, classes: int) -> tuple[Tensor, Tensor]:
    """Each image with another one, in one proportion for the batch, as in the papers' code.

    Nothing here is read on the host, which would wait for a GPU.
    """
    other = torch.randperm(len(images), device=images.device)
    others = images[other]
    if strength.mix_up and strength.cut_mix:
        mixed, cut = _mixed(images, others, strength.mix_up), _patched(images, others, strength.cut_mix)
        is_mixed = torch.rand((), device=images.device) < 0.5
        images, share = torch.where(is_mixed, mixed[0], cut[0]), torch.where(is_mixed, mixed[1], cut[1])
    elif strength.mix_up:
        images, share = _mixed(images, others, strength.mix_up)
    else:
        images, share = _patched(images, others, strength.cut_mix)
    if classes == 2:
        wanted = targets.to(images.dtype)
    else:
        wanted = images.new_zeros(len(targets), classes).scatter_(1, targets.unsqueeze(1), 1.0)
    return images, torch.lerp(wanted[other], wanted, share)


def _mixed(images: Tensor, others: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Averages of the images and others, and the images' share in them."""
    share = _beta(images, alpha)
    return torch.lerp(others, images, share), share


def _patched(images: Tensor, others: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The images with one rectangle of the others, and the share that is left of the images."""
    height, width = images.shape[2:]
    side = (1 - _beta(images, alpha)).sqrt()  # of the rectangle, as a part of the image's
    inside = []
    for pixels in (height, width):
        # Around any pixel: beyond the border there is nothing to exchange.
        distance = torch.arange(pixels, device=images.device) + 0.5 - pixels * _uniform(1, images)
        inside.append(distance.abs() < side * pixels / 2)
    rectangle = inside[0].unsqueeze(1) & inside[1]
    return torch.where(rectangle, others, images), 1 - rectangle.to(images.dtype).mean()


def _beta(like: Tensor, alpha: float) -> Tensor:
    concentration = like.new_full((), alpha)
    drawn: Tensor = torch.distributions.Beta(concentration, concentration, validate_args=False).sample()
    return drawn


def _uniform(count: int, like: Tensor) -> Tensor:
    return torch.rand(count, device=like.device, dtype=like.dtype)


def _around_0(count: int, like: Tensor) -> Tensor:
    return 2 * _uniform(count, like) - 1
