"""Errors of a rank whose neighbour has gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch.distributed

from hpo.training.lost_rank import is_lost_rank

RANK = """
import os, sys, torch, torch.distributed as group
from hpo.training.lost_rank import is_lost_rank
rank = int(sys.argv[1])
group.init_process_group("gloo", rank=rank, world_size=2)
group.barrier()
if rank == 1:
    os._exit(0)
try:
    while True:
        group.all_reduce(torch.ones(10))
except BaseException as error:
    print(is_lost_rank(error), error)
"""


def test_the_lost_connection_of_a_process_group_is_recognised() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    commands = [[sys.executable, "-c", RANK, str(rank)] for rank in (0, 1)]

    ranks = [subprocess.Popen(one, env=environment, stdout=subprocess.PIPE, text=True) for one in commands]
    said = [rank.communicate(timeout=120)[0] for rank in ranks]

    assert said[0].startswith("True "), said


@pytest.mark.parametrize(
    "error",
    [
        torch.distributed.DistNetworkError("The client socket has timed out"),
        torch.distributed.DistBackendError("NCCL error: remote process exited or there was a network error"),
    ],
)
def test_torchs_own_classes_are_recognised(error: BaseException) -> None:
    assert is_lost_rank(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("Connection closed by peer")])
def test_other_errors_are_not(error: BaseException) -> None:
    assert not is_lost_rank(error)
