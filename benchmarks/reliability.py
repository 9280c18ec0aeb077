"""The behaviour of a search under failures and at scale.

    python benchmarks/reliability.py kills [--rounds 10] [--stores sqlite postgresql] [--seed 0]
    python benchmarks/reliability.py store | reclaim | outage | slots | fleet | stalls | crashes | files
    python benchmarks/reliability.py signals | tiny | finalize | ray | slurm | moves | devices | ranks

Real workers, real databases and real signals; it needs the development extras, which include a PostgreSQL. Prints the
tables of benchmarks/README.md, with --write into it. A row that breaks its promise is marked, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys

import readme
from experiments import (
    crashes,
    devices,
    files,
    finalize,
    fleet,
    kills,
    moves,
    outage,
    ranks,
    ray_nodes,
    reclaim,
    signals,
    slots,
    slurm_jobs,
    stalls,
    store_cost,
    tiny,
)

EXPERIMENTS = {
    "kills": kills,
    "reclaim": reclaim,
    "outage": outage,
    "slots": slots,
    "store": store_cost,
    "fleet": fleet,
    "stalls": stalls,
    "crashes": crashes,
    "files": files,
    "signals": signals,
    "tiny": tiny,
    "finalize": finalize,
    "ray": ray_nodes,
    "slurm": slurm_jobs,
    "moves": moves,
    "devices": devices,
    "ranks": ranks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_subparsers(dest="experiment", required=True)
    for name, module in EXPERIMENTS.items():
        description = (module.__doc__ or "").strip()
        one = chosen.add_parser(
            name,
            help=description.splitlines()[0],
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(one)
        readme.add_options(one)
    options = parser.parse_args()
    output = readme.Output(options.experiment, options)
    table = EXPERIMENTS[options.experiment].measure(options)
    output.line(str(table))
    output.write()
    sys.exit(0 if table.is_kept else 1)


if __name__ == "__main__":
    main()
