"""docker-compose.yml works: its services, run as processes with its own commands, finish a study.

Docker is not needed. Only what containers are made of is replaced: the address of PostgreSQL, the place of the
secret, the port that is published.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ruamel.yaml import YAML
from sqlalchemy.engine import make_url

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name in SERVICES if name != "postgres"]
PASSWORD = "only-in-the-file{%40"

STUDY = """
study: composed
model: models.dnn:DNN
data: models.data:Digits
objective: {metric: val_accuracy, direction: maximize}
space: {depth: 1, width: 16}
epochs: 1
budget: {trials: 2}
"""


def instructions(name: str) -> list[str]:
    """What the Dockerfile says after each NAME, with continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


def in_dependency_order() -> list[str]:
    order: list[str] = []
    while len(order) < len(SERVICES):
        ready = [n for n in SERVICES if n not in order and set(SERVICES[n].get("depends_on", {})) <= set(order)]
        assert ready, "services depend on each other in a circle"
        order += ready
    return order


@dataclass(frozen=True)
class Machine:
    """What the containers would be: a database whose user needs the password, the secret and the project folder."""

    project: Path
    replaced: Mapping[str, str]

    def argv(self, command: list[str]) -> list[str]:
        """The entry point of the image, and a service's command."""
        assert instructions("ENTRYPOINT") == ['["hpo"]']
        return [sys.executable, "-m", "hpo", *(self._real(part) for part in command)]

    def environment(self, service: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HPO_", "PG"))}
        return inherited | {name: self._real(value) for name, value in SERVICES[service]["environment"].items()}

    def run(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """As `docker compose run --rm SERVICE COMMAND` does; without a command, the service's own."""
        return subprocess.run(
            self.argv(list(command) or SERVICES[service]["command"]),
            cwd=self.project,
            env=self.environment(service),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(self, service: str) -> subprocess.Popen[str]:
        log = (self.project / f"{service}.log").open("w")
        with log:
            return subprocess.Popen(
                self.argv(SERVICES[service]["command"]),
                cwd=self.project,
                env=self.environment(service),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def is_healthy(self, service: str) -> bool:
        kind, program, *arguments = SERVICES[service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        command = [sys.executable, *(self._real(argument) for argument in arguments)]
        return subprocess.run(command, capture_output=True, timeout=300).returncode == 0

    def output(self) -> str:
        return "".join(log.read_text() for log in sorted(self.project.glob("*.log")))

    def _real(self, text: str) -> str:
        for name, real in self.replaced.items():
            text = text.replace(name, real)
        return text


@pytest.fixture
def machine(postgres: Any, tmp_path: Path) -> Iterator[Machine]:
    project = tmp_path / "project"
    (project / "studies").mkdir(parents=True)
    (project / "studies" / "composed.yaml").write_text(STUDY)
    shutil.copytree(ROOT / "models", project / "models", ignore=shutil.ignore_patterns("__pycache__"))
    secret = tmp_path / "postgres_password.txt"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
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
        "/run/secrets/postgres_password": str(secret),
        "8080": str(port),
    }
    yield Machine(project, replaced)
    postgres.drop_database(database)
    postgres.execute(f"DROP ROLE {owner}")
    hba.write_text(before)
    postgres.execute("SELECT pg_reload_conf()")


def test_its_services_finish_a_study_that_is_submitted(machine: Machine) -> None:
    order = [name for name in in_dependency_order() if name != "postgres"]
    assert order[0] == "init"
    with ExitStack() as running:
        initialized = machine.run("init")
        assert initialized.returncode == 0, initialized.stderr
        processes = {name: running.enter_context(_ended_at_last(machine.start(name))) for name in order[1:]}

        submitted = machine.run("worker", "submit", "studies/composed.yaml")
        assert submitted.returncode == 0, submitted.stderr
        _wait(lambda: _complete_trials(machine) == 2, machine)
        _wait(lambda: machine.is_healthy("dashboard"), machine)

        best = machine.run("worker", "best", "composed", "--json")
        codes = {}
        for name, process in processes.items():
            process.send_signal(signal.SIGTERM)
            codes[name] = process.wait(60)

    assert len(json.loads(best.stdout)) == 2
    assert codes == {"dashboard": 0, "worker": 0}, machine.output()
    printed = initialized.stdout + initialized.stderr + submitted.stdout + submitted.stderr + machine.output()
    assert PASSWORD not in printed
    assert "Traceback" not in printed


def test_the_store_refuses_another_password(machine: Machine) -> None:
    Path(machine.replaced["/run/secrets/postgres_password"]).write_text("guessed")

    refused = machine.run("init")

    assert refused.returncode == 2
    assert "password" in refused.stderr


def test_the_users_databases_hosts_and_secrets_of_all_services_agree() -> None:
    server = SERVICES["postgres"]["environment"]
    secret = f"/run/secrets/{next(iter(COMPOSE['secrets']))}"

    assert server["POSTGRES_PASSWORD_FILE"] == secret
    for name in OURS:
        url = make_url(SERVICES[name]["environment"]["HPO_STORE"])
        assert (url.username, url.host, url.database) == (server["POSTGRES_USER"], "postgres", server["POSTGRES_DB"])
        assert SERVICES[name]["environment"]["HPO_STORE_PASSWORD_FILE"] == secret
    assert all(service["secrets"] == list(COMPOSE["secrets"]) for service in SERVICES.values())
    check = SERVICES["postgres"]["healthcheck"]["test"]
    assert {f"--username={server['POSTGRES_USER']}", f"--dbname={server['POSTGRES_DB']}"} <= set(check)


def test_the_password_is_in_its_file_only() -> None:
    for service in SERVICES.values():
        assert "env_file" not in service
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or name.endswith("_FILE")
            assert "://" not in value or make_url(value).password is None
        assert "password" not in " ".join(service.get("command", []))
    assert [set(secret) for secret in COMPOSE["secrets"].values()] == [{"file"}]


def test_ports_are_published_on_the_loopback_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert list(published) == ["dashboard"]
    for port in published["dashboard"]:
        assert ipaddress.ip_address(port.split(":")[0]).is_loopback


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_runs_the_image_built_here_without_privileges(name: str) -> None:
    service = SERVICES[name]

    assert (service["image"], service["build"]) == ("hpo-service:local", ".")
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "entrypoint"} & set(service)
    assert "docker.sock" not in str(service)
    assert not service["user"].startswith(("root", "0"))


def test_lasting_services_are_restarted_and_wait_for_their_dependencies() -> None:
    assert {name: service["restart"] for name, service in SERVICES.items()} == {
        "postgres": "unless-stopped",
        "init": "no",
        "dashboard": "unless-stopped",
        "worker": "unless-stopped",
    }
    assert SERVICES["init"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("dashboard", "worker"):
        assert SERVICES[name]["depends_on"] == {"init": {"condition": "service_completed_successfully"}}


def test_the_image_is_built_from_the_files_that_the_dockerfile_copies(tmp_path: Path) -> None:
    context = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [source for line in instructions("COPY") for source in line.split()[:-1]]
    assert set(copied) == set(context)
    for source in copied:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path / source)

    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)

    assert built.returncode == 0, built.stdout + built.stderr
    assert len(list((tmp_path / "dist").glob("hpo_service-*.whl"))) == 1


def test_the_image_runs_as_a_user_and_not_as_root() -> None:
    assert instructions("USER") == ["hpo"]
    assert "secrets" not in " ".join(instructions("COPY") + instructions("ADD"))


class _ended_at_last:  # noqa: N801 (reads as what it does)
    """The process, and its end whatever happens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __enter__(self) -> subprocess.Popen[str]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _complete_trials(machine: Machine) -> int:
    status = machine.run("worker", "status", "composed", "--json")
    assert status.returncode == 0, status.stderr
    return int(json.loads(status.stdout)["counts"].get("complete", 0))


def _wait(condition: Any, machine: Machine, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, machine.output()
        time.sleep(0.2)
