"""Looking back: finding actions, and gathering what was kept about one for its story.

What lives here: reading the store, and checking that what was kept is what the records commit to. What never may:
writing, a decision, files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from remit.flow.gathering import Gathering, entry_of
from remit.flow.ports import Query, Reads, StoredRecord
from remit.flow.reloading import BOUNDARY_FILE, INVENTORY
from remit.gates import journal
from remit.gates.boundary.load import load
from remit.gates.boundary.words import Boundary
from remit.gates.story import RecordStory, RunStory, Story, tell, tell_run
from remit.gates.story.entries import said
from remit.model.display import shown
from remit.model.errors import Misuse, RemitError
from remit.model.manifest import Manifest
from remit.model.targets import UNKNOWN, Inventory, load_inventory, normalise
from remit.model.words import Action, State
