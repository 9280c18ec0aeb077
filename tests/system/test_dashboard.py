"""The dashboard shows studies in a real browser, and refuses every change."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from optuna import load_study
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.exceptions import StorageInternalError
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from stores import write

from hpo.dashboard.application import forbid_writing
from hpo.queue.claim import claim_trial
from hpo.queue.leases import register_worker
from hpo.queue.report import begin_trial, finish_trial, report_epoch
from hpo.queue.studies import create_or_continue
from hpo.space import Float, Parameter, SearchSpace
from hpo.store import Store, StoreUrl
from hpo.store.optuna_storage import optuna_storage
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.spec import StudySpec

VALUES = (0.625, 0.875)


@dataclass(frozen=True)
class Dashboard:
    """A running `hpo dashboard`."""

    process: subprocess.Popen[str]
    line: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def studies(self) -> list[str]:
        status, _, body = self.request("GET", "/api/studies")
        assert status == 200
        return [study["study_name"] for study in json.loads(body)["study_summaries"]]

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Exit code, and its output on stdout and stderr since it listens."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=300)
        return self.process.returncode, out, err


def command(url: str, *options: str, port: int = 0, host: str = "127.0.0.1") -> list[str]:
    verb = [sys.executable, "-m", "hpo", "dashboard"]
    return [*verb, "--store", url, "--host", host, "--port", str(port), *options]


@contextmanager
def serving(url: str, folder: Path, *options: str, host: str = "127.0.0.1") -> Iterator[Dashboard]:
    process = subprocess.Popen(
        command(url, *options, host=host),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r":(\d+)/", line)
            assert found, process.communicate(timeout=300)[1]
            yield Dashboard(process, line, int(found[1]))
        finally:
            process.kill()


def add_study(url: str, name: str) -> None:
    """A study as our own queue writes it: two trials of three epochs each, both complete."""
    spec = StudySpec.model_validate(
        {
            "study": name,
            "model": "lab.nets:Net",
            "data": "lab.sets:Data",
            "objective": {"metric": "val_accuracy", "direction": "maximize"},
            "budget": {"trials": len(VALUES)},
        }
    )
    space = SearchSpace((Parameter("lr", Float(0.0, 1.0)),))
    distribution = distribution_to_json(FloatDistribution(0.0, 1.0))
    with Store.create(url) as store:
        study, _ = create_or_continue(store, ResolvedStudy(spec, space, {"model": {}, "data": {}}))
        worker_id = register_worker(store, host="test", pid=os.getpid(), slots=1)
        for value in VALUES:
            claim = claim_trial(store, study.study_id, worker_id=worker_id, slot=0, device="cpu")
            assert claim is not None
            write(
                store,
                begin_trial,
                claim,
                params={"lr": (value / 2, distribution)},
                config={"params": {"lr": value / 2}},
            )
            for epoch in (1, 2, 3):
                write(
                    store,
                    report_epoch,
                    claim,
                    epoch=epoch,
                    value=value * epoch / 3,
                    metrics={"val_accuracy": value * epoch / 3},
                    seconds=float(epoch),
                    system_attributes={},
                )
            write(store, finish_trial, claim, state="COMPLETE", values=[value], seconds=3.0)


def shown(browser: Chrome, url: str, *texts: str) -> str:
    """The page's text, as soon as it holds all of these."""
    browser.get(url)
    body: Callable[[Any], str] = lambda driver: driver.find_element(By.TAG_NAME, "body").text  # noqa: E731
    WebDriverWait(browser, 300).until(
        lambda driver: all(text in body(driver) for text in texts), f"{url} does not show {texts}"
    )
    return body(browser)


def complaints(browser: Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """One that no test can change."""
    folder = tmp_path_factory.mktemp("served")
    url = f"sqlite:///{folder}/hpo.db"
    add_study(url, "digits")
    with serving(url, folder) as running:
        yield running


def test_the_browser_shows_studies_their_metric_plots_and_trials(dashboard: Dashboard, browser: Chrome) -> None:
    shown(browser, f"{dashboard.url}/", "1. digits", "Direction: MAXIMIZE")
    assert browser.current_url.startswith(f"{dashboard.url}/dashboard")

    shown(browser, f"{dashboard.url}/dashboard/studies/1", "digits (id=1)", "val_accuracy", "lr: 0.4375")
    assert browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot .main-svg")
    shown(browser, f"{dashboard.url}/dashboard/studies/1/trials", "2 Trials", "Trial 0", "Trial 1", "0.625")

    assert complaints(browser) == []


def test_a_store_without_studies_is_served(sqlite_url: str, tmp_path: Path, browser: Chrome) -> None:
    with serving(sqlite_url, tmp_path) as empty:
        shown(browser, f"{empty.url}/dashboard", "RELOAD")

        assert empty.studies() == []
        assert complaints(browser) == []


def test_studies_of_a_store_are_read_through_a_password(postgres: Any, postgres_url: str, tmp_path: Path) -> None:
    add_study(postgres_url, "guarded")
    password = tmp_path / "password"
    password.write_text("s3cret{word\n")
    url = postgres_url.replace("//postgres@", "//guarded@") + f"&password_file={password}"

    with serving(url, tmp_path) as running:
        assert running.studies() == ["guarded"]
        code, out, err = running.end(signal.SIGTERM)

    assert code == 0
    assert "s3cret" not in running.line + out + err


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("PUT", "/api/studies/1/note"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/incompatible-rdb-schema"),
        ("OPTIONS", "/api/studies"),
    ],
)
def test_whatever_would_change_something_is_refused(dashboard: Dashboard, method: str, path: str) -> None:
    status, headers, body = dashboard.request(method, path, body='{"study_name": "x", "directions": ["maximize"]}')

    assert status == 405
    assert headers["allow"] == "GET, HEAD"
    assert "is read-only" in json.loads(body)["reason"]
    assert dashboard.studies() == ["digits"]


def test_its_connections_to_the_store_cannot_write(store_url: str) -> None:
    add_study(store_url, "digits")

    with optuna_storage(StoreUrl.parse(store_url)) as storage:
        forbid_writing(storage)
        with pytest.raises(StorageInternalError):
            storage.delete_study(1)

        assert [study.study_name for study in storage.get_all_studies()] == ["digits"]


def test_an_unreachable_store_is_reported_until_it_is_back(postgres: Any, tmp_path: Path) -> None:
    name = postgres.create_database(template=postgres.empty_store)
    with serving(postgres.url(name), tmp_path) as running:
        assert running.request("GET", "/dashboard")[0] == 200
        postgres.drop_database(name)
        away, _, body = running.request("GET", "/dashboard")
        postgres.execute(f"CREATE DATABASE {name} TEMPLATE {postgres.empty_store}")
        back = running.request("GET", "/dashboard")[0]
        code, _, errors = running.end(signal.SIGTERM)
    postgres.drop_database(name)

    assert (away, back, code) == (503, 200, 0)
    assert "cannot be read at the moment" in json.loads(body)["reason"]
    assert "Traceback" not in errors


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.0.2.7", "x@y", "["])
def test_a_page_that_points_its_own_name_here_reads_nothing(dashboard: Dashboard, host: str) -> None:
    status, _, body = dashboard.request("GET", "/api/studies", headers={"Host": host})

    assert status == 403
    assert b"digits" not in body
    assert "--host" in json.loads(body)["reason"]


@pytest.mark.parametrize("host", ["localhost:8080", "LOCALHOST", "localhost.", "127.0.0.1", "127.1.2.3:99", "[::1]:80"])
def test_the_loopback_is_known_by_all_its_names(dashboard: Dashboard, host: str) -> None:
    assert dashboard.request("GET", "/api/studies", headers={"Host": host})[0] == 200


@pytest.mark.parametrize("path", ["/dashboard", "/api/studies", "/csv/1", "/static/bundle.js", "/artifacts/1/a", "/no"])
def test_every_answer_has_security_headers(dashboard: Dashboard, path: str) -> None:
    _, headers, _ = dashboard.request("GET", path)

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_a_web_page_among_the_artifacts_is_served_without_its_powers(sqlite_url: str, tmp_path: Path) -> None:
    add_study(sqlite_url, "digits")
    page = tmp_path / "page.html"
    page.write_text("<script>fetch('/api/studies')</script>")
    folder = tmp_path / "hpo-artifacts"
    folder.mkdir()
    with optuna_storage(StoreUrl.parse(sqlite_url)) as storage:
        study = load_study(study_name="digits", storage=storage)
        artifact = upload_artifact(
            artifact_store=FileSystemArtifactStore(folder), file_path=str(page), study_or_trial=study
        )

    with serving(sqlite_url, tmp_path) as running:
        status, headers, body = running.request("GET", f"/artifacts/1/{artifact}")

    assert (status, headers["content-type"], body) == (200, "text/html", page.read_bytes())
    assert "sandbox" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


def test_nothing_but_the_loopback_is_listened_on(dashboard: Dashboard) -> None:
    connections = psutil.Process(dashboard.process.pid).net_connections("inet")

    assert [c.laddr for c in connections if c.status == psutil.CONN_LISTEN] == [("127.0.0.1", dashboard.port)]


def test_another_address_needs_a_login_or_a_word_that_it_needs_none(sqlite_url: str) -> None:
    refused = subprocess.run(command(sqlite_url, host="0.0.0.0"), capture_output=True, text=True, timeout=300)

    assert refused.returncode == 2
    assert "--login" in refused.stderr
    assert "--no-login" in refused.stderr


def test_a_server_without_a_login_may_be_asked_for_by_address(sqlite_url: str, tmp_path: Path) -> None:
    with serving(sqlite_url, tmp_path, "--no-login", host="0.0.0.0") as open_to_all:
        asked = {
            host: open_to_all.request("GET", "/api/studies", headers={"Host": host})[0]
            for host in ("192.0.2.7:8080", "dashboard:8080", socket.gethostname(), "evil.example")
        }
        refused, _, body = open_to_all.request("DELETE", "/api/studies/1")

    assert asked.pop("evil.example") == 403
    assert set(asked.values()) == {200}
    assert refused == 405
    assert "no login" in json.loads(body)["reason"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_in_one_line_and_ends_silently(
    sqlite_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    with serving(sqlite_url, tmp_path) as running:
        assert running.studies() == []
        ended = running.end(number)

    assert str(StoreUrl.parse(sqlite_url)) in running.line
    assert running.url in running.line
    assert ended == (0, "", "")


def test_a_taken_port_is_refused_with_a_reason(dashboard: Dashboard, sqlite_url: str) -> None:
    second = subprocess.run(command(sqlite_url, port=dashboard.port), capture_output=True, text=True, timeout=300)

    assert second.returncode == 2
    assert f"port {dashboard.port}: another program uses it already" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_host_of_another_machine_is_refused_with_a_reason(sqlite_url: str) -> None:
    asked = command(sqlite_url, "--login", host="192.0.2.7")
    refused = subprocess.run(asked, capture_output=True, text=True, timeout=300)

    assert refused.returncode == 2
    assert "not an address of this machine" in refused.stderr
