"""What is in force: one immutable value that is swapped whole.

What lives here: the boundary, roster, inventory and tools that rulings are made under, together. What never may: a part
that changes by itself. Whoever rules takes `Forces.current` once and uses only that.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from remit.gates.boundary.evaluator import Evaluator
from remit.gates.boundary.words import Boundary
from remit.gates.validation import SchemaValidator
from remit.model.manifest import Manifest, ToolManifest
from remit.model.people import Roster
from remit.model.targets import Inventory
from remit.model.words import CredentialClass, Definition, Label


class Tool(Struct, frozen=True, kw_only=True):
    """A tool of a connector with everything that is known of it. `parked` says why it is hidden, if it is."""

    name: str
    connector: str
    manifest: ToolManifest
    definition: Definition
    accepted: str
    label: Label
    credential: CredentialClass
    cuttable: bool
    schema: SchemaValidator | None = None
    parked: str = ""


class Force(Struct, frozen=True, kw_only=True):
    """Everything that a ruling depends on but the request itself and the quotas."""

    home: str
    boundary: Boundary
    boundary_digest: str
    evaluator: Evaluator
    roster: Roster
    inventory: Inventory
    manifests: Mapping[str, Manifest]
    tools: Mapping[str, Tool]

    def upstream(self, connector: str, tool: str) -> Tool | None:
        """The tool by its connector's own name for it."""
        return next((t for t in self.tools.values() if t.connector == connector and t.definition.name == tool), None)


class Forces:
    """Holds what is in force. Swapped on the event loop only; read from anywhere."""

    def __init__(self, force: Force) -> None:
        self.current = force

    def swap(self, force: Force) -> None:
        """Put another whole value in force. Work that began under the old one is ruled again before its intent."""
        self.current = force


def categories_of(tool: Tool) -> tuple[str, ...]:
    """Every category that a call of the tool can fall into."""
    named = (tool.manifest.category, *(when.category for when in tool.manifest.when))
    return tuple(dict.fromkeys(each for each in named if each))
