"""A worker's first trials in a large study, in a separate process. Started by `store_cost`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.store_cost import work_in_large_study


def _wait_for_the_others() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    url, artifacts, timed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(work_in_large_study(url, artifacts, timed, begin=_wait_for_the_others)))
