"""New virtual environments with this package as its users install it, to be used away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

UNWANTED = ("PYTHONPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "HPO_STORE", "HPO_PROJECT", "HPO_ARTIFACTS")


def install(archive: Path, folder: Path) -> Path:
    """The programs' folder of a new environment with a wheel or sdist, and the packages of the one that runs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=300)
    [site] = folder.glob("lib/python*/site-packages")
    # plain paths: the .pth file of the editable checkout that lies in one of them is not read
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "dependencies.pth").write_text("\n".join([*packages, ""]))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps"]
    options = ["--no-index", "--no-build-isolation", "--ignore-installed", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *options, str(archive)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command that finds neither the checkout nor the environment of the tests by its variables."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in UNWANTED and not name.startswith("PYTEST_XDIST")
    }
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )
