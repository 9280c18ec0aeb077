"""The bounded log of a trial."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.study.trial_log import HEAD_BYTES, MOST_BYTES, TAIL_BYTES, left_out_of, shorten

LINE = 64


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "log.txt", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


def append(log: int, start: int, count: int) -> None:
    os.write(log, b"".join(b"%*d\n" % (LINE - 1, number) for number in range(start, start + count)))


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_bytes().splitlines() if line.strip().isdigit()]


def test_a_log_that_is_short_enough_stays_as_it_is(tmp_path: Path, log: int) -> None:
    append(log, 0, MOST_BYTES // LINE)

    shorten(tmp_path / "log.txt")

    assert os.fstat(log).st_size == MOST_BYTES
    assert left_out_of(log) == 0


def test_a_long_log_keeps_its_beginning_and_its_end_and_says_how_much_is_missing(tmp_path: Path, log: int) -> None:
    count = 2 * MOST_BYTES // LINE
    append(log, 0, count)

    shorten(tmp_path / "log.txt")

    found = numbers(tmp_path / "log.txt")
    kept = HEAD_BYTES // LINE
    assert found[:kept] == list(range(kept))
    assert found[kept:] == list(range(count - len(found) + kept, count))
    assert left_out_of(log) == (count - len(found)) * LINE
    assert os.fstat(log).st_size <= HEAD_BYTES + TAIL_BYTES + 200


def test_a_log_that_is_shortened_again_counts_all_that_is_missing(tmp_path: Path, log: int) -> None:
    count, step = 0, MOST_BYTES // LINE
    for _ in range(4):
        append(log, count, step)
        count += step
        shorten(tmp_path / "log.txt")

    found = numbers(tmp_path / "log.txt")
    assert left_out_of(log) == (count - len(found)) * LINE
    assert found[-1] == count - 1
    assert found[0] == 0
    assert (tmp_path / "log.txt").read_bytes().count(b"left out here") == 1


def test_what_is_appended_after_it_was_shortened_follows(tmp_path: Path, log: int) -> None:
    append(log, 0, 2 * MOST_BYTES // LINE)
    other = os.open(tmp_path / "log.txt", os.O_WRONLY | os.O_APPEND)

    shorten(tmp_path / "log.txt")
    append(other, 7, 1)
    os.close(other)

    assert numbers(tmp_path / "log.txt")[-1] == 7


def test_a_log_is_shortened_while_another_process_appends_to_it(tmp_path: Path, log: int) -> None:
    lines, path = 400_000, tmp_path / "log.txt"
    # What is written at the very moment of a cut may be lost: the last line comes after the last one.
    script = f"""if True:
        import sys
        for number in range({lines}):
            if number == {lines} - 1:
                sys.stdout.flush()
                print("nearly done", file=sys.stderr, flush=True)
                sys.stdin.readline()
            sys.stdout.write('%{LINE - 1}d\\n' % number)
    """
    pipe = subprocess.PIPE
    with path.open("ab") as output:
        writer = subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=output, stderr=pipe)
    assert writer.stderr is not None
    while not select.select([writer.stderr], [], [], 0.001)[0]:
        shorten(path)
    shorten(path)
    writer.communicate(b"\n")

    told = left_out_of(log)
    assert numbers(path)[0] == 0
    assert numbers(path)[-1] == lines - 1
    assert path.read_bytes().count(b"left out here") == 1
    # What is written between the count and the cut is missing in it; nothing is counted twice.
    assert 0 < told <= lines * LINE - HEAD_BYTES
