"""Room on a GPU for a trial, with processes that are only channels, and a fake `nvidia-smi`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.ipc.channel import Channel
from hpo.ipc.fork_server import ForkedProcess, ForkServer
from hpo.study.job import Place
from hpo.worker.gpu_memory import make_room


@pytest.fixture
def server() -> Iterator[ForkServer]:
    """A study's server with two idle processes on GPU 0, one of them on GPU 1 as well, and one on GPU 1 alone."""
    ends: list[Channel | socket.socket] = []

    def channel() -> Channel:
        ours, theirs = Channel.pair()
        ends.extend([ours, theirs])
        return ours

    control = channel()
    made = ForkServer(control, ForkedProcess(control), restart=lambda: made)
    made._idle = [
        ForkedProcess(channel(), place=Place("/project", "study", "gpu", devices, 1))
        for devices in (("0",), ("1",), ("0", "1"))
    ]
    yield made
    for end in ends:
        end.close()


def places(server: ForkServer) -> list[tuple[str, ...]]:
    return [process.place.devices for process in server._idle if process.place is not None]


@pytest.mark.parametrize(
    ("free", "devices", "left"),
    [
        ("60000, 80000", ["0"], [("0",), ("1",), ("0", "1")]),  # there is room
        ("8000, 80000", ["0"], [("1",)]),
        ("8000, 80000", ["1"], [("0",)]),
        ("8000, 80000", [], [("0",), ("1",), ("0", "1")]),  # a trial on the CPU
        ("[N/A], [N/A]", ["0"], [("1",)]),  # nobody tells
    ],
)
def test_idle_processes_end_on_the_same_gpu_and_when_its_memory_is_short(
    server: ForkServer, free: str, devices: list[str], left: list[tuple[str, ...]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\necho '{free}'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    make_room([server], devices)

    assert places(server) == left
