"""The live view of `hpo run` on a terminal."""

from __future__ import annotations

import fcntl
import functools
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from projects.launch import PROJECT, Hpo, finish, wait_for

from hpo.service.live import live_view
from hpo.store import Store


def screens(here: Hpo, *arguments: object, columns: int) -> str:
    """All that `hpo ARGUMENTS` draws on a terminal of so many columns, without its control sequences."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    command = [sys.executable, "-m", "hpo", *map(str, arguments), "--store", here.url, "--project", str(PROJECT)]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm", "HPO_ARTIFACTS": str(here.folder / "art")}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=here.folder, env=environment)
    os.close(theirs)
    drawn = b""
    try:
        while part := os.read(ours, 1 << 16):
            drawn += part
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0, drawn.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())


@pytest.mark.parametrize("executor", ["lean", "lightning"])
def test_a_long_epoch_shows_how_far_it_is_and_the_best_so_far(tmp_path: Path, executor: str) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    data = {"class": "projects.nets:Points", "samples": 240}
    here.study("slow", model="projects.nets:Slow", data=data, executor=executor)

    drawn = screens(here, "run", "slow.yaml", "--trials", 1, columns=100)

    assert "trying one batch of a new study" in drawn
    assert re.search(r"0/2 \+\d+%", drawn)
    assert re.search(r"epochs a minute +about \d+ s( to \d+ s)? left", drawn)
    assert re.search(r"best val_loss: \S+ by trial 0, running after 1 of 2 epochs", drawn)
    assert "Next:" in drawn


def test_a_trial_in_steps_shows_its_steps(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("slow", model="projects.nets:Slow", epochs=None, steps=40)

    drawn = screens(here, "run", "slow.yaml", "--trials", 1, columns=100)

    assert re.search(r"[1-9]\d?/40", drawn)
    assert re.search(r"steps a minute +about \d+ s( to \d+ s)? left", drawn)
    assert re.search(r"best val_loss: \S+ by trial 0, running after \d+ of 40 steps", drawn)
    assert "epoch" not in drawn


def test_an_epoch_of_unknown_length_shows_its_steps(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("flows", model="projects.nets:Slow", data={"class": "projects.nets:Stream", "samples": 120})

    drawn = screens(here, "run", "flows.yaml", "--trials", 1, columns=100)

    assert re.search(r"0/2 step \d+", drawn)


def test_a_terminal_of_sixty_columns_cuts_nothing(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("narrow", model="projects.nets:Slow", data={"class": "projects.nets:Points", "samples": 160})

    drawn = screens(here, "run", "narrow.yaml", "--trials", 2, "--slots", 1, columns=60)

    assert "\N{HORIZONTAL ELLIPSIS}" not in drawn
    assert "trying one batch of a new study" in " ".join(drawn.split())
    assert re.search(r"slot +trial +epoch +val_loss +best +seconds", drawn)
    assert re.search(r"0 cpu +0 +1/2 \+\d+% +\S+ +\S+ +\d+\.\d", drawn)
    assert re.search(r"narrow +\S+ +0/2 trials", drawn)
    assert re.search(r"epochs a minute +about \d+ s( to \d+ s)? left", drawn)
    assert re.search(r"best val_loss: \S+ by trial 0, running after 1 of 2 epochs", " ".join(drawn.split()))
    command = 'python -c "import hpo; print(hpo.open_study('
    assert [line for line in drawn.splitlines() if command in line and line.rstrip().endswith('load_model())"')]


def test_a_running_trial_says_how_fast_it_trains_and_so_does_one_that_has_ended(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("slow", model="projects.nets:Slow", epochs=50, early_stopping=None, pruner=None)
    shown = functools.partial(here.run, "trials", "slow", "--columns", "state,attributes_samples_per_second", "--csv")

    with here.start("run", "slow.yaml", "--trials", 1) as process:
        wait_for(lambda: here.counts("slow").get("running"))
        with Store.open(here.url) as store:
            [speed] = wait_for(
                lambda: [one.samples_per_second for one in live_view(store, "slow").trials if one.samples_per_second]
            )
        assert re.fullmatch(r"running,[1-9]\d{0,2}", shown()[1].splitlines()[1])
        assert here.run("stop", "slow", 0)[0] == 0
        assert finish(process)[0] == 0

    assert 0 < speed < 1000
    assert re.fullmatch(r"(complete|pruned),[1-9]\d{0,2}", shown()[1].splitlines()[1])
