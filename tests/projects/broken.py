"""Cannot be imported."""

from __future__ import annotations

raise ZeroDivisionError("at import")
