"""The output of a process that trains, where its log cannot be written, or is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpo.study.trial_log import left_out_of

LINE, LINES = 16 << 10, 64 << 10  # bytes of a line, lines

BEGIN = """
import os, resource, sys
from pathlib import Path
from hpo.training.output import TrialOutput

log, told = Path(sys.argv[1]), []
output = TrialOutput(told.append)
"""


def run(log: Path, script: str) -> str:
    """The error output of a process of its own, which is the one that it had in the beginning."""
    report = "\nos.write(before, repr(said).encode())\n"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os\nbefore = os.dup(2)\n{BEGIN}{script}{report}",
            str(log),
            str(LINE),
            str(LINES),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_what_cannot_be_written_is_dropped_and_told_once_a_trial(tmp_path: Path) -> None:
    said = run(
        tmp_path / "log.txt",
        """
output.redirect(str(log))
print("the first line", flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))
for number in range(3):
    print("a line that finds no room", number, flush=True)
    print("an error", file=sys.stderr)
    output.flush()
said = told
""",
    )

    assert said == "['its log could not be written: File too large']"
    assert (tmp_path / "log.txt").read_text() == "the first line\n"


def test_a_log_that_cannot_be_opened_is_an_error_and_takes_the_output_off_the_screen(tmp_path: Path) -> None:
    said = run(
        tmp_path / "missing" / "log.txt",
        """
try:
    output.redirect(str(log))
except FileNotFoundError as error:
    print("not to be seen", flush=True)
    said = error.filename
""",
    )

    assert said == repr(str(tmp_path / "missing" / "log.txt"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads what a descriptor is open on from /proc")
def test_a_log_that_was_removed_does_not_grow_where_nobody_sees_it(tmp_path: Path) -> None:
    said = run(
        tmp_path / "log.txt",
        """
output.redirect(str(log))
log.unlink()
for _ in range(40):
    print("x" * (1 << 20))
said = os.readlink("/proc/self/fd/1")
""",
    )

    assert said == repr("/dev/null")


def test_text_that_cannot_be_encoded_is_written_with_its_code(tmp_path: Path) -> None:
    run(tmp_path / "log.txt", "output.redirect(str(log)); print(chr(0xDC80), chr(0xE4)); output.flush(); said = 0")

    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "\\udc80 \u00e4\n"


def test_nothing_that_the_process_prints_is_lost_while_its_log_is_shortened(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"

    run(
        log,
        """
import threading

output.redirect(str(log))
over, line, said = threading.Event(), "x" * (int(sys.argv[2]) - 1), 0

def shorten():
    while not over.is_set():
        output.flush()

threading.Thread(target=shorten).start()
for _ in range(int(sys.argv[3])):
    print(line)
over.set()
""",
    )

    with log.open("rb") as file:
        kept = sum(len(line) for line in file if line.startswith(b"x"))
        # Cuts fall between two lines, with the line break before their message.
        assert kept + left_out_of(file.fileno()) == LINES * LINE
