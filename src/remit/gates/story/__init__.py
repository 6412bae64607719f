"""The story of an action: everything that can be said of it afterwards, from what was kept.

- `words`: the story as frozen values, and the facts that it is told from
- `telling`: facts to a story; `runs`: the same for a whole run, and for a record without an action
- `text`: a story on one screen; `to_json`: all of it

No I/O, no clock. Nothing in a story is inferred from what an agent says: its reasons stand there as its claim, and what
cannot be reconstructed is a gap that the story names.
"""

from remit.gates.story.runs import tell_run
from remit.gates.story.telling import tell
from remit.gates.story.text import render_record, render_run, render_text, to_json
from remit.gates.story.words import (
    BoundaryFacts,
    CallFacts,
    Entry,
    Facts,
    OwnRead,
    RecordStory,
    RunStory,
    SecretFacts,
    Seen,
    Stopping,
    Story,
    VoteFacts,
)

__all__ = [
    "BoundaryFacts",
    "CallFacts",
    "Entry",
    "Facts",
    "OwnRead",
    "RecordStory",
    "RunStory",
    "SecretFacts",
    "Seen",
    "Stopping",
    "Story",
    "VoteFacts",
    "render_record",
    "render_run",
    "render_text",
    "tell",
    "tell_run",
    "to_json",
]
