"""What a new process proposes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from projects.proposals import propose

from hpo.store import Store


def test_the_seed_alone_decides_what_a_new_process_proposes(sqlite_url: str, tmp_path: Path) -> None:
    samplers = ["tpe", "random", "qmc", "nsga2"]
    here = Path(__file__).parents[1]
    command = [sys.executable, "-m", "projects.proposals", f"sqlite:///{tmp_path}/other.db", *samplers]
    environment = {**os.environ, "PYTHONHASHSEED": "42"}

    with Store.create(sqlite_url) as store:
        ours = {name: propose(store, name, 12, name=f"seeded {name}") for name in samplers}
        others = {name: propose(store, name, 12, name=f"reseeded {name}", seed=1) for name in samplers}
    answer = subprocess.run(command, cwd=here, env=environment, check=True, capture_output=True, text=True).stdout

    assert json.loads(answer) == ours
    for name in samplers:
        assert all(point not in others[name] for point in ours[name])
