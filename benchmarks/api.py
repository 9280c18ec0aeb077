"""How long answers of `/api/v1` take, of a study of many trials and a server that is warm.

    python benchmarks/api.py [--trials 10000] [--requests 100] [--write]

Prints the table of benchmarks/README.md, with --write into it. The store is made by inserting rows; one client asks.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import httpx2
import readme
from looking import dashboard, fill

WARM_UP = 5  # requests of each kind that are not counted
PATHS = (
    "studies",
    "studies/study-0",
    "studies/study-0/best",
    "studies/study-0/best?by=optimizer",
    "studies/study-0/trials?limit=100",
    "studies/study-0/trials?limit=1000&offset=5000",
    "studies/study-0/trials?where=x0+%3C+0.3&sort=-value",
    "studies/study-0/trials/17",
    "workers",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=100, help="of each kind")
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("api", options)
    output.line("| | median, ms | 95 of 100 below, ms | of the server's processor, ms | kB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/large.db"
        fill(store, studies=1, trials=options.trials)
        with dashboard(store, Path(folder)) as (url, server), httpx2.Client(base_url=f"{url}/api/v1/") as client:
            for path in PATHS:
                for _ in range(WARM_UP):
                    seconds_of(client, path)
                before = sum(server.cpu_times()[:2])
                taken = sorted(seconds_of(client, path) for _ in range(options.requests))
                busy = (sum(server.cpu_times()[:2]) - before) / options.requests
                size = len(client.get(path).content) / 1000
                middle, late = statistics.median(taken), taken[int(0.95 * (len(taken) - 1))]
                output.line(f"| `{path}` | {1000 * middle:.0f} | {1000 * late:.0f} | {1000 * busy:.0f} | {size:.1f} |")
    output.write()


def seconds_of(client: httpx2.Client, path: str) -> float:
    started = time.perf_counter()
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
