"""`remit reject`: show the card, ask, sign, send."""

from __future__ import annotations

import argparse

from remit.doors.cli import cards


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cards`."""
    cards.add_arguments(parser, "reject")


def run(arguments: argparse.Namespace) -> int:
    """See `cards.decide`."""
    return cards.decide(arguments, "reject")
