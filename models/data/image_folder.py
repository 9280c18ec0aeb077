"""Images in a folder with a folder for each class, or with such folders for train, validation and test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from models.data.cache import of_stat, room_for
from models.data.image_file import Picture, read_picture
from models.data.image_parts import empty_folders, find_parts, has_loose_pictures, listed
from models.data.image_sources import Decoded, Form, PartName

NAMED = 5  # number of broken files that an error lists


class FolderSource:
    """Files of images below a folder for each class, whose name is the label."""

    def __init__(self, folder: Path) -> None:
        self._roots, self.warnings = find_parts(folder)
        self.parts: tuple[PartName, ...] = tuple(self._roots)

    def identity(self, part: PartName) -> list[Any]:
        root = self._roots[part]
        files, left_out = listed(root)
        # Ten thousand files in 0.1 s, where pathlib takes one.
        return [str(root.resolve()), left_out, *([label, *_identity(entry)] for label, entry in files)]

    def decode(self, part: PartName, form: Form) -> Decoded:
        root = self._roots[part]
        found, left_out = listed(root)
        files = [(label, Path(entry.path)) for label, entry in found]
        _check_classes(root, {label for label, _ in files})
        images, labels, broken = _Images(len(files), root), [], {}
        for label, path in files:
            try:
                picture = read_picture(path, form)
            except Exception as error:  # for broken data, decoders may raise any error
                broken[str(path.relative_to(root))] = problem_of(error)
                continue
            images.add(picture, path)
            labels.append(label)
        warning = _judge(broken, len(files), form, root)
        for label in sorted({label for label, _ in files} - set(labels)):
            raise ValueError(f"{root}: {warning.removeprefix(f'{root}: ')}, and nothing is left of class '{label}'")
        about = [warning, about_others(left_out, root), *images.warnings()]
        return Decoded(images.stacked(), np.array(labels), tuple(text for text in about if text), images.white)


def problem_of(error: Exception) -> str:
    """Why a file cannot be read, in words."""
    return "is no image that Pillow reads" if isinstance(error, UnidentifiedImageError) else str(error)


class _Images:
    """Collects images one by one in an array, so that they need not all be in memory.

    Args:
        most: the maximum number of images.
        root: the folder that errors name.

    Attributes:
        white: its value in the collected images; 0 if they have none.
    """

    def __init__(self, most: int, root: Path) -> None:
        self._most = most
        self._root = root
        self._count = 0
        self._pixels: NDArray[Any] = np.empty((0, 0, 0, 0), dtype=np.uint8)
        self.white = 0.0
        self._first: Path | None = None
        self._other: tuple[Path, int, int] | None = None  # the first one that differs in size: height, width
        self._animated = self._reduced = 0

    def add(self, picture: Picture, path: Path) -> None:
        """Add an image; grey ones become coloured if others are, and bytes values of 16 bits if others have them.

        Raises:
            ValueError: one has a white of its own and others not, so that no value means the same in both.
        """
        channels, height, width = picture.pixels.shape
        if self._first is None:
            self._first, self.white = path, picture.white
            self._pixels = room_for((self._most, *picture.pixels.shape), picture.pixels.dtype)
        self._animated += picture.frames > 1
        self._reduced += picture.is_reduced
        if (height, width) != self._pixels.shape[2:]:
            self._other = self._other or (path, height, width)
            return
        if (picture.white == 0) != (self.white == 0):
            raise ValueError(
                f"{self._root}: {path.relative_to(self._root)} and {self._first.relative_to(self._root)} differ in "
                "kind: one has values of 32 bits, the other of 8 or 16. Convert them to one kind"
            )
        if channels > self._pixels.shape[1] or picture.white > self.white:
            self._widen(max(channels, self._pixels.shape[1]), picture)
        factor = self.white / picture.white if picture.white else 1
        self._pixels[self._count] = picture.pixels if factor == 1 else picture.pixels.astype(np.float32) * factor
        self._count += 1

    def _widen(self, channels: int, picture: Picture) -> None:
        narrow, white = self._pixels, max(self.white, picture.white)
        kind = np.result_type(narrow.dtype, picture.pixels.dtype)
        self._pixels = room_for((self._most, channels, *narrow.shape[2:]), kind)
        for number in range(self._count):
            self._pixels[number] = narrow[number].astype(kind) * kind.type(white / self.white if self.white else 1)
        self.white = white

    def warnings(self) -> list[str]:
        """What of the files is not used."""
        texts = []
        if self._animated:
            texts.append(f"{self._root}: files of several images, of which the first is used: {self._animated:,}")
        if self._reduced:
            texts.append(
                f"{self._root}: images of 16 bits a colour, of which 8 are read (an .npz keeps all): {self._reduced:,}"
            )
        return texts

    def stacked(self) -> NDArray[Any]:
        """(images, channels, height, width), bytes or float32

        Raises:
            ValueError: they are not all of one size.
        """
        if self._other is not None:
            assert self._first is not None
            path, *size = self._other
            first, other = (f"{width} x {height}" for height, width in (self._pixels.shape[2:], size))
            raise ValueError(
                f"{self._root}: images differ in size: {self._first.relative_to(self._root)} has {first} pixels, "
                f"{path.relative_to(self._root)} has {other}: give a common size, such as size: {min(size)}"
            )
        return self._pixels[: self._count]


def _check_classes(root: Path, labels: set[str]) -> None:
    if not labels:
        loose = has_loose_pictures(root)
        hint = ": the images in it have no class; each class needs its own folder" if loose else ""
        raise ValueError(f"{root}: has no folders with images{hint}")
    empty = empty_folders(root, labels)
    if empty:
        raise ValueError(f"{root}: the folder '{empty[0]}' has no images")


def about_others(left_out: dict[str, int], root: Path) -> str:
    """A warning about files that are no images of a class; empty without any."""
    if not left_out:
        return ""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    count = sum(left_out.values())
    return f"{root}: {count:,} file{'s' if count > 1 else ''} left out: {reasons}"


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


def _identity(entry: os.DirEntry[str]) -> list[Any]:
    try:
        return of_stat(entry.path, entry.stat())
    except OSError as error:  # a broken link, which counts as an image that cannot be read
        return [entry.path, error.strerror]
