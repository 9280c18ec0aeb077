"""docker-compose.yml works: its services, run as processes with its own commands, finish a study.

Docker is not needed. Only what containers are made of is replaced: the address of PostgreSQL, the places of secrets,
of the project and of artifacts, and the ports. As root, the services run as the user of their containers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from compose_file import COMPOSE, OURS, ROOT, SERVICES, composed, instructions
from sqlalchemy.engine import make_url

PASSWORD = "only-in-the-file{%40"
ADMIN_PASSWORD = "a-long-password-of-the-admin"

STUDY = """
study: composed
model: spying:Spy
data: models.data:Digits
objective: {metric: val_accuracy, direction: maximize}
space: {depth: 1, width: 16}
epochs: 1
budget: {trials: 2}
"""

# What code of a study finds when it looks for the password, at its import and in a trial.
SPY = """
import os
from pathlib import Path
from models.dnn import DNN

def look():
    pid, found = os.getpid(), []
    found.append("secret " + tried(Path("SECRET")))
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\\0")
        if b"hpo.training.server" not in words and b"worker" in words:
            found += ["environment " + tried(Path(f"/proc/{pid}/environ")), "memory " + tried(Path(f"/proc/{pid}/mem"))]
            break
    return found + ["own " + " ".join(sorted(os.environ.values()))]

def tried(path):
    try:
        with path.open("rb") as file:
            return "was opened: " + path.open().read(100) if "mem" not in path.name else "was opened"
    except OSError as error:
        return "refused: " + type(error).__name__

AT_IMPORT = look()

class Spy(DNN):
    def on_fit_start(self):
        print("imported:", AT_IMPORT)
        print("trained:", look())
"""


def as_user() -> list[str]:
    """What begins a command of Python: as the containers' user, where that is possible, or as this one.

    Where other users cannot reach this Python, the system's may be of the same version, and use the same packages.
    """
    user, group = SERVICES["worker"]["user"].split(":")
    setpriv = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--"]
    starts_another = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import sqlalchemy'], check=True)"
    if os.geteuid() == 0 and shutil.which("setpriv"):
        for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
            done = subprocess.run([*setpriv, python, "-c", starts_another], env=ENVIRONMENT, capture_output=True)
            if done.returncode == 0:
                return [*setpriv, python]
    return [sys.executable]


# without those of a store, and with the packages of this Python
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("HPO_", "PG"))}
ENVIRONMENT["PYTHONPATH"] = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
PYTHON = as_user()
IS_USER = len(PYTHON) > 1


def in_dependency_order() -> list[str]:
    order: list[str] = []
    while len(order) < len(SERVICES):
        ready = [n for n in SERVICES if n not in order and set(SERVICES[n].get("depends_on", {})) <= set(order)]
        assert ready, "services depend on each other in a circle"
        order += ready
    return order


@dataclass(frozen=True)
class Machine:
    """What the containers would be: a database whose user needs the password, secrets, project and artifacts."""

    folder: Path
    ports: Mapping[str, int]
    replaced: Mapping[str, str]

    def argv(self, command: list[str]) -> list[str]:
        """The entry point of the image, and a service's command."""
        assert instructions("ENTRYPOINT") == ['["hpo"]']
        return [*PYTHON, "-m", "hpo", *(self._real(part) for part in command)]

    def options(self, service: str) -> dict[str, Any]:
        """The folder and the environment of a service's process."""
        given = dict(word.split("=") for line in instructions("ENV") for word in line.split())
        own = {name: self._real(value) for name, value in SERVICES[service].get("environment", {}).items()}
        assert SERVICES[service]["working_dir"] == "/project"
        return {
            "cwd": self.folder / "project",
            "env": ENVIRONMENT | given | {"HOME": f"{self.folder}/tmp", "TMPDIR": f"{self.folder}/tmp"} | own,
        }

    def run(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """As `docker compose run --rm SERVICE COMMAND` does; without a command, the service's own."""
        return subprocess.run(
            self.argv(list(command) or SERVICES[service]["command"]),
            **self.options(service),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(self, service: str) -> subprocess.Popen[str]:
        with (self.folder / f"{service}.log").open("w") as log:
            return subprocess.Popen(
                self.argv(SERVICES[service]["command"]),
                **self.options(service),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def is_healthy(self, service: str) -> bool:
        kind, program, *arguments = SERVICES[service]["healthcheck"]["test"]
        if kind == "CMD-SHELL":
            command = ["sh", "-c", self._real(program)]
        else:
            assert (kind, program) == ("CMD", "python")
            command = [sys.executable, *(self._real(argument) for argument in arguments)]
        return subprocess.run(command, capture_output=True, timeout=300).returncode == 0

    def output(self) -> str:
        return "".join(log.read_text() for log in sorted(self.folder.glob("*.log")))

    def _real(self, text: str) -> str:
        for name, real in self.replaced.items():
            text = text.replace(name, real)
        for port, real_port in self.ports.items():
            text = text.replace(port, str(real_port))
        return text


@pytest.fixture
def machine(postgres: Any) -> Iterator[Machine]:
    # pytest's own folders are closed to other users; and secrets are where the containers' user cannot write
    folder = Path(tempfile.mkdtemp(prefix="hpo-compose-", dir="/run" if IS_USER else None))
    for name in ("project/studies", "secrets", "artifacts", "tmp"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "project" / "studies" / "composed.yaml").write_text(STUDY)
    shutil.copytree(ROOT / "models", folder / "project" / "models", ignore=shutil.ignore_patterns("__pycache__"))
    secrets = folder / "secrets"
    (folder / "project" / "spying.py").write_text(SPY.replace("SECRET", f"{secrets}/postgres_password"))
    for name, text in (("postgres_password", PASSWORD), ("admin_password", ADMIN_PASSWORD)):
        (secrets / name).write_text(f"{text}\n")
        (secrets / name).chmod(0o400)
    if IS_USER:
        user = int(SERVICES["worker"]["user"].split(":")[0])
        for path in (*secrets.iterdir(), folder / "artifacts", folder / "tmp"):
            os.chown(path, user, user)
    owner = SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    database = SERVICES["postgres"]["environment"]["POSTGRES_DB"]
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        hba = Path(row[0])
        before = hba.read_text()
        hba.write_text(f"local all {owner} scram-sha-256\n{before}")
    postgres.execute("SELECT pg_reload_conf()")
    postgres.execute(f"CREATE ROLE {owner} LOGIN PASSWORD '{PASSWORD}'")
    postgres.execute(f"CREATE DATABASE {database} OWNER {owner}")
    replaced = {
        f"@postgres/{database}": f"@/{database}?host={postgres.socket}",
        "/run/secrets/": f"{secrets}/",
        "/artifacts": f"{folder}/artifacts",
        "--host=127.0.0.1": f"--host={postgres.socket}",  # of psql
    }
    # the containers' user has to reach the socket
    closed = {path: path.stat().st_mode for path in (Path(postgres.socket), Path(postgres.socket).parent)}
    for path, mode in closed.items():
        path.chmod(mode | 0o011)
    yield Machine(folder, {"8080": _free_port(), "8081": _free_port()}, replaced)
    for path, mode in closed.items():
        path.chmod(mode)
    postgres.drop_database(database)
    postgres.execute(f"DROP ROLE {owner}")
    hba.write_text(before)
    postgres.execute("SELECT pg_reload_conf()")
    shutil.rmtree(folder)


def test_its_services_finish_a_study_that_is_submitted(machine: Machine) -> None:
    once = [name for name in in_dependency_order() if name in OURS and SERVICES[name]["restart"] == "no"]
    assert once[:2] == ["init", "admin"]
    with ExitStack() as running:
        initialized = [machine.run(name) for name in ("init", "admin")]
        assert [done.returncode for done in initialized] == [0, 0], [done.stderr for done in initialized]
        processes = {
            name: running.enter_context(_ended_at_last(machine.start(name))) for name in ("dashboard", "worker")
        }

        submitted = machine.run("hpo", "submit", "studies/composed.yaml")
        assert submitted.returncode == 0, submitted.stderr
        _wait(lambda: _complete_trials(machine) == 2, machine)
        _wait(lambda: machine.is_healthy("dashboard"), machine)
        _wait(lambda: machine.is_healthy("worker"), machine)
        # it asks for a login
        assert _status(f"http://127.0.0.1:{machine.ports['8080']}/api/studies/1") in (303, 307, 401, 403)

        best = machine.run("hpo", "best", "composed", "--json")
        codes = {}
        for name, process in processes.items():
            process.send_signal(signal.SIGTERM)
            codes[name] = process.wait(60)

    assert len(json.loads(best.stdout)) == 2
    assert codes == {"dashboard": 0, "worker": 0}, machine.output()
    printed = "".join(done.stdout + done.stderr for done in (*initialized, submitted)) + machine.output()
    assert PASSWORD not in printed
    assert ADMIN_PASSWORD not in printed
    assert "Traceback" not in printed


@pytest.mark.skipif(not IS_USER, reason="this test has to be root, and other users have to reach its Python")
def test_code_of_a_study_reads_neither_the_secret_nor_its_worker(machine: Machine) -> None:
    assert machine.run("init").returncode == 0
    assert machine.run("hpo", "submit", "studies/composed.yaml").returncode == 0
    with _ended_at_last(machine.start("worker")) as worker:
        _wait(lambda: _complete_trials(machine) == 2, machine)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0

    logs = [path.read_text() for path in (machine.folder / "artifacts").rglob("log.txt")]
    found = "".join(logs)
    assert len(logs) == 2
    for moment in ("imported", "trained"):
        assert found.count(f"{moment}: ['secret refused: PermissionError', 'environment refused: ") == 2, found
    assert found.count("'memory refused: PermissionError'") == 4, found
    assert PASSWORD not in found
    assert "could read" not in machine.output()


def test_a_password_that_is_not_the_stores_is_refused_and_can_be_made_it(machine: Machine, postgres: Any) -> None:
    """The way of docs/deploy.md, as a user whom the server asks for no password, as the image's on its socket."""
    secret = machine.folder / "secrets" / "postgres_password"
    assert machine.is_healthy("postgres")
    assert machine.run("init").returncode == 0
    secret.chmod(0o600)
    secret.write_text("another one, with 'quotes'\n")

    refused = machine.run("hpo", "ls")
    assert refused.returncode == 2
    assert "password" in refused.stderr
    assert not machine.is_healthy("postgres")

    statements = (
        (ROOT / "deploy" / "set-password.sql").read_text().replace("/run/secrets/postgres_password", str(secret))
    )
    psql = ["psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", postgres.url("postgres")]
    subprocess.run(psql, input=statements, text=True, check=True, capture_output=True)

    assert machine.run("hpo", "ls").returncode == 0
    assert machine.is_healthy("postgres")


def test_the_users_databases_hosts_and_secrets_of_all_services_agree() -> None:
    server = SERVICES["postgres"]["environment"]
    secret = "/run/secrets/postgres_password"

    assert server["POSTGRES_PASSWORD_FILE"] == secret
    for name in OURS:
        url = make_url(SERVICES[name]["environment"]["HPO_STORE"])
        assert (url.username, url.host, url.database) == (server["POSTGRES_USER"], "postgres", server["POSTGRES_DB"])
        assert SERVICES[name]["environment"]["HPO_STORE_PASSWORD_FILE"] == secret
    assert set(COMPOSE["secrets"]) == {"postgres_password", "admin_password"}
    for name, service in SERVICES.items():
        assert service["secrets"] == ["postgres_password", *(["admin_password"] if name == "admin" else [])]
    [check] = SERVICES["postgres"]["healthcheck"]["test"][1:]
    assert {f"--username={server['POSTGRES_USER']}", f"--dbname={server['POSTGRES_DB']}"} <= set(check.split())


def test_a_password_is_in_its_file_only() -> None:
    for service in SERVICES.values():
        assert "env_file" not in service
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or name.endswith("_FILE")
            assert "://" not in value or make_url(value).password is None
        for word in service.get("command", []):
            assert "password" not in word or word.startswith(("--password-file", "/run/secrets/"))
    assert [set(secret) for secret in COMPOSE["secrets"].values()] == [{"file"}, {"file"}]


def test_ports_are_published_on_the_loopback_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"dashboard": ["127.0.0.1:8080:8080"]}
    assert composed(HPO_PORT="9000")["services"]["dashboard"]["ports"] == ["127.0.0.1:9000:8080"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_runs_the_image_built_here_without_privileges(name: str) -> None:
    service = SERVICES[name]

    assert (service["image"], service["pull_policy"]) == ("hpo-service:cpu", "never")
    assert ("build" in service) == (name == "init")
    assert service["init"] is True
    assert service["read_only"] is True
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["volumes"] == [".:/project:ro", "artifacts:/artifacts"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "entrypoint"} & set(service)
    assert "docker.sock" not in str(service)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])


def test_variables_of_the_env_file_reach_the_build_and_the_services() -> None:
    found = composed(HPO_VARIANT="cuda", HPO_EXTRAS="postgres,wandb", HPO_UID="1234", HPO_GID="99", HPO_CPUS="2.5")

    assert found["services"]["init"]["build"]["args"] == {
        "VARIANT": "cuda", "EXTRAS": "postgres,wandb", "UID": "1234", "GID": "99"
    }  # fmt: skip
    ours = [found["services"][name] for name in OURS]
    assert {(service["image"], service["user"]) for service in ours} == {("hpo-service:cuda", "1234:99")}
    assert found["services"]["worker"]["cpus"] == "2.5"
    arguments = {line.partition("=")[0] for line in instructions("ARG")}
    assert found["services"]["init"]["build"]["args"].keys() <= arguments


def test_lasting_services_are_restarted_and_wait_for_their_dependencies() -> None:
    once = {"init", "admin", "hpo"}
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name in once else "unless-stopped")
        assert ("healthcheck" in service) == (name not in once)
        assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}
        assert service["pids_limit"] >= 512
    completed = {"condition": "service_completed_successfully"}
    assert SERVICES["init"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["dashboard"]["depends_on"] == {"admin": completed}
    for name in ("admin", "worker", "worker-gpu", "hpo"):
        assert SERVICES[name]["depends_on"] == {"init": completed}


def test_a_worker_is_not_killed_while_it_drains() -> None:
    command = SERVICES["worker"]["command"]
    drains = float(command[command.index("--drain-seconds") + 1])

    assert SERVICES["worker"]["stop_grace_period"] == "5m"
    assert drains + 30 <= 300


def test_one_worker_is_started_and_gpus_are_another_profile() -> None:
    without_profile = {name for name, service in SERVICES.items() if "profiles" not in service}

    assert COMPOSE["name"] == "hpo"
    assert without_profile == {"postgres", "init", "admin", "dashboard", "worker"}
    gpu = dict(SERVICES["worker-gpu"])
    assert gpu.pop("profiles") == ["gpu"]
    [device] = gpu.pop("deploy")["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert gpu == SERVICES["worker"]


class _ended_at_last:  # noqa: N801 (reads as what it does)
    """The process, and its end whatever happens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __enter__(self) -> subprocess.Popen[str]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _status(url: str) -> int:
    """Of the answer, without following it to another page."""
    return httpx2.get(url, timeout=30).status_code


def _complete_trials(machine: Machine) -> int:
    status = machine.run("hpo", "status", "composed", "--json")
    assert status.returncode == 0, status.stderr
    return int(json.loads(status.stdout)["counts"].get("complete", 0))


def _wait(condition: Any, machine: Machine, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, machine.output()
        time.sleep(0.2)
