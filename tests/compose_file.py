"""docker-compose.yml and the Dockerfile, read: what tests of them share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


def instructions(name: str) -> list[str]:
    """What the Dockerfile says after each NAME, with continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


def composed(**variables: str) -> dict[str, Any]:
    """The file as Compose takes it, with variables of the environment or of `.env`."""

    def filled(value: Any) -> Any:
        match value:
            case str():
                value = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1]) or found[2], value)
                assert not re.search(r"(?<!\$)\$(?!\$)", value), value
                return value.replace("$$", "$")
            case dict():
                return {key: filled(item) for key, item in value.items()}
            case list():
                return [filled(item) for item in value]
            case _:
                return value

    found: dict[str, Any] = filled(YAML(typ="safe").load(ROOT / "docker-compose.yml"))
    return {key: value for key, value in found.items() if not key.startswith("x-")}


COMPOSE = composed()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name in SERVICES if name != "postgres"]
