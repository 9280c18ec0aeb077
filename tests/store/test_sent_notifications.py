"""Sending: real servers that take a message, refuse it, hang, or are not there; commands; mail."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil
import pytest
from projects.receivers import (
    Answer,
    drips,
    endless,
    hangs,
    is_signed,
    mail_server,
    own_certificate,
    status,
    web_server,
)
from projects.synthetic import Claimant, begin_next, create_study

from hpo.errors import DeliveryError
from hpo.notify import deliver as delivery
from hpo.notify.courier import Courier
from hpo.notify.deliver import deliver
from hpo.notify.message import text_of
from hpo.notify.requirements import NO_APPRISE, problems
from hpo.queue.occasions import record
from hpo.queue.told import told_of
from hpo.store import Store
from hpo.study.notify import targets_of

CONTENT = {
    "id": "msg_1",
    "event": "finished",
    "time": "2026-11-30T20:00:00+00:00",
    "study": "digits",
    "state": "done",
    "reason": None,
    "trials": {"target": 4, "complete": 3, "pruned": 0, "failed": 1, "running": 0},
    "best": {"trial": 2, "values": {"val_accuracy": 0.97512}, "params": {"lr": 0.00123456, "depth": 2}},
    "look": "hpo best digits",
}
TEXT = """digits has finished
best: val_accuracy 0.9751 by trial 2 (lr=0.001235 depth=2)
trials: 4 of 4 (3 complete, 1 failed)
time: 2026-11-30 20:00:00 UTC
look: hpo best digits"""


def send(target: dict[str, Any], folder: Path) -> None:
    [one] = targets_of([target])
    deliver(one, CONTENT, project=folder, password="s3cret")


def wait_until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.1)


def refusal(target: dict[str, Any], folder: Path) -> str:
    with pytest.raises(DeliveryError) as caught:
        send(target, folder)
    return str(caught.value)


def test_a_message_says_what_and_how_to_look() -> None:
    assert text_of(CONTENT) == TEXT


def test_a_webhook_gets_json_that_is_signed_with_a_secret_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush hush\n")
    with web_server() as receiver:
        send({"webhook": {"url": receiver.url, "secret_file": "secret"}}, tmp_path)

    [(headers, body)] = receiver.got
    assert body == CONTENT
    assert headers["webhook-id"] == "msg_1"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 600
    assert is_signed(headers, body, "hush hush")
    assert not is_signed(headers, {**body, "study": "other"}, "hush hush")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(500), "it answered 500"),
        (status(302, Location="file:///etc/passwd"), "it answered 302, which leads to file://"),
        (status(307, Location="http://127.0.0.1:1/x"), "leads to http://127.0.0.1: write the address itself"),
        (hangs, "it did not answer within 10 s"),
    ],
)
def test_what_a_webhook_answers_is_told(answer: Answer, words: str, tmp_path: Path) -> None:
    with web_server(answer) as receiver:
        said = refusal({"webhook": receiver.url}, tmp_path)

    assert words in said
    assert len(receiver.got) == 1  # nothing was followed


def test_a_long_answer_is_not_read_and_one_that_never_ends_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server(endless) as receiver:
        send({"webhook": receiver.url}, tmp_path)
    assert len(receiver.got) == 1

    with web_server(drips) as receiver:
        monkeypatch.setattr(delivery, "SECONDS", 8.0)
        assert "did not end within 8 s, and was killed" in refusal({"webhook": receiver.url}, tmp_path)


def test_a_webhook_that_is_not_there_and_a_secret_address_of_which_nothing_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/services/T0123456/verysecretpath")
    said = refusal({"webhook": {"url_env": "HOOK"}}, tmp_path)

    assert "could not be reached" in said
    assert "verysecretpath" not in said
    assert "T0123456" not in said
    monkeypatch.delenv("HOOK")
    assert refusal({"webhook": {"url_env": "HOOK"}}, tmp_path) == "the environment variable HOOK is not set"
    missing = refusal({"webhook": {"url_file": "no/file"}}, tmp_path)
    assert missing == f"the file {tmp_path}/no/file cannot be read: No such file or directory"
    monkeypatch.setenv("HOOK", "file:///etc/passwd")
    assert "does not begin with https:// or http://" in refusal({"webhook": {"url_env": "HOOK"}}, tmp_path)


@pytest.mark.needs("openssl")
def test_a_certificate_that_nobody_signed_is_refused_unless_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = own_certificate(tmp_path)
    with web_server(certificate=(certificate, key)) as receiver:
        said = refusal({"webhook": receiver.url}, tmp_path)
        assert receiver.got == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        send({"webhook": receiver.url}, tmp_path)

    assert "certificate verify failed" in said
    assert len(receiver.got) == 1


# ---- other kinds


def program(folder: Path, *lines: str) -> str:
    """A program in Python; its path."""
    file = folder / "program"
    file.write_text("\n".join([f"#!{sys.executable}", "import json, os, sys, time", *lines]))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def test_a_command_gets_json_and_few_variables_and_no_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_STORE", "postgresql://ada:s3cret@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    tell = program(
        tmp_path,
        "found = [sys.argv[1:], json.load(sys.stdin), sorted(os.environ)]",
        "json.dump(found, open('out', 'w'))",
    )
    send({"command": [tell, "$(touch x); a b"]}, tmp_path)

    arguments, content, variables = json.loads((tmp_path / "out").read_text())
    assert arguments == ["$(touch x); a b"]
    assert content == CONTENT
    assert "PATH" in variables
    assert not {"HPO_STORE", "AWS_SECRET_ACCESS_KEY"} & {*variables}


def test_commands_that_fail_are_missing_or_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = program(tmp_path, "sys.stderr.write('x' * 10_000_000 + '\\x1b[2Jno host')", "sys.exit(3)")
    said = refusal({"command": [fails]}, tmp_path)
    assert said.startswith("it ended with code 3: xxx")
    assert len(said) < 400
    assert "\x1b" not in said
    assert refusal({"command": ["no-such-program"]}, tmp_path) == "there is no program no-such-program"
    (tmp_path / "text").write_text("no program")
    assert refusal({"command": ["./text"]}, tmp_path) == "./text is no program"

    monkeypatch.setattr(delivery, "SECONDS", 3.0)
    child = "os.fork() or open('pid', 'w').write(str(os.getpid()))"
    endless_one = program(tmp_path, child, "while True: sys.stdout.write('y' * 65536)")
    assert "did not end within 3 s, and was killed" in refusal({"command": [endless_one]}, tmp_path)
    left = int((tmp_path / "pid").read_text() or 0)
    assert left
    wait_until(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE)


def test_mail_arrives_as_text_and_no_password_goes_over_an_open_line(tmp_path: Path) -> None:
    mail = {"to": ["ada@example.org", "bob@example.org"], "from": "hpo@example.org", "host": "127.0.0.1"}
    with mail_server() as receiver:
        port = int(receiver.url)
        send({"email": {**mail, "port": port, "security": "none"}}, tmp_path)
        said = refusal({"email": {**mail, "port": port}}, tmp_path)

    [(envelope, text)] = receiver.got
    assert envelope == {"MAIL FROM": "hpo@example.org", "RCPT TO": "ada@example.orgbob@example.org"}
    assert "Subject: digits has finished" in text
    assert "Message-ID: <msg_1@hpo-service>" in text
    assert TEXT in text
    assert "STARTTLS extension not supported" in said


def test_apprise_sends_to_what_its_url_names_follows_nothing_and_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**CONTENT, "reason": "@everyone <!channel>"}
    with web_server(status(200), status(302, Location="http://127.0.0.1:9/")) as receiver:
        address = receiver.url.removeprefix("http://")
        monkeypatch.setenv("SERVICE", f"json://user:verysecret@{address}")
        [target] = targets_of([{"apprise": {"url_env": "SERVICE"}}])
        deliver(target, other, project=tmp_path, password=None)
        said = refusal({"apprise": {"url_env": "SERVICE"}}, tmp_path)
    monkeypatch.setenv("SERVICE", "nothing://verysecret")
    unknown = refusal({"apprise": {"url_env": "SERVICE"}}, tmp_path)

    [(_, body), _] = receiver.got
    assert body["title"] == "digits has finished"
    assert "by trial 2 (lr=0.001235 depth=2)" in body["message"]
    assert "@everyone" not in body["message"]
    assert "302" in said
    assert "verysecret" not in said + unknown
    assert unknown == "apprise does not know a service of this URL"


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise imports it
def test_what_this_machine_lacks_is_told_all_at_once_and_no_secret_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SERVICE", "nothing://verysecret")
    targets = targets_of([{"apprise": {"url_env": "SERVICE"}}, {"command": ["no-such-program"]}])
    found = list(problems(targets, tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # as where apprise was not installed
    without = list(problems(targets, tmp_path))

    known = "apprise knows no service of the URL that SERVICE holds, such as slack://..."
    command = ((1, "command"), "there is no program no-such-program")
    assert found == [((0, "apprise"), known), command]
    assert without == [((0, "apprise"), NO_APPRISE), command]
    assert "verysecret" not in caplog.text


# ---- a courier


def test_a_courier_tries_again_and_gives_each_target_the_message_once(store: Store, tmp_path: Path) -> None:
    with web_server() as well, web_server(status(503), status(200)) as busy:
        study = create_study(store, budget={"trials": 1}, notify=[{"webhook": well.url}, {"webhook": busy.url}])
        worker = Claimant(store, study)
        worker.finish(begin_next(worker, 0.5), 0.5)
        record(store, study.study_id, created=study.created)
        courier = Courier(store.url, tmp_path)
        courier.wake()
        courier.finish(120.0)

    assert well.events == ["finished"]
    assert busy.events == ["finished", "finished"]
    assert len({headers["webhook-id"] for headers, _ in [*well.got, *busy.got]}) == 1
    with store.read() as connection:
        assert str(told_of(connection)[study.study_id]) == "1 sent"


def test_two_couriers_send_a_message_once(store: Store, tmp_path: Path) -> None:
    with web_server() as receiver:
        study = create_study(
            store, budget={"trials": 1}, notify=[{"webhook": receiver.url, "on": ["finished", "new best"]}]
        )
        worker = Claimant(store, study)
        worker.finish(begin_next(worker, 0.5), 0.5)
        record(store, study.study_id, created=study.created)
        couriers = [Courier(store.url, tmp_path) for _ in range(2)]
        began = time.monotonic()
        for courier in couriers:
            courier.wake()
        for courier in couriers:
            courier.finish(120.0)

    assert sorted(receiver.events) == ["finished", "new_best"]
    assert time.monotonic() - began < store.timing.lease  # none waits for the end of a lease that another has


def test_what_was_sent_while_the_store_was_locked_is_written_down_afterwards(
    sqlite_store: Store, tmp_path: Path
) -> None:
    store = sqlite_store

    def lock_and_take(request: BaseHTTPRequestHandler) -> None:
        other = sqlite3.connect(store.url.path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(store.timing.answer + 3, other.close).start()
        status(200)(request)

    with web_server(lock_and_take, status(200)) as receiver:
        study = create_study(store, budget={"trials": 1}, notify=[{"webhook": receiver.url}])
        worker = Claimant(store, study)
        worker.finish(begin_next(worker, 0.5), 0.5)
        record(store, study.study_id, created=study.created)
        Courier(store.url, tmp_path).finish(120.0)

    assert receiver.events == ["finished"]
    with store.read() as connection:
        assert str(told_of(connection)[study.study_id]) == "1 sent"


def test_a_courier_at_its_end_does_not_wait_for_a_receiver_that_hangs(store: Store, tmp_path: Path) -> None:
    with web_server(hangs) as receiver:
        study = create_study(store, budget={"trials": 1}, notify=[{"webhook": receiver.url}])
        worker = Claimant(store, study)
        worker.finish(begin_next(worker, 0.5), 0.5)
        record(store, study.study_id, created=study.created)
        started = time.monotonic()
        Courier(store.url, tmp_path).finish(1.0)
        took = time.monotonic() - started

    assert took < 9.0  # less than the receiver has to answer
    with store.read() as connection:
        assert told_of(connection)[study.study_id].waiting == 1  # another worker sends it when the lease has run out
