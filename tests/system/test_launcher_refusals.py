"""What a launcher refuses or tells before the first trial: wrong words, an engine that is not there, no room."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from projects.launch import PROJECT, Hpo, finish
from ray_cluster import ray_cluster

if TYPE_CHECKING:
    from conftest import PostgresServer

SHARED = "--launcher-option=shared=true"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rayy"], "--launcher rayy: there is no such launcher, did you mean 'ray'?"),
        (
            ["ray", "--launcher-option=adress=x"],
            "--launcher-option adress: ray has no such option, did you mean 'address'?",
        ),
        (["ray", "--launcher-option=gpus=two"], "--launcher-option gpus=two: should be a number of GPUs"),
        (["ray", "--launcher-option=cpus=none"], "--launcher-option cpus=none: should be a whole number above 0"),
        (["ray", "--launcher-option=address"], "--launcher-option address: should be KEY=VALUE"),
        (["slurm", "--launcher-option=cpuss=1"], "--launcher-option cpuss: slurm has no such option"),
        (["ray", SHARED], "a store in a file of SQLite serves one machine: workers of a cluster need PostgreSQL"),
    ],
)
def test_a_mistake_is_told_before_anything_is_started(tmp_path: Path, words: Sequence[str], message: str) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")

    code, output = hpo.run("run", hpo.study("s"), "--trials", 1, "--launcher", *words)

    refused(code, output, message)
    assert not (tmp_path / "hpo.db").exists()


def test_artifacts_on_a_disk_of_one_machine_are_refused(tmp_path: Path, postgres: PostgresServer) -> None:
    hpo = Hpo(tmp_path, postgres.url(postgres.create_database()))

    code, output = hpo.run("run", hpo.study("s"), "--trials", 1, "--launcher", "ray")

    refused(code, output, "are on a disk of this machine: a trial that goes on elsewhere would begin again")
    assert "--artifacts s3://BUCKET/FOLDER" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ray", "--launcher-option=address=127.0.0.1:1"], "--launcher ray: there is no cluster at 127.0.0.1:1"),
        (
            ["ray", "--launcher-option=address=127.0.0.1:port"],
            "there is no cluster at 127.0.0.1:port: the port 'port' should be a number",
        ),
        (["slurm"], "--launcher slurm: there is no sbatch on this machine: run it where jobs are submitted"),
    ],
)
def test_an_engine_that_is_not_there_is_told(
    tmp_path: Path, postgres: PostgresServer, words: Sequence[str], message: str
) -> None:
    hpo = Hpo(tmp_path, postgres.url(postgres.create_database()), environment={"PATH": "/nowhere"})

    code, output = hpo.run("run", hpo.study("s"), "--trials", 1, "--launcher", *words, SHARED)

    refused(code, output, message)


def test_a_cluster_without_room_says_what_is_waited_for(tmp_path: Path, postgres: PostgresServer) -> None:
    hpo = Hpo(tmp_path, postgres.url(postgres.create_database()))
    folder = Path(tempfile.mkdtemp(prefix="hpo", dir="/tmp"))  # sockets have short names
    try:
        with ray_cluster(folder, nodes=1) as ray:
            options = [f"--launcher-option={one}" for one in (f"address={ray.address}", f"project={PROJECT}", "cpus=8")]
            launched = ["--launcher", "ray", "--workers", 1, *options, SHARED]
            process = hpo.start("run", hpo.study("s"), "--trials", 1, *launched)
            assert process.stdout is not None
            seen = ""
            while "1 waits:" not in seen and (line := process.stdout.readline()):
                seen += line
            process.send_signal(signal.SIGINT)
            code, output = finish(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    words = " ".join((seen + output).split())
    assert "0 workers run; 1 waits: a worker needs a node with 8 CPU free, and the nodes have in all" in words
    assert code == 130, words
    assert not [trial for trial in hpo.trials("s") if trial.attempts]


def refused(code: int, output: str, message: str) -> None:
    assert code == 2, output
    assert message in " ".join(output.split())
    assert "Traceback" not in output
