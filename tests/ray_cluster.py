"""A Ray of nodes of one core each on this machine, on addresses of the loopback interface: real daemons."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HEAD = "127.0.0.2"  # Ray replaces 127.0.0.1 by the machine's own address
BIN = Path(sys.executable).parent
ALWAYS = ("--block", "--disable-usage-stats", "--object-store-memory=80000000")
TRIES = 3


@dataclass
class Ray:
    """A running cluster.

    Attributes:
        address: of its head, which runs no workers.
        ports: the first of a hundred that no other cluster on this machine has.
        nodes: the processes of its nodes, by their addresses.
    """

    address: str
    folder: Path
    head: subprocess.Popen[bytes]
    ports: int
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def add_node(self) -> str:
        """Another node of one core; its address."""
        place = f"127.0.0.{6 + len(self.nodes)}"
        port = self.ports + 50 * len(self.nodes)
        self.nodes[place] = _start(
            self.folder,
            f"--address={self.address}",
            f"--node-ip-address={place}",
            "--num-cpus=1",
            f"--min-worker-port={port}",
            f"--max-worker-port={port + 45}",
        )
        return place

    def kill_node(self, place: str) -> None:
        """End every process of a node at once, as a power failure does, with what its actors have started."""
        self._signal(place, signal.SIGKILL)

    def drain_node(self, place: str) -> None:
        """What a node is told when its machine is about to be taken away."""
        self.nodes[place].terminate()

    def workers_on(self, place: str) -> list[psutil.Process]:
        """The workers that actors have started on a node."""
        found = []
        for process in psutil.Process(self.nodes[place].pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if {"-m", "hpo", "worker"} <= set(process.cmdline()):
                    found.append(process)
        return found

    def _signal(self, place: str, number: int) -> None:
        process = psutil.Process(self.nodes[place].pid)
        for below in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                below.send_signal(number)
        self.nodes[place].wait(30)


@contextmanager
def ray_cluster(folder: Path, *, nodes: int = 2) -> Iterator[Ray]:
    """A cluster whose files are in a folder with a short name.

    Args:
        nodes: besides the head.
    """
    port = _free_port()
    head = _start(
        folder,
        "--head",
        f"--node-ip-address={HEAD}",
        f"--port={port}",
        "--include-dashboard=false",
        "--num-cpus=0",
        f"--temp-dir={folder}",
    )
    lock, ports = _own_ports()
    ray = Ray(f"{HEAD}:{port}", folder, head, ports)
    try:
        for _ in range(nodes):
            ray.add_node()
        yield ray
    finally:
        for process in (*ray.nodes.values(), head):
            with contextlib.suppress(psutil.NoSuchProcess):
                own = psutil.Process(process.pid)
                for below in [*own.children(recursive=True), own]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        below.kill()
            process.wait(30)
        lock.close()


def _own_ports() -> tuple[socket.socket, int]:
    """A lock, which the kernel releases with this process, and the first of a hundred ports that it stands for."""
    for number in range(60):
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0hpo-test-ray-{number}".encode())
        except OSError:
            lock.close()
            continue
        return lock, 23000 + 100 * number
    raise AssertionError("sixty clusters of Ray run on this machine")


def _start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """A node that has started; Ray gives up after 30 s, which a busy machine may need."""
    for number in range(TRIES):
        log = folder / f"start-{len(list(folder.glob('start-*')))}.log"
        ports = [f"--{name}-port={_free_port()}" for name in ("dashboard-agent-listen", "dashboard-agent-grpc")]
        command = [str(BIN / "ray"), "start", *ALWAYS, *options, *ports]
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        while process.poll() is None:
            if "Ray runtime started" in log.read_text(errors="replace"):
                return process
            time.sleep(0.2)
        print(f"try {number} of a node failed: {log.read_text(errors='replace')[-500:]}")
    raise TimeoutError(f"no node of Ray started in {TRIES} tries")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
