"""Sources of images: folders of files, an .npz, or IDX files; each read unchanged, with its labels."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.data.cache import identity
from models.data.idx import read_idx

PartName = Literal["train", "validation", "test"]
Layout = Literal["auto", "channels_first", "channels_last"]
CHOICES = {
    "fit": ("squeeze", "crop"),
    "colour": ("auto", "grey", "colour"),
    "layout": ("auto", "channels_first", "channels_last"),
    "corrupt": ("refuse", "skip"),
}
UNREADABLE = (ValueError, OSError, EOFError, TypeError, AttributeError, BadZipFile, zlib.error)
WHITE_OF_BYTES = 255.0
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as in Pillow


@dataclass(frozen=True)
class Form:
    """The form that images are converted to.

    Attributes:
        size: pixels in each direction to resize them to; 0 leaves them unchanged.
        fit: squeeze resizes the whole image, crop the largest square in its middle.
        colour: auto leaves them unchanged.
        layout: the position of the channels in arrays.
        corrupt: the treatment of files that cannot be read.
    """

    size: int = 0
    fit: Literal["squeeze", "crop"] = "squeeze"
    colour: Literal["auto", "grey", "colour"] = "auto"
    layout: Layout = "auto"
    corrupt: Literal["refuse", "skip"] = "refuse"

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size: {self.size} should be pixels in each direction, or 0 to leave images unchanged")
        check_choices({name: getattr(self, name) for name in CHOICES}, CHOICES)


class Decoded(NamedTuple):
    """pixels: (images, channels, height, width), bytes or float32; labels: (images,), numbers or texts.

    warnings: texts on files or images that were left out, that begin with the file or folder.
    white: the value of white, 255 for bytes; 0 if values of more bits have none.
    """

    pixels: NDArray[Any]
    labels: NDArray[Any]
    warnings: tuple[str, ...] = ()
    white: float = 0.0


class Source(Protocol):
    """A source of images, in one or several separate parts; train is always one of them.

    warnings: texts on what of the source is none of the parts.
    """

    parts: tuple[PartName, ...]
    warnings: tuple[str, ...]

    def identity(self, part: PartName) -> list[Any]:
        """Plain values that change when the images do, without reading them."""

    def decode(self, part: PartName, form: Form) -> Decoded:
        """
        Raises:
            ValueError: the images cannot be read; the message begins with the file.
        """


class IdxSource:
    """A folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, and the same of t10k; each may end in .gz."""

    warnings: tuple[str, ...] = ()
    NAMES: ClassVar[dict[PartName, str]] = {"train": "train", "test": "t10k"}

    def __init__(self, folder: Path) -> None:
        self._files = {
            part: (_idx_file(folder, f"{name}-images", "idx3"), _idx_file(folder, f"{name}-labels", "idx1"))
            for part, name in self.NAMES.items()
        }
        self.parts: tuple[PartName, ...] = tuple(part for part, (images, _) in self._files.items() if images)
        for part in self.parts:
            images, labels = self._files[part]
            if labels is None:
                raise ValueError(
                    f"{images}: has no file of labels beside it, {self.NAMES[part]}-labels-idx1-ubyte[.gz]"
                )

    @staticmethod
    def is_at(folder: Path) -> bool:
        return _idx_file(folder, "train-images", "idx3") is not None

    def identity(self, part: PartName) -> list[Any]:
        return [identity(path) for path in self._files[part] if path]

    def decode(self, part: PartName, form: Form) -> Decoded:
        images, labels = self._files[part]
        assert images
        assert labels
        return _decoded(read_idx(images), read_idx(labels), form, where=str(images))


class ArraySource:
    """An .npz with x and y; or with x_train and y_train, and perhaps the same of validation and test."""

    warnings: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        with _arrays(path) as arrays:
            names = set(arrays.files)
        self._suffix: dict[PartName, str] = {"train": "" if "x" in names or "y" in names else "_train"}
        given: tuple[PartName, ...] = ("validation", "test")
        self._suffix |= {part: f"_{part}" for part in given if f"x_{part}" in names}
        self.parts: tuple[PartName, ...] = tuple(self._suffix)
        for part, suffix in self._suffix.items():
            for name in (f"x{suffix}", f"y{suffix}"):
                if name not in names:
                    wanted = "x (images) and y (labels)" if part == "train" else f"x{suffix} and y{suffix}"
                    raise ValueError(
                        f"{path}: has no '{name}': it should hold {wanted}, and holds {', '.join(sorted(names))}"
                    )

    def identity(self, part: PartName) -> list[Any]:
        return [identity(self._path), part]

    def decode(self, part: PartName, form: Form) -> Decoded:
        suffix = self._suffix[part]
        with _arrays(self._path) as arrays:
            x, y = arrays[f"x{suffix}"], arrays[f"y{suffix}"]
        return _decoded(x, y, form, where=f"{self._path}: x{suffix}")


def check_choices(chosen: Mapping[str, str], known: Mapping[str, tuple[str, ...]], *, who: str = "") -> None:
    """
    Raises:
        ValueError: a name has an unknown value.
    """
    for name, value in chosen.items():
        if value not in known[name]:
            raise ValueError(f"{who + ': ' if who else ''}{name}: '{value}' should be one of {', '.join(known[name])}")


def resized(pixels: NDArray[Any], form: Form) -> NDArray[Any]:
    """Images (images, channels, height, width) of the form's size, in their own type."""
    height, width = pixels.shape[2:]
    if form.fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[:, :, top : top + side, left : left + side]
    if pixels.shape[2:] == (form.size, form.size):
        return pixels
    done = np.empty((*pixels.shape[:2], form.size, form.size), dtype=pixels.dtype)
    for start in range(0, len(pixels), 256):
        some = torch.from_numpy(pixels[start : start + 256].astype(np.float32))
        new = functional.interpolate(some, (form.size, form.size), mode="bilinear", antialias=True).numpy()
        done[start : start + 256] = new.round().clip(0, 255) if pixels.dtype == np.uint8 else new
    return done


def recoloured(pixels: NDArray[Any], colour: str, *, where: str) -> NDArray[Any]:
    """Images (images, channels, height, width) with 1 channel for grey, 3 for colour, and unchanged for auto."""
    channels = pixels.shape[1]
    if colour == "auto" or channels == (1 if colour == "grey" else 3):
        return pixels
    if channels not in (1, 3):
        raise ValueError(f"{where}: images of {channels} channels cannot be converted to {colour}: give colour auto")
    if colour == "colour":
        return pixels.repeat(3, axis=1)
    grey: NDArray[Any] = np.einsum("nchw,c->nhw", pixels, LUMA, dtype=np.float32)[:, np.newaxis]
    return grey.round().astype(np.uint8) if pixels.dtype == np.uint8 else grey


def _decoded(x: NDArray[Any], y: NDArray[Any], form: Form, *, where: str) -> Decoded:
    labels = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if labels.ndim != 1:
        raise ValueError(f"{where}: labels should be one for each image, their shape is {y.shape}")
    if len(x) != len(labels):
        raise ValueError(f"{where}: there are {len(x):,} images and {len(labels):,} labels")
    pixels = recoloured(with_channels(x, form, where=where), form.colour, where=where)
    pixels = resized(pixels, form) if form.size else pixels
    return Decoded(pixels, _checked_labels(labels, where=where), white=WHITE_OF_BYTES if is_bytes(pixels) else 0.0)


def is_bytes(pixels: NDArray[Any]) -> bool:
    """Whether the values are bytes."""
    return bool(pixels.dtype == np.uint8)


def with_channels(x: NDArray[Any], form: Form, *, where: str) -> NDArray[Any]:
    """(images, channels, height, width), bytes or float32.

    Raises:
        ValueError: the array does not hold images, or it is not clear which dimension is the channels.
    """
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ValueError(
            f"{where}: images should be (images, height, width) or have channels besides, their shape is {x.shape}"
        )
    if x.dtype == bool:
        x = x.astype(np.uint8) * 255
    elif x.dtype != np.uint8:
        if not np.issubdtype(x.dtype, np.integer) and not np.issubdtype(x.dtype, np.floating):
            raise ValueError(f"{where}: images should be numbers, they are of type {x.dtype}")
        x = x.astype(np.float32)
        broken = np.count_nonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
        if broken:
            raise ValueError(f"{where}: {broken:,} of {len(x):,} images have values that are not finite numbers")
    if x.ndim == 3:
        return x[:, np.newaxis]
    if form.layout == "auto":
        first, last = x.shape[1] <= 4, x.shape[3] <= 4
        if first == last:
            raise ValueError(
                f"{where}: in the shape {x.shape} it is unclear which dimension is the channels: give layout: "
                "channels_first or channels_last"
            )
        return x if first else x.transpose(0, 3, 1, 2)
    return x if form.layout == "channels_first" else x.transpose(0, 3, 1, 2)


def _checked_labels(labels: NDArray[Any], *, where: str) -> NDArray[Any]:
    if labels.dtype.kind in "US":
        return labels.astype(str)
    if labels.dtype.kind == "f":
        broken = np.count_nonzero(~np.isfinite(labels) | (labels != np.round(labels)))
        if broken:
            raise ValueError(f"{where}: {broken:,} of {len(labels):,} labels are not whole numbers")
    elif labels.dtype.kind not in "iub":
        raise ValueError(f"{where}: labels should be whole numbers or texts, they are of type {labels.dtype}")
    return labels.astype(np.int64)


@contextlib.contextmanager
def _arrays(path: Path) -> Iterator[Any]:
    """
    Raises:
        ValueError: the file, or an array in it, cannot be read.
    """
    if not is_zipfile(path):
        raise ValueError(f"{path}: is not an .npz archive")
    try:
        # Opened here: np.load leaves a file that it opened itself open if it is not an archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except UNREADABLE as error:
        raise ValueError(f"{path}: is not a readable .npz file: {error}") from error


def _idx_file(folder: Path, name: str, kind: str) -> Path | None:
    candidates = [folder / f"{name}{mark}{kind}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    return next((path for path in candidates if path.is_file()), None)
