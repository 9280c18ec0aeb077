"""Workers from the command line: `hpo run` and `hpo worker`, real training, real signals, and the store afterwards."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from projects.launch import PROJECT, Hpo, descendants, finish, left_of, trial_processes, wait_for, watch
from projects.service import invoke, submit
from stores import hand_back, write

from hpo.errors import LoadError, SpecError
from hpo.ipc.fork_server import ForkServer
from hpo.ipc.messages import Epoch
from hpo.queue.claim import claim_trial
from hpo.queue.leases import register_worker
from hpo.queue.report import begin_trial
from hpo.queue.studies import load_study
from hpo.results.trial import TrialRecord
from hpo.service.preflight import try_one_batch
from hpo.service.prepare import prepare
from hpo.store import Store
from hpo.study.devices import Slot
from hpo.study.study_file import read_study
from hpo.worker.outbox import Outbox
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_run import StudyRun

if TYPE_CHECKING:
    from conftest import PostgresServer

BRIEF = {"class": "projects.nets:Line", "seconds": 0.3}  # an epoch
SAYS = {"says": ["garbage", "no message", "nothing", "odd epoch", "endless line"], "lr": 0.01}
LR = {"lr": {"low": 1e-3, "high": 1e-1, "log": True}}


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


# ---- one worker, several studies, and whatever can go wrong in a trial


@dataclass(frozen=True)
class Outcome:
    hpo: Hpo
    code: int
    output: str
    left: list[psutil.Process]

    def mishap(self, does: str) -> TrialRecord:
        return next(record for record in self.hpo.trials("mishaps") if record.params["does"] == does)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, server: ForkServer) -> Outcome:
    folder = tmp_path_factory.mktemp("worker")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    mishaps = hpo.study(
        "mishaps",
        model="projects.nets:Sometimes",
        sampler="grid",
        budget={"trials": 7},
        keep={"checkpoints": 1},
        diverged="fail",
    )
    submit(hpo, mishaps, server)
    babbling = hpo.study(
        "babbling", model="projects.mishaps:Babbling", sampler="grid", space=SAYS, budget={"trials": 5}
    )
    submit(hpo, babbling, server)
    submit(hpo, hpo.study("threaded", model="projects.threaded:Threaded", budget={"trials": 2}), server)
    for name in ("twin-a", "twin-b"):
        submit(hpo, hpo.study(name, budget={"trials": 4}, seed=5), server)
    process = hpo.start("worker", "--until-idle", "--slots", 2)
    seen = watch(process)
    code, output = finish(process)
    return Outcome(hpo, code, output, left_of(seen))


def test_a_worker_until_idle_trains_all_open_studies_and_ends(outcome: Outcome) -> None:
    assert outcome.code == 0, outcome.output
    assert outcome.hpo.counts("mishaps") == {"complete": 2, "failed": 5}
    assert outcome.hpo.counts("twin-a") == outcome.hpo.counts("twin-b") == {"complete": 4}
    assert outcome.left == []


@pytest.mark.parametrize(
    ("does", "cause", "message"),
    [
        ("raise", "error: RuntimeError", "in on_train_epoch_start"),
        ("raise", "error: RuntimeError", "RuntimeError: the second epoch is too much"),
        ("nan", "diverged", "val_loss was not a finite number after epoch 2"),
        ("killed", "killed: SIGKILL", "exited without reporting"),
        ("exit", "exited: code 3", "exited without reporting"),
        ("memory", "out of memory", "MemoryError"),
    ],
)
def test_a_failed_trial_has_its_cause_in_the_store(outcome: Outcome, does: str, cause: str, message: str) -> None:
    record = outcome.mishap(does)

    assert (record.state, record.cause, record.value, record.checkpoint) == ("failed", cause, None, None)
    assert message in (record.error or "")
    assert record.epochs == 1
    assert record.seconds is not None


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("garbage", "the trial process sent a line that is not a message: b'\\x00\\xff what a mess'"),
        ("no message", "the trial process sent a line that is not a message: b'[1, 2, 3]'"),
        ("odd epoch", "the trial process sent a message 'epoch' with an invalid 'epoch': 'two'"),
        ("endless line", "the trial process sent a line "),  # its own thread may have written into the middle
    ],
)
def test_a_trial_that_writes_into_its_connection_fails_alone(outcome: Outcome, says: str, message: str) -> None:
    record = next(record for record in outcome.hpo.trials("babbling") if record.params["says"] == says)

    assert (record.state, record.cause, record.attempts) == ("failed", "error: an unreadable report", 1)
    assert (record.error or "").startswith(message)
    assert "writes into its connection to the worker" in (record.error or "")
    assert record.epochs == 1
    assert outcome.hpo.counts("babbling") == {"failed": 4, "complete": 1}


def test_the_child_processes_of_a_killed_trial_end_with_it(outcome: Outcome) -> None:
    number = outcome.mishap("killed").number
    [log] = outcome.hpo.folder.glob(f"art/mishaps-*/{number:05d}/log.txt")
    helper = int(log.read_text().split("helper ")[1].split()[0])

    assert not psutil.pid_exists(helper) or psutil.Process(helper).status() == psutil.STATUS_ZOMBIE


def test_a_trial_after_the_failures_is_as_good_as_the_one_before(outcome: Outcome) -> None:
    before, after = outcome.mishap("learn"), outcome.mishap("learn on")

    assert (before.state, after.state, before.cause, after.cause) == ("complete", "complete", None, None)
    assert [epoch for epoch, _ in after.curve] == [1, 2]
    assert after.value == min(metrics["val_loss"] for _, metrics in after.curve)


def test_only_the_best_checkpoints_are_kept(outcome: Outcome) -> None:
    kept = [record for record in outcome.hpo.trials("mishaps") if record.checkpoint is not None]
    files = list((outcome.hpo.folder / "art").glob("mishaps-*/*/best.ckpt"))

    assert len(kept) == 1
    assert [str(file) for file in files] == [kept[0].checkpoint]
    complete = [record.value for record in outcome.hpo.trials("mishaps") if record.value is not None]
    assert kept[0].value == min(complete)


def test_a_module_that_starts_a_thread_at_import_trains_all_the_same(outcome: Outcome) -> None:
    assert outcome.hpo.counts("threaded") == {"complete": 2}, outcome.output


def test_the_same_study_twice_gives_the_same_parameters_and_values_bit_by_bit(outcome: Outcome) -> None:
    first, second = ([(r.params, r.curve) for r in outcome.hpo.trials(name)] for name in ("twin-a", "twin-b"))

    assert first == second
    assert len({record.value for record in outcome.hpo.trials("twin-a")}) == 4


def test_a_module_that_raises_at_import_is_refused_with_the_place(hpo: Hpo, server: ForkServer) -> None:
    file = hpo.study("broken", model="projects.broken:Net")

    with pytest.raises(LoadError, match=r"importing projects.broken failed: ZeroDivisionError: at import \(.*line 5"):
        prepare(*read_study(file), server=server, project=PROJECT)


def test_a_package_that_fails_where_it_exports_lazily_is_refused_with_the_place(hpo: Hpo, server: ForkServer) -> None:
    file = hpo.study("lazily", model="projects.lazily:Net")

    with pytest.raises(LoadError, match=r"importing projects.lazily failed: No module named 'not_there'.*line 10"):
        prepare(*read_study(file), server=server, project=PROJECT)


def test_a_model_that_logs_nothing_is_refused_before_the_first_trial(hpo: Hpo, server: ForkServer) -> None:
    study = read_study(hpo.study("silent", model="projects.nets:Silent"))
    message = pytest.raises(SpecError, match="the model never logs 'val_loss'")

    with prepare(*study, server=server, project=PROJECT) as prepared, message:
        try_one_batch(prepared, slot=Slot(0, (), 1, 1))


def test_an_objective_that_is_no_number_is_warned_of_before_the_first_trial(
    hpo: Hpo, server: ForkServer, caplog: pytest.LogCaptureFixture
) -> None:
    spec, source = read_study(hpo.study("lost", model="projects.nets:Lost"))

    with caplog.at_level(logging.WARNING), prepare(spec, source, server=server, project=PROJECT) as prepared:
        try_one_batch(prepared, slot=Slot(0, (), 1, 1))

    assert "val_loss was not a finite number after one batch with the defaults" in caplog.messages


def test_five_failures_of_one_cause_stop_the_study_with_a_reason(hpo: Hpo) -> None:
    file = hpo.study("doomed", model="projects.nets:Sometimes", space={"does": "raise", **LR}, budget={"trials": 40})

    code, output = hpo.run("run", file, "--slots", 2)

    assert code == 1
    assert "5 trials in a row failed with the same cause: error: RuntimeError" in output
    assert "the second epoch is too much" in output.partition("error: study doomed was stopped")[2]
    assert 5 <= hpo.counts("doomed")["failed"] <= 6  # the other slot's trial may end as well


@pytest.mark.parametrize("diverged", ["worst", "ignore"])
def test_a_study_whose_trials_all_diverge_continues_with_a_warning(hpo: Hpo, server: ForkServer, diverged: str) -> None:
    """Its code works; other parameters may as well."""
    objective = {"metric": "val_loss", "direction": "minimize", "diverged": diverged}
    space = {"does": "nan", **LR}
    keys = {"space": space, "objective": objective, "budget": {"trials": 8}, "diverged": "fail"}
    file = hpo.study("adrift", model="projects.nets:Sometimes", **keys)
    submit(hpo, file, server)

    code, output = finish(hpo.start("worker", "--until-idle", "--slots", 2))

    assert code == 0, output
    assert hpo.counts("adrift") == {"failed": 8}
    assert {record.cause for record in hpo.trials("adrift")} == {"diverged"}
    warning = "study adrift: no trial has completed, and the last 5 diverged: val_loss was not a finite number"
    assert output.count(warning) == 1


def test_a_worker_drops_studies_that_are_over_and_adopts_extended_ones(hpo: Hpo, server: ForkServer) -> None:
    """With their processes: a service would have hundreds of them after some weeks."""

    def rests() -> bool:
        """Only the server is left that every study is served by."""
        return len(descendants(process)) == 1

    submit(hpo, hpo.study("first", budget={"trials": 1}), server)
    submit(hpo, hpo.study("aimed", budget={"trials": 9, "target": 1e9}), server)
    process = hpo.start("worker", "--slots", 1)
    wait_for(lambda: (hpo.counts("first"), hpo.counts("aimed")) == ({"complete": 1}, {"complete": 1}))
    wait_for(rests)

    invoke(hpo, "set", "first", "trials=+1")
    wait_for(lambda: hpo.counts("first") == {"complete": 2})
    wait_for(rests)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)

    assert code == 0, output
    assert output.count("study first: working on it") == 2
    assert output.count("study aimed: working on it") == 1
    assert hpo.counts("aimed") == {"complete": 1}


# ---- what is decided after an epoch


class Judge:
    """A worker's view of a study whose epochs are reported without training."""

    def __init__(self, hpo: Hpo, store: Store, name: str, server: ForkServer) -> None:
        self.worker_id = register_worker(store, host="here", pid=1, slots=1)
        self.outbox = Outbox(store)
        self.run = StudyRun(
            store,
            load_study(store, name),
            outbox=self.outbox,
            server=server,
            project=PROJECT,
            artifacts=hpo.folder,
            worker_id=self.worker_id,
        )
        self._store = store
        self._folder = hpo.folder

    def claim(self, *, promotable: Sequence[int] = ()) -> RunningTrial:
        slot = Slot(0, (), 1, 1)
        study_id, worker_id = self.run.study.study_id, self.worker_id
        claim = claim_trial(self._store, study_id, worker_id=worker_id, slot=0, device="cpu", promotable=promotable)
        assert claim is not None
        self.run._history.sync()
        self.run._history.adopt(claim.number)
        return RunningTrial(claim, slot, epochs=9, config={}, directory=self._folder, claimed_at=0.0)

    def end(self, trial: RunningTrial) -> None:
        """Its process has ended."""
        self.run.end(trial)
        assert self.outbox.flush()

    def report(self, trial: RunningTrial, epoch: int, value: float) -> bool:
        """Whether the trial is to stop."""
        answer = self.run.on_epoch(trial, Epoch(epoch, value, {"val_loss": value}, 0.1 * epoch))
        assert self.outbox.flush()
        return answer.stop


def test_a_pruner_sees_the_latest_reports_of_another_worker(hpo: Hpo, server: ForkServer) -> None:
    submit(hpo, hpo.study("judged", pruner={"name": "asha", "mode": "stop"}, epochs=9), server)
    with Store.open(hpo.url) as store:
        here, there = Judge(hpo, store, "judged", server), Judge(hpo, store, "judged", server)
        late, *early = here.claim(), there.claim(), there.claim(), there.claim()
        for trial in early:
            assert there.report(trial, 3, 0.1) is False

        here.run.refresh()

        assert here.report(late, 3, 0.9) is True
        assert late.state == "PRUNED"


def test_a_paused_trial_is_promoted_and_ends_without_another_poll(hpo: Hpo, server: ForkServer) -> None:
    halving = {"name": "asha", "eta": 3, "min_epochs": 3}
    submit(hpo, hpo.study("last", pruner=halving, epochs=9, budget={"trials": 2}), server)
    with Store.open(hpo.url) as store:
        judge = Judge(hpo, store, "last", server)
        judge.run.refresh()
        better, worse = judge.claim(), judge.claim()
        for trial in (better, worse):
            write(store, begin_trial, trial.claim, params={}, config={"params": {}})
        slot = Slot(0, (), 1, 1)
        assert judge.report(better, 3, 0.1) is True
        judge.end(better)
        assert judge.run.start_next(slot) is None
        assert not judge.run.may_claim  # the other one still trains

        assert judge.report(worse, 3, 0.9) is True
        judge.end(worse)

        assert judge.run.may_claim
        again = judge.claim(promotable=[better.number])
        assert (again.number, again.claim.attempt) == (better.number, 2)
        assert [judge.report(again, epoch, 0.1) for epoch in (6, 9)] == [False, True]
        judge.end(again)
        assert not judge.run.is_over
        assert judge.run.start_next(slot) is None
        assert judge.run.is_over
    assert hpo.counts("last") == {"complete": 1, "pruned": 1}


def test_an_attempt_is_not_stopped_early_for_the_curve_of_an_earlier_one(hpo: Hpo, server: ForkServer) -> None:
    submit(hpo, hpo.study("patient", epochs=9, early_stopping={"patience": 3}), server)
    with Store.open(hpo.url) as store:
        judge = Judge(hpo, store, "patient", server)
        trial = judge.claim()
        write(store, begin_trial, trial.claim, params={}, config={"params": {}})
        assert [judge.report(trial, epoch, value) for epoch, value in enumerate((0.5, 0.4, 0.45, 0.45), 1)] == [
            False
        ] * 4
        hand_back(store, trial.claim, seconds=1.0)

        again = judge.claim()

        assert (again.number, again.claim.attempt) == (trial.number, 2)
        assert [judge.report(again, epoch, value) for epoch, value in enumerate((0.35, 0.4, 0.4), 1)] == [False] * 3
        assert judge.report(again, 4, 0.4) is True


# ---- one command, interrupted in every way, and started again


def test_the_same_command_continues_to_the_same_total_after_every_kind_of_end(hpo: Hpo) -> None:
    file = hpo.study("interrupted", model=BRIEF, epochs=3, budget={"trials": 5})
    command = ("run", file, "--slots", 2)

    # Ctrl-C: the running trials are handed back after their epoch.
    process = hpo.start(*command)
    wait_for(lambda: len(trial_processes(process)) == 2)
    process.send_signal(signal.SIGINT)
    code, output = finish(process)
    assert code == 130
    assert "the same command continues" in output
    assert hpo.counts("interrupted") == {"idle": 2}

    # The worker is killed: its processes end by themselves.
    process = hpo.start(*command)
    wait_for(lambda: len(trial_processes(process)) == 2)
    below = descendants(process)
    process.kill()
    process.wait()
    assert left_of(below) == []
    finish(process)
    assert [record.attempts for record in hpo.trials("interrupted")][:2] == [2, 2]

    # A trial process is killed: this trial is tried again.
    hpo.expire_leases()
    process = hpo.start(*command)
    wait_for(lambda: len(trial_processes(process)) == 2)
    trial_processes(process)[0].kill()
    code, output = finish(process)
    assert code == 0, output
    assert hpo.counts("interrupted") == {"complete": 5}
    records = hpo.trials("interrupted")
    assert [record.number for record in records] == [0, 1, 2, 3, 4]
    assert sorted(record.attempts for record in records) == [1, 1, 1, 3, 4]
    assert [record.causes.count("killed: SIGKILL") for record in records if record.attempts == 4] == [1]
    assert all(record.cause is None for record in records)

    # More trials: the study is extended.
    code, output = hpo.run(*command, "--trials", 7)
    assert code == 0, output
    assert "extended from 5 trials to 7 trials" in output
    assert hpo.counts("interrupted") == {"complete": 7}


def test_ctrl_c_twice_ends_at_once_and_a_drain_costs_no_computing(tmp_path: Path) -> None:
    """The preflight trains a short epoch, because what lasts is searched, and 0 is its default."""
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment={"HPO_TIMING": "drain=900"})
    space = {"seconds": [0.0, 900.0], "lr": 0.01}
    file = hpo.study("slow", space=space, sampler="grid", epochs=3, budget={"trials": 2})
    process = hpo.start("run", file, "--slots", 2)
    wait_for(lambda: len(hpo.trials("slow")) == 2 and hpo.counts("slow").get("complete") == 1)
    worker = psutil.Process(process.pid)
    below = descendants(process)

    process.send_signal(signal.SIGINT)
    before = sum(worker.cpu_times()[:2])
    time.sleep(1.5)
    spent = sum(worker.cpu_times()[:2]) - before
    still_running = process.poll() is None
    process.send_signal(signal.SIGINT)
    code, output = finish(process)  # which waits for less than the drain, and than an epoch

    assert still_running
    assert spent < 0.5
    assert code == 130, output
    assert left_of(below) == []
    assert hpo.counts("slow") == {"complete": 1, "idle": 1}


# ---- two workers, one study


def test_two_workers_meet_the_target_also_when_one_is_asked_to_end(hpo: Hpo, server: ForkServer) -> None:
    submit(hpo, hpo.study("shared", model=BRIEF, budget={"trials": 12}), server)
    workers = [hpo.start("worker", "shared", "--until-idle", "--slots", 2) for _ in range(2)]
    wait_for(lambda: len({record.worker for record in hpo.trials("shared")}) == 2)

    workers[0].send_signal(signal.SIGTERM)
    ends = [finish(worker) for worker in workers]

    assert [code for code, _ in ends] == [75, 0], ends
    assert "SIGTERM: handing back" in ends[0][1]
    assert hpo.counts("shared") == {"complete": 12}
    assert [record.number for record in hpo.trials("shared")] == list(range(12))


def test_two_shells_on_postgresql_meet_the_target_and_no_process_shows_the_password(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    password = "s3cret{word"
    database = postgres.create_database()
    given = Hpo(tmp_path, f"postgresql://guarded:s3cret%7Bword@/{database}?host={postgres.socket}")
    inherited = Hpo(tmp_path, postgres.url(database), environment={"HPO_STORE": given.url, "PGPASSWORD": password})
    file = given.study("shared", model=BRIEF, budget={"trials": 12})

    processes = [hpo.start("run", file, "--slots", 2) for hpo in (given, inherited)]
    wait_for(lambda: all(len(trial_processes(process)) == 2 for process in processes))
    shells = [psutil.Process(process.pid) for process in processes]
    below = [child for process in processes for child in descendants(process)]
    arguments = [raw(p.pid, "cmdline") for p in [*shells, *below]]
    environments = [raw(p.pid, "environ") for p in below]
    ends = [finish(process) for process in processes]

    for text in (*arguments, *environments):
        assert "s3cret" not in text
    assert sum(bool(text) for text in environments) >= 4  # the servers at least were there to be read
    assert all("PGPASSWORD=" not in text and "HPO_STORE=" not in text for text in environments)
    assert [code for code, _ in ends] == [0, 0], ends
    assert all("s3cret" not in output for _, output in ends)
    records = inherited.trials("shared")
    assert [(record.number, record.state) for record in records] == [(number, "complete") for number in range(12)]
    assert len({record.worker for record in records}) == 2
    postgres.drop_database(database)


def test_an_argument_shows_no_password_however_the_url_is_written() -> None:
    hides = "import sys; from hpo.__main__ import _hide_passwords as hide; hide(); print('', flush=True); input()"
    urls = [
        "postgresql://u:s3cret@host/db",
        "--store=postgresql://u:s3cret@host/db",
        "postgresql://u:s3c/s3cret@host:5432/db",
        "postgresql:///db?user=u&password=s3cret&host=/tmp",
    ]
    command = [sys.executable, "-c", hides, "run", "x.yaml", *urls]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        shown = raw(process.pid, "cmdline")
        process.communicate("\n")

    assert "s3cret" not in shown
    assert "x.yaml postgresql://u:***@host/db --store=postgresql://u:***@host/db" in shown
    assert "&host=/tmp" in shown


def raw(pid: int, name: str) -> str:
    """What others can read of a process; nothing when it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
