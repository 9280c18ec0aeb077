"""The addresses of pages. A study's name may be anything, since other programs create studies too.

What could be more than a part of a path becomes `~` and a byte in hexadecimal: percent signs would do, but test clients
and proxies decode them once more or once less, and browsers leave `.` and `..` out of paths.
"""

from __future__ import annotations

import re
from urllib.parse import quote

ROOT = "/ops"
_SPECIAL = re.compile(r"[^\w .+-]|^\.+$")  # what a study of ours cannot be called
_BYTES = re.compile(r"(?:~[0-9A-F]{2})+")


def of_study(name: str, *further: object) -> str:
    """`/ops/studies/NAME`, or a page below it."""
    part = _SPECIAL.sub(lambda found: "".join(f"~{byte:02X}" for byte in found[0].encode()), name)
    return "/".join([ROOT, "studies", quote(part), *map(str, further)])


def name_in(part: str) -> str:
    """The name of a study in a path."""
    return _BYTES.sub(lambda found: bytes.fromhex(found[0].replace("~", "")).decode(errors="replace"), part)
