"""Prints what a project's pyproject.toml requires, with the named extras: python requirements.py postgres,notify"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
chosen = [name for name in sys.argv[1].split(",") if name]
if unknown := set(chosen) - extras.keys():
    sys.exit(f"EXTRAS={sys.argv[1]}: there is no {', '.join(sorted(unknown))}; use {', '.join(sorted(extras))}")
print("\n".join([*project["dependencies"], *(line for name in chosen for line in extras[name])]))  # noqa: T201
