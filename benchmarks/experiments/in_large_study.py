"""A worker's first trials in a store that is full, in a process of its own: what `store_cost` starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.store_cost import work_in_large_study

if __name__ == "__main__":
    print(json.dumps(work_in_large_study(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
