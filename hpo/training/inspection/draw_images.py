"""A picture of images: examples of each class, beside the class counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from hpo.training.inspection.layout import Layout, images_of
from hpo.training.inspection.samples import Array, Samples
from hpo.training.inspection.style import PART_COLOURS, draw_histogram, draw_targets, shortened, shown_classes

ROWS = 9
MOSAIC = (7.6, 6.8)  # inches
MOST_PIXELS = 96  # of a side: more are not visible at this size


def draw_images(figure: Figure, layout: Layout, parts: Sequence[Samples]) -> str:
    """Fill the figure; returns its caption."""
    train = parts[0]
    images = images_of(train.inputs[layout.main])
    groups = _groups(layout, train)
    left, right = figure.subplots(1, 2, width_ratios=[2.6, 1])
    rows_of_each = max(1, ROWS // len(groups))
    rows = rows_of_each * len(groups)
    side = max(images.shape[1:3])
    across = max(1, int(MOSAIC[0] / MOSAIC[1] * rows * images.shape[1] / images.shape[2]))
    across = min(across, max(-(-len(group) // rows_of_each) for _, group in groups))
    step = -(-side // MOST_PIXELS)
    tiles = [images[group[: rows_of_each * across], ::step, ::step] for _, group in groups]
    mosaic = np.concatenate([_mosaic(tile, rows_of_each, across) for tile in tiles])
    left.imshow(_shown(mosaic), cmap="gray", interpolation="nearest", aspect="equal")
    height = len(mosaic) / len(groups)
    if layout.has_classes:
        names = [shortened(name, 18) for name, _ in groups]
        left.set_yticks([height * (number + 0.5) for number in range(len(groups))], names)
        left.set_ylabel("class")
    else:
        left.set_yticks([])
    left.set_xticks([])
    left.tick_params(length=0)
    for spine in left.spines.values():
        spine.set_visible(False)
    if layout.task != "none" and not layout.is_reconstruction:
        draw_targets(right, layout, parts)
    else:
        some = [samples.inputs[layout.main][:1000].reshape(-1) for samples in parts[:2]]
        draw_histogram(right, some, [samples.part for samples in parts[:2]], PART_COLOURS)
        right.set_title("pixels")
        right.set_xlabel("value")
        right.set_ylabel("share of pixels")
        right.legend(frameon=False)
    left.set_title(f"examples of {images.shape[1]} x {images.shape[2]} pixels")
    if not groups[0][0]:
        return "images of train"
    is_whole = len(groups) == len(layout.classes)
    return f"images of {'each class' if is_whole else f'{len(groups)} of {len(layout.classes)} classes'}, in train"


def _groups(layout: Layout, train: Samples) -> list[tuple[str, Array]]:
    """Names of the classes shown, and their samples' numbers; one group of all samples where there are no classes."""
    if not layout.has_classes or train.targets is None or train.targets[0].size != 1:
        return [("", np.arange(train.seen))]
    classes = train.targets.reshape(-1)
    return [(layout.classes[n], np.flatnonzero(classes == n)) for n in shown_classes(layout, train)]


def _mosaic(images: Array, rows: int, across: int) -> Array:
    """Images (some, height, width, channels) in a grid, with NaN between them and in empty places."""
    height, width, channels = images.shape[1:]
    gap = max(1, height // 12)
    grid = np.full((rows * (height + gap), across * (width + gap), channels), np.nan)
    for number, image in enumerate(images[: rows * across]):
        top, left = number // across * (height + gap), number % across * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid


def _shown(mosaic: Array) -> Array:
    """Values from 0 to 1, with white for NaN: (height, width, 3 or 4)."""
    low, high = np.nanmin(mosaic), np.nanmax(mosaic)
    scaled = (mosaic - low) / (high - low if high > low else 1.0)
    if scaled.shape[-1] not in (3, 4):
        scaled = np.repeat(scaled[..., :1], 3, axis=-1)
    return np.asarray(np.nan_to_num(scaled, nan=1.0))
