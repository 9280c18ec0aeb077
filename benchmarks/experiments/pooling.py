"""PgBouncer in front of a PostgreSQL: thousands of clients share a few dozen connections of the server.

In transaction mode, as docs/scaling.md recommends; needs `pgbouncer` on the PATH (apt-get install pgbouncer).
"""

from __future__ import annotations

import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from experiments.databases import Postgres

PORT = 6432


@contextmanager
def pgbouncer(server: Postgres, *, connections: int = 20, clients: int = 2500) -> Iterator[tuple[Path, psutil.Process]]:
    """(the folder of its socket, its process)."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        sys.exit("this experiment needs PgBouncer: apt-get install pgbouncer")
    owner = server.processes()[0].username()  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="hpo-pool-"))
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"""
[databases]
* = host={server.socket} user=postgres

[pgbouncer]
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = {clients}
# a start-up parameter of ours that PgBouncer does not know, and that is not needed
ignore_startup_parameters = options
unix_socket_dir = {folder}
listen_port = {PORT}
auth_type = any
log_connections = 0
log_disconnections = 0
""",
        encoding="utf-8",
    )
    shutil.chown(folder, owner)
    folder.chmod(0o755)
    process = subprocess.Popen(
        [program, "-q", str(config)],
        user=pwd.getpwnam(owner).pw_uid,
        group=pwd.getpwnam(owner).pw_gid,
        extra_groups=[],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("w"),
    )
    try:
        while not (folder / f".s.PGSQL.{PORT}").exists():
            if process.poll() is not None:
                sys.exit(f"PgBouncer did not start: {(folder / 'log').read_text()}")
            time.sleep(0.1)
        yield folder, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
