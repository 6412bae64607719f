"""`remit explain ID`: the story of one action, of a run, or of a record, on one screen."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from remit.doors.cli.answering import home_path, show

if TYPE_CHECKING:
    from remit.model.manifest import Manifest

WIDEST = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One id."""
    parser.add_argument(
        "id", metavar="ID", help="an action (act_…), a run (run_…), evidence (ev_…) or the position of a record (#12)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Tell it. Works without a gateway. Exit code 1 for a story with gaps: something kept does not hold, or is gone."""
    from remit.flow.queries import Stories
    from remit.gates.story import RunStory, Story, render_record, render_run, render_text, to_json
    from remit.offline import open_reads, open_search

    home = home_path(arguments)
    reads = open_reads(home)
    stories = Stories(reads, manifests_in(home), open_search(home, reads))
    story = stories.explain(arguments.id)
    width = min(shutil.get_terminal_size((100, 40)).columns, WIDEST)
    if isinstance(story, Story):
        text = render_text(story, width, zone=stories.zone)
    elif isinstance(story, RunStory):
        text = render_run(story, width, zone=stories.zone)
    else:
        text = render_record(story, width, zone=stories.zone)
    show(arguments, to_json(story), text)
    return 1 if isinstance(story, Story) and story.gaps else 0


def manifests_in(home: Path) -> dict[str, Manifest]:
    """The connector files of a home that can be read, by name. One that cannot tells nothing, and harms nothing."""
    from remit.model.errors import RemitError
    from remit.model.manifest import load_manifest

    found = {}
    for path in sorted((home / "connectors").glob("*.toml")):
        try:
            found[path.stem] = load_manifest(path.read_bytes(), path.stem)
        except (OSError, RemitError):
            continue
    return found
