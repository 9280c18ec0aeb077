"""How long a study takes into one file, and from it into the other database: an archive and `hpo import`.

    python benchmarks/archive.py [--trials 1000] [--write]

Prints the table of benchmarks/README.md, with --write into it. The study is made by inserting rows.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import looking
import readme
from experiments.databases import new_store
from sqlalchemy import select, update

EPOCHS = 12
KEPT, CHECKPOINT_BYTES = 5, 1 << 20
STUDY = "study-0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("archive", options)
    written = ("export", STUDY, "--format", "archive", "-o")
    output.line(f"| {options.trials:,} trials | s | MiB at most | MiB of the file |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, new_store("postgresql", Path(name)) as postgresql:
        folder = Path(name)
        sqlite, back = f"sqlite:///{folder}/hpo.db", f"sqlite:///{folder}/back.db"
        looking.fill(sqlite, studies=1, trials=options.trials, epochs=EPOCHS)
        keep_checkpoints(sqlite, folder / "first")
        first, second = folder / "first.zip", folder / "second.zip"
        total = 0.0
        for label, file, arguments in (
            ("an archive of SQLite", first, (*written, first, "--store", sqlite)),
            ("`hpo import` into PostgreSQL", first, ("import", first, "--store", postgresql)),
            (
                "an archive of PostgreSQL",
                second,
                (*written, second, "--store", postgresql),
            ),
            ("`hpo import` into SQLite", second, ("import", second, "--store", back)),
        ):
            home = "first" if arguments[-1] == sqlite else "second" if arguments[-1] == postgresql else "back"
            seconds, mebibytes = looking.command(*map(str, arguments), "--artifacts", str(folder / home))
            total += seconds
            output.line(f"{looking.row(label, seconds, mebibytes)} {file.stat().st_size / 2**20:.1f} |")
        assert rows_of(first) == rows_of(second)
        output.line(f"| there and back | {total:.2f} | | |")
    output.write()


def keep_checkpoints(url: str, artifacts: Path) -> None:
    """Checkpoints of the first trials, as a study keeps those of its best ones."""
    from hpo.queue.studies import load_study
    from hpo.store import Store
    from hpo.store.tables import hpo_trials, trials
    from hpo.study.naming import study_folder, trial_folder

    with Store.open(url) as store:
        home = artifacts / study_folder(STUDY, load_study(store, STUDY).created)
        with store.write() as connection:
            kept = connection.execute(select(trials.c.trial_id, trials.c.number).where(trials.c.number < KEPT)).all()
            for trial_id, number in kept:
                path = home / trial_folder(number) / "best.ckpt"
                path.parent.mkdir(parents=True)
                path.write_bytes(bytes([number]) * CHECKPOINT_BYTES)
                mine = hpo_trials.c.trial_id == trial_id
                connection.execute(update(hpo_trials).where(mine).values(checkpoint=str(path)))


def rows_of(archive: Path) -> dict[str, bytes]:
    """The rows of an archive by table, as bytes."""
    with zipfile.ZipFile(archive) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist() if name.startswith("tables/")}


if __name__ == "__main__":
    main()
