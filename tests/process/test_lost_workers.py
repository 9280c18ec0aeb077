"""A worker that is gone: its lease runs out, and those that are there go on with its trial."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from projects.launch import Hpo, finish, wait_for

from hpo.queue.leases import LOST


def test_a_killed_worker_is_noticed_while_all_others_are_busy_and_a_stopped_one_drops_its_result(
    tmp_path: Path,
) -> None:
    """Optuna looks for stale trials only when a worker asks for its next one, and a worker that comes back dies."""
    timing = {"HPO_TIMING": "heartbeat=1,lease=8,poll=0.2"}
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment=timing)
    gate = tmp_path / "gate"
    file = hpo.study("long", model={"class": "projects.nets:Gated", "gate": str(gate)}, epochs=3, budget={"trials": 3})
    assert hpo.run("submit", file)[0] == 0
    killed, stopped, busy = (hpo.start("worker", "long", "--until-idle", "--slots", 1) for _ in range(3))
    wait_for(lambda: sum(record.epochs > 0 for record in hpo.trials("long")) == 3)
    owner = {record.worker: record.number for record in hpo.trials("long")}
    number_of = {process: next(n for worker, n in owner.items() if str(worker).endswith(f":{process.pid}"))
                 for process in (killed, stopped, busy)}  # fmt: skip

    os.kill(stopped.pid, signal.SIGSTOP)
    killed.kill()
    lost = (number_of[killed], number_of[stopped])
    wait_for(lambda: all(LOST in hpo.trials("long")[number].causes for number in lost))
    busy_record = hpo.trials("long")[number_of[busy]]
    gate.touch()
    os.kill(stopped.pid, signal.SIGCONT)
    ends = [finish(process) for process in (stopped, busy)]
    finish(killed)

    # It was in its trial when it noticed, and nobody else was there to notice. How soon is benchmarks' business.
    assert (busy_record.state, busy_record.attempts) == ("running", 1)
    assert [code for code, _ in ends] == [0, 0], ends
    assert "taken over by another worker or deleted; this worker's result is dropped" in ends[0][1]
    assert hpo.counts("long") == {"complete": 3}
    assert json.loads(hpo.run("status", "long", "--json")[1])["budget"]["trials"] == {"target": 3.0, "spent": 3.0}
    for record in hpo.trials("long"):
        assert [epoch for epoch, _ in record.curve] == [1, 2, 3]
