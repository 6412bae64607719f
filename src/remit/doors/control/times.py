"""Instants as people read them: ISO 8601 in UTC, to the second."""

from __future__ import annotations

import datetime

from remit.model.words import SECOND, Instant


def iso(at: Instant | None) -> str:
    """The instant as `2026-11-22T03:00:00Z`; empty for none."""
    if at is None:
        return ""
    return datetime.datetime.fromtimestamp(at // SECOND, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
