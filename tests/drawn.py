"""Images for the tests: shapes on noise, which a network can tell apart, as arrays or in the files of each kind."""

from __future__ import annotations

import atexit
import functools
import gzip
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHAPES = ("bar", "cross", "frame")


def drawn(
    count: int, *, size: tuple[int, int] = (9, 8), channels: int = 1, classes: int = 3, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (count, height, width, channels), no two alike, and class numbers (count,), as many of each."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    images = generator.integers(0, 120, (count, *size, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[1:-1, size[1] // 2] += 120
        if label == 1:
            image[size[0] // 2, 1:-1] |= 128
        if label == 2:
            image[[0, -1]] |= 128
    return images, labels


def write_folders(root: Path, images: NDArray[np.uint8], labels: NDArray[Any], *, suffix: str = ".png") -> Path:
    """A folder for each class, named by its shape."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / SHAPES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(folder / f"{number:03}{suffix}")
    return root


def write_idx(path: Path, array: NDArray[Any]) -> Path:
    """An IDX file of bytes, compressed where its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_mnist(folder: Path, train: int = 40, test: int = 10, *, end: str = ".gz") -> Path:
    """The four files that MNIST has, of other images."""
    images, labels = drawn(train + test)
    for name, part in (("train", slice(train)), ("t10k", slice(train, None))):
        write_idx(folder / f"{name}-images-idx3-ubyte{end}", images[part, :, :, 0])
        write_idx(folder / f"{name}-labels-idx1-ubyte{end}", labels[part])
    return folder


@functools.cache
def drawn_npz() -> str:
    """The path of an .npz with grey images of three classes."""
    images, labels = drawn(90)
    np.savez(_scratch() / "shapes.npz", x=images[:, :, :, 0], y=labels)
    return str(_scratch() / "shapes.npz")


@functools.cache
def drawn_folders() -> str:
    """The path of a folder of coloured PNG files of two classes."""
    return str(write_folders(_scratch() / "shapes", *drawn(60, channels=3, classes=2)))


@functools.cache
def _scratch() -> Path:
    """For lists of parameters, which are made before there are fixtures."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-drawn-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
