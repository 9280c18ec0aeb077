"""Workers as actors of Ray, each of which runs `hpo worker` as a process of its own.

Ray starts an actor again on another node when its node dies, and lets it wait while no node has room. When a node is
about to be taken away, its actor asks the worker to hand back its trials and goes elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.launch.launchers import check_options, whole_number
from hpo.launch.order import Order, Workers

OPTIONS = ("address", "cpus", "gpus", "memory_gib", "project")
NAMESPACE = "hpo"
LOOK_SECONDS = 0.5  # between two looks for a node that drains
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 10.0
GRACE_SECONDS = 60.0
DRAINED = 75
EXCLUDED = ["hpo-artifacts", ".git", ".venv", "*.db", "*.db-*", "__pycache__"]  # of the project folder


class WorkerActor:
    """Runs on a node: one worker, and a look at the node.

    Args:
        arguments: of Python.
        environment: the worker's, on top of the node's.
        takes_folder: the project folder is the one that Ray has brought here.
    """

    def __init__(
        self, arguments: list[str], environment: Mapping[str, str], *, takes_folder: bool, gpus: float
    ) -> None:
        # Ray ends an actor by SIGKILL and leaves its children; this thread, which they look at, lives as long as it.
        more = {"HPO_END_WITH_PARENT": "1", **({"HPO_PROJECT": str(Path.cwd())} if takes_folder else {})}
        if not gpus:
            more["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves all of them visible
        self._lines: deque[str] = deque(maxlen=20)
        self._is_asked = False
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._watch_node, daemon=True).start()

    def look(self) -> tuple[int | None, str]:
        """The worker's exit code, None while it runs; and its last lines."""
        return self._process.poll(), "\n".join(self._lines)

    def drain(self) -> None:
        """Ask the worker to hand back its trials and end."""
        self._is_asked = True
        self._process.terminate()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip())
            print(line, end="", flush=True)  # noqa: T201 (into the actor's log)

    def _watch_node(self) -> None:
        while self._process.poll() is None:
            time.sleep(LOOK_SECONDS)
            if not self._is_asked and is_draining_here():
                self._process.terminate()
                self._process.wait()
                os.kill(os.getpid(), signal.SIGKILL)  # Ray starts the actor again, elsewhere


def is_draining_here() -> bool:
    """Whether this node is about to be taken away; false where this release of Ray does not say.

    There is no public call: Ray's own trainer uses this one.
    """
    import ray

    try:
        from ray._private.state import state

        return ray.get_runtime_context().get_node_id() in state.get_draining_nodes()
    except Exception:  # it is private, and may change
        return False


class RayLauncher:
    """
    Args:
        address: of the cluster; by default RAY_ADDRESS, or the one of this machine.
        cpus, gpus, memory_gib: of a worker.
        project: the project folder on all nodes; by default this machine's travels with the job.
    """

    is_cluster = True

    def __init__(
        self,
        *,
        address: str | None = None,
        cpus: int = 1,
        gpus: float = 0.0,
        memory_gib: int | None = None,
        project: str | None = None,
    ) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS") or "auto"
        self._cpus, self._gpus, self._memory = cpus, gpus, memory_gib
        self._project = project
        self._kept: list[Any] = []  # actors end when nothing refers to them

    @staticmethod
    def of(options: Mapping[str, str]) -> RayLauncher:
        """
        Raises:
            SpecError: an option is invalid.
        """
        check_options("ray", options, OPTIONS)
        try:
            gpus = float(options.get("gpus", "0"))
        except ValueError:
            gpus = -1.0
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise SpecError(f"--launcher-option gpus={options['gpus']}: should be a number of GPUs, or a part of one")
        return RayLauncher(
            address=options.get("address"),
            cpus=whole_number("cpus", options.get("cpus")) or 1,
            gpus=gpus,
            memory_gib=whole_number("memory_gib", options.get("memory_gib")),
            project=options.get("project"),
        )

    def start(self, order: Order) -> str:
        ray = self._connected(None if self._project else order.project)
        environment = {**order.environment(), "HPO_CORES": str(self._cpus)}
        if self._project:
            environment["HPO_PROJECT"] = self._project
        names = [f"{order.name}-{time.time_ns()}-{number}" for number in range(order.workers)]
        for name in names:
            actor = ray.remote(WorkerActor).options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached" if order.outlives else None,
                max_restarts=-1,
                max_task_retries=-1,
                num_cpus=self._cpus,
                num_gpus=self._gpus,
                memory=None if self._memory is None else self._memory << 30,
                scheduling_strategy="SPREAD",
            )
            self._kept.append(
                actor.remote(order.arguments, environment, takes_folder=self._project is None, gpus=self._gpus)
            )
        return " ".join(names)

    def look(self, job: str) -> Workers:
        ray = self._connected(None)
        asked = {}
        for number, name in enumerate(job.split()):
            with contextlib.suppress(ValueError):  # it is gone
                asked[ray.get_actor(name, namespace=NAMESPACE).look.remote()] = number
        done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
        running, codes, output = 0, {}, ""
        for reference in done:
            try:
                code, lines = ray.get(reference)
            except ray.exceptions.RayError:  # its node died a moment ago
                continue
            if code is None:
                running += 1
                continue
            codes[asked[reference]] = code
            output = lines if code not in (0, DRAINED) else output
        waiting = len(asked) - running - len(codes)
        return Workers(running, waiting, self._needs(ray) if waiting else "", codes, output)

    def stop(self, job: str) -> None:
        ray = self._connected(None)
        actors = []
        for name in job.split():
            with contextlib.suppress(ValueError):
                actors.append(ray.get_actor(name, namespace=NAMESPACE))
        if asked := [actor.drain.remote() for actor in actors]:
            ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)
        end = time.monotonic() + GRACE_SECONDS
        while self.look(job).running and time.monotonic() < end:
            time.sleep(0.2)
        for actor in actors:
            ray.kill(actor)

    def _needs(self, ray: Any) -> str:
        parts = [f"{self._cpus} CPU", *([f"{self._gpus:g} GPU"] if self._gpus else [])]
        parts += [f"{self._memory} GiB of memory"] if self._memory else []
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        has = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
        return f"a worker needs a node with {' and '.join(parts)} free, and the nodes have in all {has}"

    def _connected(self, folder: Path | None) -> Any:
        try:
            import ray
        except ImportError as error:
            raise SpecError("--launcher ray needs Ray: pip install 'hpo-service[ray]'") from error
        if ray.is_initialized():
            return ray
        environment = {} if folder is None else {"working_dir": str(folder), "excludes": EXCLUDED}
        try:
            _reach(self._address)
            ray.init(
                self._address,
                namespace=NAMESPACE,
                runtime_env=environment or None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, ray.exceptions.RayError, RuntimeError, ValueError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise SpecError(
                f"--launcher ray: there is no cluster at {self._address}: {first}. Start one with 'ray start --head', "
                "or give --launcher-option address=HOST:PORT"
            ) from error
        return ray


def _reach(address: str) -> None:
    """Connect to the head of a cluster, and hang up: Ray itself would try for many minutes.

    Raises:
        OSError: nobody answers.
        ValueError: the port is no number.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and not port.isdecimal():
        raise ValueError(f"the port '{port}' should be a number")
    if colon:  # otherwise it is a word of Ray's, such as auto
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            pass
