"""Arrays cached for later processes: complete or absent, recomputed when damaged, shared by all processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.cache import Kept, cache_folder, cached, identity


class Maker:
    """Makes arrays and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Kept:
        self.times += 1
        return Kept(
            {
                "pixels": np.arange(20_000, dtype=np.uint8).reshape(100, 200),
                "classes": np.arange(7, dtype=np.int64),
                "marks": np.array([True, False]),
            },
            {"labels": ["a", "ü"], "warnings": []},
        )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hpo-service"


def the_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def assert_whole(kept: Kept) -> None:
    expected = Maker()()
    assert kept.note == expected.note
    assert kept.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(kept.arrays[name], array, strict=True)


def test_a_cached_array_is_not_computed_again() -> None:
    make = Maker()

    first, second = cached({"a": 1}, make), cached({"a": 1}, make)

    assert make.times == 1
    assert_whole(first)
    assert_whole(second)


def test_another_key_is_another_file() -> None:
    make = Maker()
    cached({"a": 1}, make)
    cached({"a": 2}, make)

    assert make.times == 2


def test_writing_to_an_array_changes_no_other_process(folder: Path) -> None:
    first, second = cached({}, Maker()), cached({}, Maker())
    before = the_file(folder).read_bytes()

    torch.from_numpy(first.arrays["pixels"]).fill_(9)

    assert_whole(second)
    assert the_file(folder).read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:1000],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"x" * len(content),
        lambda content: content.replace(b"labels", b"lab\xff\xfels", 1),
        lambda content: content[:9000] + b"\xff\xff\xff" + content[9003:],
        lambda content: content[:4096] + bytes(len(content) - 4096),
    ],
    ids=["empty", "cut in the head", "cut at the end", "too long", "no head", "head changed", "a few bytes", "zeros"],
)
def test_a_damaged_file_is_made_anew(folder: Path, damage: Any) -> None:
    cached({}, Maker())
    file = the_file(folder)
    file.write_bytes(damage(file.read_bytes()))
    make = Maker()

    again, third = cached({}, make), cached({}, make)

    assert make.times == 1
    assert_whole(again)
    assert_whole(third)


def test_a_copy_of_the_file_is_as_good() -> None:
    make = Maker()
    cached({}, make)
    file = the_file(cache_folder())
    os.utime(file)  # as a copy has it: another time of modification, the same bytes

    assert_whole(cached({}, make))
    assert make.times == 1


def test_only_the_user_may_read_the_folder(folder: Path) -> None:
    cached({}, Maker())

    assert folder.stat().st_mode & 0o077 == 0
    assert the_file(folder).stat().st_mode & 0o077 == 0


def test_where_nothing_can_be_written_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    with caplog.at_level(logging.WARNING):
        assert_whole(cached({}, Maker()))

    assert "every trial reads it again" in caplog.text


def test_a_failure_to_make_leaves_nothing_behind(folder: Path) -> None:
    def fail() -> Kept:
        raise ValueError("no images")

    with pytest.raises(ValueError, match="no images"):
        cached({}, fail)

    assert not folder.exists() or not list(folder.iterdir())


def _ask(barrier: Any, answers: Any) -> None:
    barrier.wait()
    kept = cached({"shared": True}, Maker())
    answers.put((int(kept.arrays["pixels"].sum()), kept.note["labels"]))


def test_processes_that_ask_at_once_all_get_it_whole(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_ask, args=(barrier, answers)) for _ in range(4)]

    for process in processes:
        process.start()
    found = [answers.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(timeout=300)

    assert found == [(int(Maker()().arrays["pixels"].sum()), ["a", "ü"])] * 4
    assert [file.suffix for file in folder.iterdir()] == [".arrays"]


def test_a_file_that_is_written_to_has_another_identity_even_with_its_old_time(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    file.write_bytes(b"one")
    found, before = file.stat(), identity(file)

    file.write_bytes(b"two")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))

    assert identity(file) != before
    assert identity(file) == identity(file)


def test_the_folder_is_below_home_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert cache_folder() == tmp_path / ".cache" / "hpo-service"
