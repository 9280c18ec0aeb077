"""`make test` brings what its tests need of the system, where it may, and leaves exactly those tests out elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from system_packages import BRINGS

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "chmod", "dirname", "make", "paste", "touch", "true")

# As the system's own: it says which packages it was asked for, and brings what they bring.
APT_GET = """#!/bin/sh
echo "$(id -u)$as_root $*" >>"$CALLS"
case "$*" in
    update*) ;;
    *absent-data) touch "$FOLDER/data" ;;
    *absent-tool) printf '#!/bin/sh\\n' >"$FOLDER/bin/absent-command" && chmod +x "$FOLDER/bin/absent-command" ;;
    *) echo "E: Unable to locate package" >&2; exit 100 ;;
esac
"""


class Machine:
    """A copy of the checkout's set-up, on a PATH with few programs and a list of packages of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        shutil.copy(ROOT / "Makefile", folder)
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        (folder / "tests").mkdir()
        self.write_list("there bash", "absent-tool absent-command", f"absent-data {folder}/data")
        (folder / "bin").mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (folder / "bin" / tool).symlink_to(found)

    def write_list(self, *lines: str) -> None:
        (self.folder / "tests" / "system-packages.txt").write_text("\n".join(["# package  brings", *lines, ""]))

    def program(self, name: str, text: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(text)
        file.chmod(0o755)

    def is_user(self, number: int) -> None:
        self.program("id", f"#!/bin/sh\necho {number}\n")

    def make(self, *arguments: str, **variables: str) -> list[str]:
        """The lines that a target prints."""
        environment = {"PATH": str(self.folder / "bin"), "CALLS": str(self.calls), "FOLDER": str(self.folder)}
        command = [str(self.folder / "bin" / "make"), *(arguments or ("system-packages",))]
        done = subprocess.run(
            command, cwd=self.folder, env=environment | variables, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def installed(self) -> list[str]:
        """Who installed which package."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [f"{line.split()[0]} {line.split()[-1]}" for line in lines if " install " in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_missing_packages_are_named_and_then_installed_by_root(machine: Machine) -> None:
    machine.is_user(0)
    machine.program("apt-get", APT_GET)

    first, second = machine.make(), machine.make()

    assert first == ["installing by apt-get: absent-tool absent-data (APT=no leaves them out)"]
    assert machine.installed() == ["0 absent-tool", "0 absent-data"]
    assert second == []


def test_another_user_installs_them_by_sudo_where_it_asks_for_no_password(machine: Machine) -> None:
    machine.is_user(1000)
    machine.program("apt-get", APT_GET)
    machine.program("sudo", '#!/bin/sh\n[ "$1" = -n ] && shift\nas_root=" by sudo" exec "$@"\n')

    told = machine.make()

    assert told == ["installing by apt-get: absent-tool absent-data (APT=no leaves them out)"]
    assert [line.split(" -o")[0] for line in machine.calls.read_text().splitlines()[1:]] == ["1000 by sudo"] * 2


@pytest.mark.parametrize("asks", [True, False], ids=["sudo asks for a password", "no sudo"])
def test_a_user_who_may_not_is_told_the_command(machine: Machine, asks: bool) -> None:
    machine.is_user(1000)
    machine.program("apt-get", APT_GET)
    if asks:
        machine.program("sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")

    told = machine.make()

    command = "apt-get install absent-tool absent-data"
    assert told == [f"not installed: absent-tool absent-data (apt-get needs root; as root: {command})"]
    assert not machine.installed()


def test_without_apt_the_packages_are_named(machine: Machine) -> None:
    machine.is_user(0)

    assert machine.make() == ["not installed: absent-tool absent-data (there is no apt-get here)"]


def test_nothing_is_installed_by_those_who_forbid_it(machine: Machine) -> None:
    machine.is_user(0)
    machine.program("apt-get", APT_GET)

    assert machine.make(APT="no") == ["not installed: absent-tool absent-data (APT=no forbids it)"]
    assert not machine.installed()


def test_a_package_that_the_system_does_not_have_keeps_no_other_out(machine: Machine) -> None:
    machine.is_user(0)
    machine.program("apt-get", APT_GET)
    machine.write_list("unknown unknown-command", f"absent-data {machine.folder}/data")

    told = machine.make()

    assert told[1:] == ["not installed: unknown (apt-get failed)"]
    assert (machine.folder / "data").exists()


def test_a_python_without_environments_gets_its_package_before_it_makes_one(machine: Machine) -> None:
    machine.is_user(0)
    machine.program("apt-get", APT_GET.replace("*absent-data)", "*python3-venv)"))
    # as Debian's, until its package is there: what was brought then is a file
    is_ready = f"[ -e {machine.folder}/data ] || exit 1"
    machine.program(
        "python3", f'#!/bin/sh\ncase "$*" in *ensurepip*) {is_ready} ;; "-m venv .venv") {is_ready} ;; esac\n'
    )

    told = machine.make(".venv/bin/python")

    assert "installing by apt-get: python3-venv (APT=no leaves them out)" in told
    assert machine.installed() == ["0 python3-venv"]


def test_tests_depend_on_the_packages_and_the_short_check_does_not() -> None:
    for target, is_told in (("test", True), ("test-all", True), ("check", False), ("demo", False)):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert (".ci/system-packages\n" in done.stdout) is is_told, target


def test_the_packages_are_listed_once() -> None:
    for file in (ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / ".ci" / "system-packages"):
        assert not [package for package in BRINGS if package in file.read_text(encoding="utf-8")]


# ---- the tests themselves, of a copy whose list names what no machine has


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests, as on a machine without any of the packages."""
    folder = tmp_path_factory.mktemp("elsewhere") / "checkout"
    shutil.copytree(
        ROOT, folder, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "hpo-artifacts")
    )
    lines = [
        f"{package} {'/absent' if brings.startswith('/') else 'absent-'}{brings}" for package, brings in BRINGS.items()
    ]
    (folder / "tests" / "system-packages.txt").write_text("\n".join([*lines, ""]))
    # what the studies say of their data stays as it is, in a place that is absent too
    for file in (folder / "studies").glob("*.yaml"):
        file.write_text(file.read_text(encoding="utf-8").replace("/usr/share/", "/absent/usr/share/"), encoding="utf-8")
    return folder


def run_pytest(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    unwanted = ("CI", "PYTEST_ADDOPTS")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in unwanted and not name.startswith("PYTEST_XDIST")
    }
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment | variables, capture_output=True, text=True, timeout=600, check=False
    )


def test_exactly_the_tests_that_need_a_package_are_left_out_with_a_line_each(elsewhere: Path) -> None:
    folders = "tests/system", "tests/store"
    collected = run_pytest(elsewhere, "--collect-only", "-m", "needs", *folders)
    names = re.findall(r"^(tests/\S+::.+)$", collected.stdout, flags=re.MULTILINE)

    done = run_pytest(elsewhere, "-m", "needs", *folders)

    assert done.returncode == 0, done.stdout + done.stderr
    skipped = dict(re.findall(r"^SKIPPED (tests/\S+::.+) - Skipped: (needs .*)$", done.stdout, flags=re.MULTILINE))
    assert sorted(skipped) == sorted(names)
    assert f"{len(names)} skipped" in done.stdout
    assert " passed" not in done.stdout
    told = {package for reason in skipped.values() for package in reason.partition("apt-get install ")[2].split()}
    assert told == set(BRINGS)


def test_in_ci_a_test_that_would_be_left_out_fails(elsewhere: Path) -> None:
    done = run_pytest(elsewhere, "-m", "needs", "tests/system/test_benchmarks.py", CI="true")

    assert done.returncode == 1
    assert "needs pgbouncer: apt-get install pgbouncer; CI is set, where no test is left out" in done.stdout
    assert "needs munge, slurm-client, slurmctld, slurmd: " in done.stdout
    assert "2 errors" in done.stdout
