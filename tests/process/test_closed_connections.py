"""Trial processes that close their connection to the worker, and do not exit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
from projects.launch import Hpo, wait_for

from hpo.results.trial import TrialRecord

CLOSED = "closed its connection to the worker"


@pytest.fixture
def here(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def run(here: Hpo, *then: str, **keys: Any) -> tuple[int, str, dict[str, TrialRecord]]:
    """Exit code, output, and the trials by what they do."""
    marks = here.folder / "marks"
    marks.mkdir()
    keys |= {"model": {"class": "projects.mishaps:Closing", "folder": str(marks)}, "space": {"then": list(then)}}
    file = here.study("closes", sampler="grid", budget={"trials": len(then)}, epochs=3, **keys)
    code, output = here.run("run", file)
    return code, output, {str(record.params["then"]): record for record in here.trials("closes")}


def test_a_trial_that_closes_its_connection_has_crashed_and_is_retried(here: Hpo) -> None:
    code, output, found = run(here, "trains on", "waits", retries={"crash": 1})

    assert code == 0, output
    for then in ("trains on", "waits"):
        assert (found[then].state, found[then].causes) == ("complete", (CLOSED, "complete"))


def test_without_retries_it_fails_and_says_what_closes_it(here: Hpo) -> None:
    code, output, found = run(here, "trains on", retries={"crash": 0})

    [record] = found.values()
    assert code == 1
    assert (record.state, record.cause) == ("failed", CLOSED)
    assert "os.closerange" in (record.error or "")
    assert "Traceback" not in output


def test_a_copy_of_a_trial_process_that_trains_on_as_a_daemon_ends(here: Hpo) -> None:
    _, output, found = run(here, "forks", retries={"crash": 1})

    assert (found["forks"].state, found["forks"].causes) == ("complete", ("exited: code 0", "complete")), output
    daemon = int((here.folder / "marks" / "forks").read_text(encoding="ascii"))
    wait_for(lambda: not psutil.pid_exists(daemon) or psutil.Process(daemon).status() == psutil.STATUS_ZOMBIE)
