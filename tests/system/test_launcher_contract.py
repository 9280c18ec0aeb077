"""What every launcher does: the same tests for workers on this machine, on Ray and on Slurm, each a real one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from conftest import PASSWORD
from projects.launch import PROJECT, Hpo, finish, wait_for
from ray_cluster import ray_cluster
from slurm_cluster import slurm_cluster

if TYPE_CHECKING:
    from conftest import PostgresServer

OTHERS = Path(__file__).parents[1] / "others"
SLOW = {"class": "projects.nets:Telling", "seconds": 0.3}  # an epoch


@dataclass(frozen=True)
class Engine:
    """A launcher and its cluster.

    Attributes:
        options: words of the command line.
        environment: of whoever calls it.
    """

    name: str
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


@pytest.fixture(
    scope="module",
    params=[
        "local",
        "theirs",
        "ray",
        pytest.param("slurm", marks=pytest.mark.needs("slurmctld", "slurmd", "slurm-client", "munge")),
    ],
)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix="hpo", dir="/tmp"))  # sockets have short names
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        match request.param:
            case "local":
                yield Engine("local", ("--launcher-option", "cores=1"))
            case "theirs":  # of a package, by its entry point
                path = os.pathsep.join(filter(None, (str(OTHERS), os.environ.get("PYTHONPATH"))))
                yield Engine("theirs", ("--launcher-option", "cores=1"), {"PYTHONPATH": path})
            case "ray":
                ray = stack.enter_context(ray_cluster(folder))
                options = (f"address={ray.address}", f"project={PROJECT}", "shared=true")
                yield Engine("ray", tuple(word for option in options for word in ("--launcher-option", option)))
            case "slurm":
                slurm = stack.enter_context(slurm_cluster(folder / "slurm"))
                yield Engine("slurm", ("--launcher-option", "shared=true"), dict(slurm.environment))


@pytest.fixture
def hpo(tmp_path: Path, engine: Engine, postgres: PostgresServer) -> Hpo:
    return Hpo(tmp_path, postgres.url(postgres.create_database()), environment=engine.environment)


def launched(engine: Engine, workers: int = 2) -> list[Any]:
    return ["--launcher", engine.name, "--workers", workers, *engine.options]


def test_a_search_ends_with_exactly_its_trials(hpo: Hpo, engine: Engine) -> None:
    file = hpo.study("s", model=SLOW, epochs=4)

    code, output = hpo.run("run", file, "--trials", 8, *launched(engine))

    assert code == 0, output
    assert "2 workers by" in output
    assert "8 complete, 0 pruned, 0 failed" in output
    trials = hpo.trials("s")
    assert [(trial.state, trial.attempts) for trial in trials] == [("complete", 1)] * 8
    assert len({trial.worker for trial in trials}) == 2
    code, output = hpo.run("run", file, "--trials", 9, *launched(engine, 1))  # the same command goes on
    assert code == 0, output
    assert hpo.counts("s") == {"complete": 9}


def test_a_search_that_is_interrupted_hands_its_trials_back(hpo: Hpo, engine: Engine) -> None:
    file = hpo.study("s", model=SLOW, epochs=100)
    process = hpo.start("run", file, "--trials", 2, *launched(engine))
    wait_for(lambda: len([trial for trial in hpo.trials("s") if trial.curve]) == 2)

    process.send_signal(signal.SIGINT)
    code, output = finish(process)

    assert code == 130, output
    assert "the same command continues: hpo run" in output
    assert [(trial.state, trial.attempts) for trial in hpo.trials("s")] == [("idle", 1)] * 2


def test_a_pool_trains_what_is_submitted_until_it_is_taken_down(hpo: Hpo, engine: Engine, tmp_path: Path) -> None:
    project = tmp_path / "pool"
    shutil.copytree(PROJECT / "projects", project / "projects")
    options = [option.replace(str(PROJECT), str(project)) for option in map(str, launched(engine))]
    own = Hpo(tmp_path, hpo.url, environment={**engine.environment, "HPO_PROJECT": str(project), "HPO_STORE": hpo.url})
    own._options = lambda: []  # type: ignore[method-assign]

    code, output = own.run("up", *options)
    try:
        assert code == 0, output
        assert json.loads((project / "hpo-pool.json").read_text())["launcher"] == engine.name
        assert own.run("submit", own.study("first", epochs=1), "--trials", 3)[0] == 0
        wait_for(lambda: own.counts("first") == {"complete": 3})
        code, output = own.run("up", *options)
        assert code == 2
        assert "'hpo down' ends it" in output
        assert own.run("submit", own.study("second", model=SLOW, epochs=100), "--trials", 1)[0] == 0
        wait_for(lambda: [trial for trial in own.trials("second") if trial.curve])
    finally:
        code, output = own.run("down")

    assert code == 0, output
    assert [(trial.state, trial.attempts) for trial in own.trials("second")] == [("idle", 1)]
    code, output = own.run("down")
    assert code == 2
    assert "no pool was started" in output


def test_no_password_is_in_what_the_engine_shows(tmp_path: Path, engine: Engine, postgres: PostgresServer) -> None:
    database = postgres.create_database()
    url = f"postgresql://guarded:{PASSWORD}@/{database}?host={postgres.socket}"
    hpo = Hpo(tmp_path, url, environment={**engine.environment, "HPO_STORE": url})
    process = hpo.start("run", hpo.study("s", model=SLOW, epochs=20), "--trials", 1, *launched(engine, 1))
    wait_for(lambda: [trial for trial in hpo.trials("s") if trial.curve])

    titles = [" ".join(found.info["cmdline"] or []) for found in psutil.process_iter(["cmdline"])]
    shown = _shown(engine)
    code, output = finish(process)

    assert code == 0, output
    logs = [log.read_text(errors="replace") for log in (tmp_path / "art" / ".workers").glob("*")]
    assert not [text for text in (*titles, *logs, shown, output) if PASSWORD in text]


def _shown(engine: Engine) -> str:
    """What anybody may ask the engine for."""
    if engine.name == "slurm":
        command = ["scontrol", "show", "job"]
        return subprocess.run(command, env={**os.environ, **engine.environment}, capture_output=True, text=True).stdout
    return ""
