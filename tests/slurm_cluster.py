"""A Slurm of two nodes of one core each on this machine, on loopback: real daemons, as root, without systemd."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from system_packages import program

CONF = """ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdTimeout=15
InactiveLimit=0
KillWait=30
MinJobAge=300
SchedulerParameters=sched_interval=2,bf_interval=2
CommunicationParameters=NoInAddrAny
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1 RealMemory=2000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1 RealMemory=2000
PartitionName=low Nodes=n[1-2] Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=n[1-2] MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""


@dataclass(frozen=True)
class Slurm:
    """A running cluster.

    Attributes:
        environment: with which sbatch and the like find it.
    """

    environment: Mapping[str, str]

    def run(self, *command: str, text: str | None = None) -> str:
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, input=text, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Slurm]:
    """A cluster in a folder with a short name, which has to be root's."""
    for name in ("state", "n1", "n2", "munge"):
        (folder / name).mkdir(parents=True)
    ports = _free_ports(3)
    host = platform.node().partition(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, host=host, port=ports[0], first=ports[1], second=ports[2]))
    environment = {"SLURM_CONF": str(conf)}
    processes = [_munge(folder / "munge")]
    try:
        for command in (["slurmctld"], ["slurmd", "-N", "n1"], ["slurmd", "-N", "n2"]):
            with (folder / f"{command[0]}.out").open("ab") as log:
                processes.append(
                    subprocess.Popen(
                        [program(command[0]) or command[0], *command[1:], "-D", "-f", conf],
                        env={**os.environ, **environment},
                        stdout=log,
                        stderr=log,
                    )
                )
        slurm = Slurm(environment)
        _wait_for_nodes(slurm, folder)
        yield slurm
    finally:
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _munge(folder: Path) -> subprocess.Popen[bytes]:
    """The daemon by which Slurm's programs know each other, with a key of its own; it refuses to be root."""
    user = pwd.getpwnam("munge")
    (folder / "munge.key").write_bytes(os.urandom(1024))
    for path in (folder, folder / "munge.key"):
        shutil.chown(path, user.pw_uid, user.pw_gid)
    (folder / "munge.key").chmod(0o600)
    folder.chmod(0o755)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{name}={folder / f'munge.{file}'}" for name, file in files.items()]
    command = [program("munged") or "munged", "--foreground", "--force", *options]
    process = subprocess.Popen(command, user="munge", group="munge", stderr=subprocess.DEVNULL)
    for _ in range(100):
        if (folder / "munge.socket").exists():
            return process
        time.sleep(0.1)
    raise TimeoutError("munged does not listen")


def _wait_for_nodes(slurm: Slurm, folder: Path) -> None:
    for _ in range(150):
        try:
            if slurm.run("sinfo", "--noheader", "--format=%T", "--partition=low").split() == ["idle"]:
                return
        except AssertionError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"the nodes are not ready: {(folder / 'slurmctld.out').read_text()[-2000:]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
