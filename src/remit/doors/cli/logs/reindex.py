"""`remit log reindex`: build the index of `find` and `explain` anew, and say whether it covers everything."""

from __future__ import annotations

import argparse
import sys

from remit.doors.cli.answering import home_path, show

SAYS = "build what `find` and `explain` look into anew"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Build it, with progress on stderr. Works beside a gateway. Exit code 1 where it does not cover every record."""
    from remit.offline import reindex

    built = reindex(home_path(arguments), _progress)
    _progress_ended()
    answer = {"indexed": built.indexed, "records": built.records, "complete": built.complete, "against": built.against}
    says = f"indexed {built.indexed} of {built.records} records ({built.against})"
    show(arguments, answer, says if built.complete else f"{says}: incomplete")
    return 0 if built.complete else 1


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:>12,} of {of:,} records")
        sys.stderr.flush()


def _progress_ended() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
