"""Workers that tell people: each event once, from whichever worker lives, and never at the cost of the search."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import psutil
from projects.launch import Hpo, descendants, finish, wait_for
from projects.receivers import hangs, status, web_server
from projects.service import invoke
from sqlalchemy import select, update
from stores import study_exists

from hpo.queue.told import Told, told_of
from hpo.store import Store
from hpo.store.tables import hpo_notifications

ALL = ["finished", "new best", "failures in a row", "worker lost", "budget nearly spent"]


def told(hpo: Hpo) -> Told:
    """Of the store's only study."""
    with Store.open(hpo.url) as store, store.read() as connection:
        return next(iter(told_of(connection).values()), Told())


def make_due(hpo: Hpo) -> None:
    """As if the lease of whoever sends had run out."""
    with Store.open(hpo.url) as store, store.write() as connection:
        connection.execute(update(hpo_notifications).values(lease_until=1.0))


def tries(hpo: Hpo) -> int:
    with Store.open(hpo.url) as store, store.read() as connection:
        return sum(connection.scalars(select(hpo_notifications.c.tries)))


def test_two_workers_tell_each_event_once(tmp_path: Path, store_url: str) -> None:
    Store.create(store_url).close()
    hpo = Hpo(tmp_path, store_url)
    with web_server() as receiver:
        target = {"webhook": receiver.url, "on": ALL}
        assert hpo.run("submit", hpo.study("told", budget={"trials": 6}, notify=[target]))[0] == 0
        workers = [hpo.start("worker", "told", "--until-idle", "--slots", 1) for _ in range(2)]
        ends = [finish(worker) for worker in workers]

    assert [code for code, _ in ends] == [0, 0], ends
    assert receiver.events.count("finished") == 1
    occasions = [(body["event"], body["best"]["trial"]) for _, body in receiver.got if body["event"] == "new_best"]
    assert len(occasions) == len(set(occasions)) >= 1
    [(_, last)] = [one for one in receiver.got if one[1]["event"] == "finished"]
    assert last["study"] == "told"
    assert last["trials"]["complete"] == 6
    assert told(hpo).waiting == told(hpo).given_up == 0
    code, output = invoke(hpo, "status", "told", "--json")
    assert code == 0
    assert json.loads(output)["notifications"]["sent"] == len(receiver.got)


def test_what_a_killed_worker_was_sending_is_sent_by_the_next_one(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    with web_server(hangs, status(204)) as receiver:
        file = hpo.study("told", budget={"trials": 1}, notify=[{"webhook": receiver.url}])
        sender = hpo.start("run", file)
        wait_for(lambda: receiver.got)
        below: list[psutil.Process] = descendants(sender)
        sender.send_signal(signal.SIGKILL)
        for process in below:  # a machine that loses its power
            process.kill()
        finish(sender)
        assert told(hpo).waiting == 1
        make_due(hpo)
        other = hpo.study("other", budget={"trials": 1})
        assert hpo.run("run", other)[0] == 0  # a worker of another study

    assert receiver.events == ["finished", "finished"]
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1  # so that the receiver knows
    assert told(hpo) == Told(sent=1)


def test_a_worker_that_dies_before_it_writes_the_end_down_leaves_that_to_the_next(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    assert hpo.run("run", hpo.study("told", budget={"trials": 1}))[0] == 0
    with web_server() as receiver, Store.open(hpo.url) as store:
        with store.write() as connection:  # as if the file had said so, and the worker had died in that moment
            row = connection.exec_driver_sql("SELECT spec FROM hpo_studies").scalar_one()
            plain: dict[str, Any] = json.loads(row)
            plain["spec"]["notify"] = [{"webhook": {"url": receiver.url}}]
            connection.exec_driver_sql("UPDATE hpo_studies SET spec = ?", (json.dumps(plain),))
        assert hpo.run("worker", "--until-idle")[0] == 0

    assert receiver.events == ["finished"]


def test_a_receiver_that_hangs_does_not_delay_the_search_and_what_is_left_is_sent_by_hand(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    with web_server(hangs, status(500)) as receiver:
        target = {"webhook": receiver.url, "on": ["new best"]}
        code, output = hpo.run("run", hpo.study("told", budget={"trials": 4}, notify=[target]))
        assert code == 0, output
    assert hpo.counts("told") == {"complete": 4}
    assert tries(hpo) > 1  # in the half minute at the end
    make_due(hpo)

    code, output = invoke(hpo, "notify", "send")

    assert code == 0
    assert "could not send 'told has a new best trial' to http://127.0.0.1:" in output
    assert "it could not be reached" in output


def test_a_lost_worker_is_told(tmp_path: Path) -> None:
    timing = {"HPO_TIMING": "heartbeat=1,lease=8,poll=0.2"}
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment=timing)
    gate = tmp_path / "gate"
    with web_server() as receiver:
        model = {"class": "projects.nets:Gated", "gate": str(gate)}
        file = hpo.study("long", model=model, budget={"trials": 1}, notify=[{"webhook": receiver.url}])
        assert hpo.run("submit", file)[0] == 0
        first = hpo.start("worker", "long", "--slots", 1)
        wait_for(lambda: any(record.epochs for record in hpo.trials("long")))
        first.kill()
        second = hpo.start("worker", "long", "--until-idle", "--slots", 1)
        wait_for(lambda: "worker_lost" in receiver.events)
        gate.touch()
        code, output = finish(second)
        finish(first)

    assert code == 0, output
    assert receiver.events == ["worker_lost", "finished"]
    assert receiver.got[0][1]["worker"].endswith(f":{first.pid}")


def test_what_a_target_needs_is_said_before_the_first_trial(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    targets = [{"command": ["no-such-program"]}, {"webhook": {"url_env": "HPO_NOTIFY_HOOK"}}]
    file = hpo.study("told", notify=targets)

    for verb in ("check", "run"):
        code, output = hpo.run(verb, file)
        assert code == 2
        assert "notify.0.command: there is no program no-such-program" in output
        assert "notify.1.webhook: the environment variable HPO_NOTIFY_HOOK is not set" in output
    with Store.open(hpo.url) as store:
        assert not study_exists(store, "told")


def test_the_targets_of_a_store_are_set_tried_and_cleared(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    Store.create(hpo.url).close()
    with web_server(status(204), status(500)) as receiver:
        file = tmp_path / "team.yaml"
        file.write_text(f"notify: [{{webhook: '{receiver.url}'}}]\n")
        place = receiver.url.removesuffix("/hpo")
        assert invoke(hpo, "notify", "show")[1].startswith("the store has no targets of its own")
        assert invoke(hpo, "notify", "set", file) == (0, f"{place}: finished, 3 failures in a row, worker lost\n")
        assert invoke(hpo, "notify", "test") == (0, f"{place}: sent\n")
        assert invoke(hpo, "notify", "test") == (1, f"{place}: it answered 500\n")
    assert receiver.events == ["test", "test"]
    assert invoke(hpo, "notify", "send") == (0, "nothing is due\n")
    assert invoke(hpo, "notify", "clear") == (0, "1 target removed\n")
    code, output = invoke(hpo, "notify", "test", "none")
    assert code == 2
    assert "the store has no study 'none'" in output
