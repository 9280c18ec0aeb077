"""Images in a folder with a folder for each class, or with such folders for train, validation and test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from models.data.cache import of_stat, room_for
from models.data.image_sources import Decoded, Form, PartName

SUFFIXES = (".png", ".jpg", ".jpeg")
PART_NAMES: dict[PartName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
NAMED = 5  # number of broken files that an error lists


class FolderSource:
    """PNG and JPEG files below a folder for each class, whose name is the label."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        given = {part: _first_folder(folder, names) for part, names in PART_NAMES.items()}
        has_parts = given["train"] is not None
        self._roots: dict[PartName, Path] = (
            {part: root for part, root in given.items() if root is not None} if has_parts else {"train": folder}
        )
        self.parts: tuple[PartName, ...] = tuple(self._roots)

    def identity(self, part: PartName) -> list[Any]:
        root = self._roots[part]
        # Ten thousand files in 0.1 s, where pathlib takes one.
        return [str(root.resolve()), *([label, *_identity(entry)] for label, entry in _listed(root))]

    def decode(self, part: PartName, form: Form) -> Decoded:
        files, root = self._files(part), self._roots[part]
        images, labels, broken = _Images(len(files)), [], {}
        for label, path in files:
            try:
                images.add(_read(path, form), path)
                labels.append(label)
            except Exception as error:  # for broken data, decoders may raise any error
                problem = "is not a PNG or JPEG image" if isinstance(error, UnidentifiedImageError) else str(error)
                broken[str(path.relative_to(root))] = problem
        warning = _judge(broken, len(files), form, root)
        for label in sorted({label for label, _ in files} - set(labels)):
            raise ValueError(f"{root}: {warning.removeprefix(f'{root}: ')}, and nothing is left of class '{label}'")
        return Decoded(images.stacked(root), np.array(labels), warning)

    def _files(self, part: PartName) -> list[tuple[str, Path]]:
        """(label, file), in the order of the names."""
        root = self._roots[part]
        found = [(label, Path(entry.path)) for label, entry in _listed(root)]
        if not found:
            hint = ""
            if any(path.suffix.lower() in SUFFIXES for path in root.iterdir()):
                hint = ": the images in it have no class; each class needs its own folder"
            raise ValueError(f"{root}: has no folders with PNG or JPEG images{hint}")
        labels = {label for label, _ in found}
        empty = [folder.name for folder in _entries(root) if _is_folder(folder) and folder.name not in labels]
        if empty:
            raise ValueError(f"{root}: the folder '{empty[0]}' has no PNG or JPEG images")
        return found


class _Images:
    """Collects images one by one in an array, so that they need not all be in memory.

    Args:
        most: the maximum number of images.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._pixels: NDArray[np.uint8] = np.empty((0, 0, 0, 0), dtype=np.uint8)
        self._first: Path | None = None
        self._other: tuple[Path, int, int] | None = None  # the first one that differs in size: height, width

    def add(self, image: NDArray[np.uint8], path: Path) -> None:
        """Add an image (channels, height, width); grey ones become coloured if others are."""
        channels, height, width = image.shape
        if self._first is None:
            self._first, self._pixels = path, room_for((self._most, *image.shape), np.uint8)
        if (height, width) != self._pixels.shape[2:]:
            self._other = self._other or (path, height, width)
            return
        if channels > self._pixels.shape[1]:
            grey, self._pixels = self._pixels, room_for((self._most, *image.shape), np.uint8)
            for number in range(self._count):
                self._pixels[number] = grey[number]
        self._pixels[self._count] = image
        self._count += 1

    def stacked(self, root: Path) -> NDArray[np.uint8]:
        """(images, channels, height, width)

        Raises:
            ValueError: they are not all of one size.
        """
        if self._other is not None:
            assert self._first is not None
            path, *size = self._other
            first, other = (f"{width} x {height}" for height, width in (self._pixels.shape[2:], size))
            raise ValueError(
                f"{root}: images differ in size: {self._first.relative_to(root)} has {first} pixels, "
                f"{path.relative_to(root)} has {other}: give a common size, such as size: {min(size)}"
            )
        return self._pixels[: self._count]


def _read(path: Path, form: Form) -> NDArray[np.uint8]:
    """(channels, height, width), 1 channel of grey or 3 of colour."""
    with Image.open(path, formats=("PNG", "JPEG")) as opened:
        # Cameras store the orientation in the metadata.
        image = _in_bytes(ImageOps.exif_transpose(opened))
    if form.colour != "auto":
        image = image.convert("L" if form.colour == "grey" else "RGB")
    if form.size:
        size = (form.size, form.size)
        image = ImageOps.fit(image, size) if form.fit == "crop" else image.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _in_bytes(image: Image.Image) -> Image.Image:
    """Grey (L) or colour (RGB) with one byte per channel, and a white background behind transparent pixels."""
    if image.mode.startswith("I"):  # 16 bits
        return Image.fromarray(np.round(np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        is_grey = image.mode in ("L", "LA")
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("L" if is_grey else "RGB")
    if image.mode == "P":
        pixels = np.asarray(image.convert("RGB"))
        is_grey = bool((pixels == pixels[:, :, :1]).all())
        return image.convert("L" if is_grey else "RGB")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _judge(broken: dict[str, str], files: int, form: Form, root: Path) -> str:
    """A warning about files that cannot be read; empty without any.

    Raises:
        ValueError: they must not be skipped, or no image is left.
    """
    if not broken:
        return ""
    named = [f"{name} ({problem})" for name, problem in list(broken.items())[:NAMED]]
    text = f"{len(broken):,} of {files:,} images cannot be read: {', '.join(named)}{', ...' * (len(broken) > NAMED)}"
    if form.corrupt == "refuse":
        raise ValueError(f"{root}: {text}; repair or delete them, or leave them out with corrupt: skip")
    if len(broken) == files:
        raise ValueError(f"{root}: {text}; no image is left")
    return f"{root}: {text}; they are left out"


def _first_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _listed(root: Path) -> list[tuple[str, os.DirEntry[str]]]:
    """(label, image file) below each class's folder, in the order of the names."""
    return [(folder.name, file) for folder in _entries(root) if _is_folder(folder) for file in _pictures(folder.path)]


def _pictures(folder: str, above: tuple[str, ...] = ()) -> Iterator[os.DirEntry[str]]:
    here = (*above, os.path.realpath(folder))
    for entry in _entries(folder):
        if _is_folder(entry):
            if os.path.realpath(entry.path) not in here:  # a link to a parent folder has no new images
                yield from _pictures(entry.path, here)
        elif entry.name.lower().endswith(SUFFIXES):
            yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(entry: os.DirEntry[str]) -> list[Any]:
    try:
        return of_stat(entry.path, entry.stat())
    except OSError as error:  # a broken link, which counts as an image that cannot be read
        return [entry.path, error.strerror]


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
