"""`hpo --server URL VERB`, and `hpo.connect`: what verbs do through a server is what they do on its store."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from projects.launch import Hpo, finish, read_until
from projects.service import running
from projects.stored import folder_of
from projects.synthetic import Claimant, begin_next, create_study

import hpo
from hpo.client.connection import checked_address, read_token
from hpo.errors import NotFoundError, SpecError, StoreError, StoreUnreachableError
from hpo.queue.claim import Claim
from hpo.queue.enqueue import Point
from hpo.queue.studies import StoredStudy
from hpo.results.query import Query
from hpo.store import Store
from hpo.web.callers import Role
from hpo.web.tokens import create_token


@dataclass(frozen=True)
class Served:
    """A server in a process of its own, and somebody elsewhere who has its address and tokens, and not its store."""

    hpo: Hpo
    url: str
    elsewhere: Path

    def token_file(self, role: Role = Role.ADMIN, *, seconds: float | None = None) -> Path:
        file = self.elsewhere / f"token-{time.monotonic_ns()}"
        with Store.open(self.hpo.url) as store:
            secret = create_token(store, file.name, role, seconds=seconds)
        file.touch(mode=0o600)
        file.write_text(secret)
        return file

    def ask(self, *words: object, token: Path | None = None, by: str | None = None) -> tuple[int, str]:
        """`hpo --server URL --token-file FILE WORDS`: (exit code, output)."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
        options = ["--server", by or self.url, "--token-file", str(token or self.token_file())]
        command = [sys.executable, "-m", "hpo", *options, *map(str, words)]
        return finish(
            subprocess.Popen(
                command,
                cwd=self.elsewhere,
                env={**environment, "COLUMNS": "200"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )


def write_log(folder: Path, study: StoredStudy, number: int, text: str) -> Path:
    log = folder_of(folder / "art", study, number) / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text(text)
    return log


def begin_logged(folder: Path, store: Store, name: str) -> tuple[Claimant, Claim, Path]:
    """A study of one trial, which runs and has a log."""
    study = create_study(store, study=name, budget={"trials": 1})
    worker = Claimant(store, study)
    claim = begin_next(worker, 0.5)
    return worker, claim, write_log(folder, study, claim.number, "first\nsecond\n")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    ours = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    with Store.create(ours.url) as store:
        study = create_study(store)
        worker = Claimant(store, study)
        for value in (0.25, 0.75):
            worker.finish(begin_next(worker, value / 2, value), value)
        begin_next(worker, 0.1)
        write_log(folder, study, 1, "epoch 1\nepoch 2\n")
        create_study(store, study="gone")
        begin_logged(folder, store, "live")
    with running(ours, "dashboard", "--login", "--port", "0") as process:
        started = read_until(process, "(Ctrl-C ends it)")
        found = re.search(r"on (http://\S+?)/? \(Ctrl-C", started)
        assert found is not None, started
        yield Served(ours, found[1], tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize(
    "verb",
    [
        "ls --json",
        "status synthetic --json",
        "trials synthetic",
        "trials synthetic --json",
        "trials synthetic --where value>0.3 --columns number,value,started --csv",
        "best synthetic --json",
        "best synthetic -k 1 --columns number,lr,started",
        "best synthetic --by optimizer --json",
        "show synthetic 1",
        "show synthetic 1 --json",
        "logs synthetic 1",
        "logs synthetic 1 --json",
        "logs live",
        "logs live --json",
        "logs gone",
        "trials synthetic --sort vlue",
    ],
)
def test_verbs_print_through_a_server_what_they_print_on_the_store(served: Served, verb: str) -> None:
    code, output = served.ask(*verb.split())
    own_code, own_output = served.hpo.run(*verb.split())

    assert (code, _steady(output)) == (own_code, _steady(own_output))


def test_logs_of_running_trials_are_followed_through_a_server_until_the_study_has_ended(served: Served) -> None:
    with Store.open(served.hpo.url) as store:
        worker, claim, log = begin_logged(served.hpo.folder, store, "followed")
        arguments = ["--server", served.url, "--token-file", str(served.token_file()), "logs", "followed", "-f"]
        process = subprocess.Popen(
            [sys.executable, "-m", "hpo", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["   0 | first\n", "   0 | second\n"]
        with log.open("a") as file:
            file.write("third \N{GREEK SMALL LETTER PI}\nlast")
        worker.finish(claim, 0.5, best_epoch=1)
        code, rest = finish(process)

    assert code == 0
    assert rest.splitlines()[:2] == ["   0 | third \N{GREEK SMALL LETTER PI}", "   0 | last"]


def test_a_study_is_submitted_steered_and_deleted_through_a_server(served: Served) -> None:
    token = served.token_file()
    file = served.hpo.study("sent", budget={"trials": 2}).rename(served.elsewhere / "sent.yaml")

    def ask(*words: object) -> tuple[int, str]:
        return served.ask(*words, token=token)

    assert ask("submit", file, "--trials", "3") == (0, "study sent created: 3 trials\n")
    assert ask("enqueue", "sent", "lr=0.05")[1] == "study sent: trial 0 waits for a worker\n"
    assert "nothing was done" not in ask("pause", "sent")[1]
    assert "sent: paused" in ask("status", "sent")[1]
    assert ask("resume", "sent") == (0, "study sent is resumed\n")
    assert ask("set", "sent", "trials=+2", "hours=1") == (0, "study sent: trials 5, hours 1, priority 1\n")
    assert ask("kill", "sent", 0) == (0, "trial 0 of study sent ends now\n")
    code, said = ask("kill", "sent", 0)
    assert (code, "has ended already" in said) == (2, True)
    assert ask("delete", "sent", "--yes")[1].startswith("study sent deleted: 1 trial, ")
    code, said = ask("status", "sent")
    assert (code, "no study 'sent'" in said) == (2, True)


def test_verbs_that_need_the_store_say_so(served: Served) -> None:
    code, said = served.ask("rename", "synthetic", "other")

    assert code == 2
    assert "this verb works on a store, and not through a server" in said


def test_who_may_not_is_told_why(served: Served) -> None:
    viewer, expired = served.token_file(Role.VIEWER), served.token_file(seconds=0.0)
    wrong = served.elsewhere / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("hpo_wrong-secret")

    assert "needs the role operator" in served.ask("pause", "synthetic", token=viewer)[1]
    for token in (wrong, expired):
        code, said = served.ask("ls", token=token)
        assert (code, "token" in said) == (2, True)
        assert token.read_text() not in said


def test_the_token_is_in_no_title_and_no_argument(served: Served) -> None:
    token = served.token_file()
    study = ["--server", served.url, "--token-file", str(token), "logs", "synthetic", "2", "--follow"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo", *study], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    shown = psutil.Process(process.pid)
    titles = " ".join([*shown.cmdline(), *shown.environ().values()])
    _, output = finish(process)

    assert token.read_text() not in titles + output


def test_a_token_file_that_others_may_read_is_refused(served: Served) -> None:
    token = served.token_file()
    token.chmod(0o640)

    code, said = served.ask("ls", token=token)

    assert code == 2
    assert f"'chmod 600 {token}'" in said


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff", b"x" * 5000, b"a\nb"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_bytes(content)

    with pytest.raises(SpecError, match="holds no token"):
        read_token(file)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://hpo.example.com", "everybody on the way could read the token"),
        ("http://127.0.0.1.example.com", "everybody on the way could read the token"),
        ("ftp://hpo.example.com", "should be an address such as"),
        ("hpo.example.com", "should be an address such as"),
        ("https://", "should be an address such as"),
        ("https://a:1x", "--server"),
        ("https://a/?b=c", "should be an address such as"),
        ("https://me:s3cret@hpo.example.com", "holds a name or a password"),
    ],
)
def test_addresses_that_are_none_or_tell_the_token_are_refused(url: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as error:
        checked_address(url)

    assert "s3cret" not in str(error.value)


def test_addresses_that_are_safe_are_taken() -> None:
    for url in ("https://hpo.example.com/", "http://127.0.0.1:8080", "http://[::1]:80", "http://localhost"):
        assert checked_address(url) == url.rstrip("/")
    assert checked_address("http://elsewhere", is_plain_allowed=True) == "http://elsewhere"


def test_a_server_that_is_not_there_is_told(served: Served) -> None:
    code, said = served.ask("ls", by="http://127.0.0.1:1")

    assert code == 2
    assert said.startswith("error: the server http://127.0.0.1:1 does not answer: ")


def test_python_connects_too(served: Served) -> None:
    with hpo.connect(served.url, served.token_file(Role.OPERATOR)) as studies:
        assert studies.overview()[0].study == "synthetic"
        assert studies.status("synthetic")[0].counts["complete"] == 2
        assert [one.number for one in studies.trials("synthetic", Query.of("state == 'complete'"))] == [0, 1]
        assert studies.details("synthetic", 1).record.curve[-1][1]["val_accuracy"] == 0.75
        with pytest.raises(NotFoundError, match="no trial 99"):
            studies.details("synthetic", 99)
        with pytest.raises(StoreError, match="has ended already"):
            studies.request("synthetic", 0, None)
        with pytest.raises(SpecError, match="'lrr' is not searched"):
            studies.enqueue("synthetic", [Point({"lrr": 1})])
    with pytest.raises(StoreUnreachableError), hpo.connect("http://127.0.0.1:1") as nobody:
        nobody.overview()


def _steady(output: str) -> str:
    """Without what differs from one moment to the next, and where the error was made."""
    shown = re.sub(
        r'"(seconds_since_beat|lease_left|seconds)": [-\d.]+,?|last seen \d+ s ago|for \d+ s on', "", output
    ).replace("--sort:", "sort:")
    try:
        return json.dumps(_without_nulls(json.loads(shown)), sort_keys=True)
    except ValueError:
        return shown


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
