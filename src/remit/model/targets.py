"""Names of things: one normal form for every spelling, and the inventory that knows the things.

What lives here: normalising names, the inventory read from CSV bytes, resolving and expanding what an agent asked for,
comparing two inventories. What never may: tiers and rulings (those are the boundary's).

INVARIANT: a name resolves to a known target only where exactly one target can be meant; every doubt is an unknown
target, which the boundary reads as the most critical.
"""

from __future__ import annotations

import csv
import fnmatch
import functools
import io
import ipaddress
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from remit.model.display import shown
from remit.model.reading import Problem, Unreadable, nearest
from remit.model.words import Target

UNKNOWN = "unknown:"
"""What the id of a target begins with that the inventory does not have."""

LABEL = "label:"
"""What the name of a group begins with: all targets with that label."""

COLUMNS = ("id", "kind", "privileged", "owner", "labels", "aliases")

_LONGEST_NAME = 512
_MAX_BYTES = 64 * 1024 * 1024
_MOST_PROBLEMS = 100
_MAYBE_ADDRESS = re.compile(r"(?=[^.:]*[.:])[0-9a-f:.\[\]]{2,50}(/[0-9]{1,3})?", re.ASCII)
_CONNECTOR_ALIAS = re.compile(r"([a-z0-9][a-z0-9_-]*):(.+)", re.ASCII | re.DOTALL)
_KIND = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)
_NOT_SHOWABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_WITHOUT_DOMAIN = frozenset({"account", "address", "alert"})  # kinds in whose names a dot does not begin a DNS domain
_PRIVILEGED = {"yes": True, "no": False, "": None}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def normalise(name: str) -> str:
    """The one normal form of every spelling of a name. Normalising twice changes nothing.

    Unicode NFKC and case folding (UAX 15), surrounding space and the root's trailing dot removed (RFC 1034 section
    3.1). IP addresses take the form of RFC 5952, an IPv4-mapped IPv6 address that of its IPv4 address (RFC 4291
    section 2.5.5.2), a network its prefix form with the host bits cleared; a network of one address is that address.
    A zero-padded IPv4 address stays as it is: some software reads it as octal, so it means no one thing.
    """
    if name.isascii():
        folded = _trimmed(name.lower())
    else:
        folded = name
        for _ in range(8):  # NFKC and folding each can undo the other's fixed point; two rounds do in practice
            before, folded = folded, _trimmed(unicodedata.normalize("NFKC", folded).casefold())
            if folded == before:
                break
    if _MAYBE_ADDRESS.fullmatch(folded):
        return _address_form(folded) or folded
    return folded


def is_clean(name: str) -> bool:
    """False for a name that can deceive: control or invisible characters, scripts mixed in one name, or too long."""
    if len(name) > _LONGEST_NAME:
        return False
    if name.isascii():
        return name.isprintable()
    if any(unicodedata.category(character) in _NOT_SHOWABLE for character in name):
        return False
    plain = unicodedata.normalize("NFKC", name)
    return len({_script(character) for character in plain if character.isalpha()}) <= 1


@functools.lru_cache(maxsize=4096)
def network_of(name: str) -> Network | None:
    """The IP network that a normalised name writes; an address is a network of one. None for any other name."""
    if not _MAYBE_ADDRESS.fullmatch(name):
        return None
    try:
        return ipaddress.ip_network(name)
    except ValueError:
        return None


def _trimmed(name: str) -> str:
    name = name.strip()
    while name.endswith(".") and len(name) > 1:
        name = name[:-1].rstrip()
    return name


@functools.lru_cache(maxsize=4096)
def _address_form(name: str) -> str | None:
    address, slash, prefix = name.partition("/")
    if address.startswith("[") != address.endswith("]"):
        return None
    try:
        network = ipaddress.ip_network(f"{address.strip('[]')}{slash}{prefix}", strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            network = ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return str(network.network_address) if network.num_addresses == 1 else str(network)


@functools.lru_cache(maxsize=4096)
def _script(character: str) -> str:
    return unicodedata.name(character, "UNNAMED").partition(" ")[0]


def connector_alias(alias: str) -> tuple[str, str] | None:
    """Connector and that connector's own id out of an alias `connector:their-id`; None for any other alias."""
    if network_of(normalise(alias)) is not None:
        return None
    match = _CONNECTOR_ALIAS.fullmatch(alias)
    return (match[1], match[2]) if match else None


class _Addresses:
    """The inventory's addresses and networks, to find those that a network touches. Read-only once built."""

    def __init__(self, named: Iterable[tuple[Network, Target]]) -> None:
        self._sorted: dict[int, list[tuple[int, int, Target]]] = {4: [], 6: []}
        self._prefixes: dict[int, set[int]] = {4: set(), 6: set()}
        self._exact: dict[tuple[int, int, int], Target] = {}
        for network, target in named:
            start = int(network.network_address)
            self._sorted[network.version].append((start, network.prefixlen, target))
            self._prefixes[network.version].add(network.prefixlen)
            self._exact[network.version, network.prefixlen, start] = target
        for entries in self._sorted.values():
            entries.sort(key=lambda entry: entry[:2])

    def touching(self, network: Network) -> list[Target]:
        """Targets with an address in `network`, or a network that overlaps with it."""
        entries = self._sorted[network.version]
        first, last = int(network.network_address), int(network.broadcast_address)
        low = bisect_left(entries, first, key=lambda entry: entry[0])
        high = bisect_right(entries, last, key=lambda entry: entry[0])
        found = [target for _, _, target in entries[low:high]]
        for prefix in self._prefixes[network.version]:
            if prefix < network.prefixlen:
                start = first >> (network.max_prefixlen - prefix) << (network.max_prefixlen - prefix)
                wider = self._exact.get((network.version, prefix, start))
                if wider is not None:
                    found.append(wider)
        return found


class Inventory:
    """What is known about targets. Frozen: an accepted change is another inventory.

    `targets` are in the file's order; `by_id` finds one by the inventory's own spelling of its id. Build it with
    `load_inventory`, or from targets that are known to be free of duplicates.
    """

    __slots__ = ("_addresses", "_connector_ids", "_labels", "_names", "_short", "by_id", "targets")

    def __init__(self, targets: Iterable[Target] = ()) -> None:
        self.targets: tuple[Target, ...] = tuple(targets)
        self.by_id: Mapping[str, Target] = MappingProxyType({target.id: target for target in self.targets})
        self._names: dict[str, Target] = {}
        self._short: dict[str, dict[str, Target]] = {}
        self._labels: dict[str, list[Target]] = {}
        self._connector_ids: dict[tuple[str, str], str] = {}
        addresses: list[tuple[Network, Target]] = []
        for target in self.targets:
            self._index(target, addresses)
        self._addresses = _Addresses(addresses)

    def __len__(self) -> int:
        return len(self.targets)

    def _index(self, target: Target, addresses: list[tuple[Network, Target]]) -> None:
        for name in (target.id, *target.aliases):
            normal = normalise(name)
            self._names[normal] = target
            network = network_of(normal)
            if network is not None:
                addresses.append((network, target))
            elif (theirs := connector_alias(name)) is not None:
                self._connector_ids[target.id, theirs[0]] = theirs[1]
            elif target.kind not in _WITHOUT_DOMAIN:
                self._short.setdefault(normal.partition(".")[0], {})[target.id] = target
        for label in target.labels:
            self._labels.setdefault(normalise(label), []).append(target)

    def resolve(self, text: str, kind: str | None = None, *, connector: str = "") -> Target:
        """The target that `text` names, by id, alias, IP notation, or fully qualified name against short name.

        With `connector`, that connector's own ids count as names too. Where the inventory has no such name, more than
        one target could be meant, `kind` differs, or the name can deceive, the target is not known: its id is
        `unknown:` and the normalised name.
        """
        normal = normalise(text)
        found = self._names.get(normal)
        if connector and not text.isspace():
            theirs = self._names.get(normalise(f"{connector}:{text}"))
            if theirs is not None and found is not None and theirs is not found:
                return _unknown(normal)
            found = theirs or found
        found = found or self._by_short_name(normal)
        if found is None or (kind is not None and found.kind != kind) or not is_clean(text):
            return _unknown(normal)
        return found

    def _by_short_name(self, normal: str) -> Target | None:
        short, _, domain = normal.partition(".")
        candidates = self._short.get(short)
        if candidates is None or len(candidates) != 1 or network_of(normal) is not None:
            return None
        target = next(iter(candidates.values()))
        if not domain:
            return target
        names = [normalise(name) for name in (target.id, *target.aliases)]
        qualified = any(name.startswith(f"{short}.") for name in names)  # known under another domain: another host
        return None if qualified or short not in names else target

    def mistakable(self, text: str, *, connector: str = "") -> Target | None:
        """A known target that a connector could take an unknown name for: one of several that the name could mean, or
        one with the same short name under another domain. None where there is none."""
        normal = normalise(text)
        if network_of(normal) is not None:
            return None
        theirs = self._names.get(normalise(f"{connector}:{text}")) if connector else None
        candidates = self._short.get(normal.partition(".")[0], {})
        return self._names.get(normal) or theirs or next(iter(candidates.values()), None)

    def members(self, text: str, kind: str | None = None) -> tuple[Target, ...]:
        """The known targets that `text` touches as a name, a network, a label or a wildcard, each once, by id.

        Things that the inventory does not know may be touched as well: see `expand`.
        """
        normal = normalise(text)
        found = {target.id: target for target in self._members(normal, text)}
        return tuple(found[key] for key in sorted(found) if kind is None or found[key].kind == kind)

    def _members(self, normal: str, text: str) -> list[Target]:
        network = network_of(normal)
        if network is not None:
            return self._addresses.touching(network)
        if _is_wildcard(normal):
            matches = re.compile(fnmatch.translate(normal)).match
            names = {
                *(name for name in self._names if matches(name)),
                *(name for name in self._short if matches(name)),
            }
            named = [self._names[name] for name in names if name in self._names]
            return named + [target for name in names for target in self._short.get(name, {}).values()]
        single = self.resolve(text)
        grouped = [] if not is_clean(text) else self._labels.get(normal.removeprefix(LABEL).strip(), [])
        return [*grouped, *([single] if single.known else [])]

    def expand(self, text: str, kind: str | None = None) -> tuple[Target, ...] | None:
        """Every target that a set can touch, or None where the inventory cannot say: the set is unbounded.

        A label (`label:NAME`, or just its name) expands to its members, a name to its target, a single address to
        itself and the known networks around it. A network or a wildcard also covers what the inventory does not know,
        so it is unbounded; so is an unknown name. `members` lists what is known of those.
        """
        normal = normalise(text)
        network = network_of(normal)
        if network is not None:
            return None if network.num_addresses > 1 else self._around(normal, network, kind)
        if _is_wildcard(normal) or not is_clean(text):
            return None
        return self.members(text, kind) or None

    def _around(self, normal: str, network: Network, kind: str | None) -> tuple[Target, ...]:
        itself = self.resolve(normal, kind)
        networks = {target.id: target for target in self._addresses.touching(network)}
        networks.pop(itself.id, None)
        return (itself, *(networks[key] for key in sorted(networks)))

    def label(self, text: str) -> str | None:
        """The inventory's own spelling of the label that `text` names (`label:NAME` or `NAME`), or None."""
        normal = normalise(text).removeprefix(LABEL).strip()
        members = self._labels.get(normal)
        return next(label for label in members[0].labels if normalise(label) == normal) if members else None

    def connector_id(self, target: Target, connector: str) -> str:
        """What a connector calls the target: its alias `connector:their-id`, else the target's own id.

        For a target that is not known, its normalised name.
        """
        if not target.known:
            return target.id.removeprefix(UNKNOWN)
        return self._connector_ids.get((target.id, connector), target.id)


def _unknown(normal: str) -> Target:
    return Target(id=UNKNOWN + normal, known=False)


def _is_wildcard(normal: str) -> bool:
    return not normal or any(mark in normal for mark in "*?[%")


def load_inventory(data: bytes, what: str = "inventory.csv") -> Inventory:
    """The inventory in CSV bytes (RFC 4180, UTF-8; columns `COLUMNS` in any order).

    `privileged` is `yes`, `no` or empty for unknown; labels and aliases are separated by `;`. Raises `Unreadable`
    with every problem, each at its line.
    """
    problems: list[Problem] = []
    targets = _read_rows(_decoded(data, what), problems)
    _refuse_shared_names(targets, problems)
    if problems:
        raise Unreadable(what, problems[:_MOST_PROBLEMS])
    return Inventory(target for _, target in targets)


def _decoded(data: bytes, what: str) -> str:
    if len(data) > _MAX_BYTES:
        raise Unreadable(what, [Problem("file", f"at most {_MAX_BYTES} bytes", f"{len(data)} bytes")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(what, [Problem(f"line {line}", "UTF-8 text", f"the byte 0x{data[error.start]:02x}")]) from None


def _read_rows(text: str, problems: list[Problem]) -> list[tuple[int, Target]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    read: list[tuple[int, Target]] = []
    try:
        header = [cell.strip().casefold() for cell in next(rows, [])]
        if not _header_holds(header, problems):
            return read
        line = rows.line_num + 1
        for row in rows:
            if any(cell.strip() for cell in row):
                target = _read_row(dict(zip(header, row, strict=False)), len(row), line, problems)
                if target is not None:
                    read.append((line, target))
            line = rows.line_num + 1
    except csv.Error as error:
        problems.append(Problem(f"line {rows.line_num}", "CSV", f"a mistake in it ({error})"))
    return read


def _header_holds(header: list[str], problems: list[Problem]) -> bool:
    missing = [column for column in COLUMNS if column not in header]
    for name in header:
        if name not in COLUMNS:
            close = nearest(name, missing)
            hint = f"did you mean `{close}`?" if close else "remove it"
            problems.append(Problem("line 1", f"the columns {','.join(COLUMNS)}", shown(name), hint))
        elif header.count(name) > 1:
            problems.append(Problem("line 1", "each column once", f"{shown(name)} again"))
    if missing and not problems:
        problems.append(Problem("line 1", f"the columns {','.join(COLUMNS)}", f"no {' and no '.join(missing)}"))
    return not problems


def _read_row(cells: dict[str, str], width: int, line: int, problems: list[Problem]) -> Target | None:
    before, at = len(problems), f"line {line}"
    if width != len(COLUMNS):
        problems.append(Problem(at, f"{len(COLUMNS)} cells", str(width), "quote a cell that holds a comma"))
        return None
    cells = {column: cell.strip() for column, cell in cells.items()}
    if cells["privileged"].casefold() not in _PRIVILEGED:
        problems.append(Problem(at, "privileged `yes`, `no` or empty for unknown", shown(cells["privileged"])))
    if cells["kind"] and not _KIND.fullmatch(cells["kind"]):
        problems.append(Problem(at, "a kind of lower-case letters, digits, `-` and `_`", shown(cells["kind"])))
    labels, aliases = _split(cells["labels"]), _split(cells["aliases"])
    _check_names(cells["id"], labels, aliases, at, problems)
    if len(problems) > before:
        return None
    return Target(
        id=cells["id"],
        kind=cells["kind"] or None,
        privileged=_PRIVILEGED[cells["privileged"].casefold()],
        owner=cells["owner"] or None,
        labels=labels,
        aliases=aliases,
    )


def _split(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in cell.split(";") if part.strip()))


def _check_names(own: str, labels: tuple[str, ...], aliases: tuple[str, ...], at: str, problems: list[Problem]) -> None:
    if not own:
        problems.append(Problem(at, "an id", "nothing"))
    for name in (own, *aliases):
        normal = normalise(name)
        if name and not normal.strip("."):
            problems.append(Problem(at, "a name", shown(name)))
        elif normal.startswith((UNKNOWN, LABEL)):
            problems.append(Problem(at, f"a name that does not begin with `{UNKNOWN}` or `{LABEL}`", shown(name)))
        elif any(mark in normal for mark in "*?"):
            problems.append(Problem(at, "a name without wildcards", shown(name)))
    for name in (own, *labels, *aliases):
        if not is_clean(name):
            problems.append(Problem(at, "a name in one script without control characters", shown(name)))
    connectors = [theirs[0] for alias in aliases if (theirs := connector_alias(alias)) is not None]
    for connector in dict.fromkeys(connectors):
        if connectors.count(connector) > 1:
            problems.append(Problem(at, f"one id of the connector `{connector}`", str(connectors.count(connector))))


def _refuse_shared_names(targets: list[tuple[int, Target]], problems: list[Problem]) -> None:
    """Notes names that lead to two targets, and ids under which a connector would act on two."""
    owners: dict[str, tuple[int, Target]] = {}
    for line, target in targets:
        for name in dict.fromkeys(normalise(each) for each in (target.id, *target.aliases)):
            first_line, first = owners.setdefault(name, (line, target))
            if first is not target:
                expected = f"a name that only one target has (line {first_line} is {shown(first.id)})"
                problems.append(Problem(f"line {line}", expected, f"{shown(name)} again"))
    by_id = {normalise(target.id): (line, target) for line, target in targets}
    for line, target in targets:
        for connector, theirs in filter(None, map(connector_alias, target.aliases)):
            other_line, other = by_id.get(normalise(theirs), (line, target))
            if other is not target and not _has_own_id(other, connector):
                expected = f"an id that `{connector}` has for this target alone (line {other_line} is sent as it, too)"
                hint = f"give {shown(other.id)} an alias `{connector}:…` of its own"
                problems.append(Problem(f"line {line}", expected, shown(theirs), hint))


def _has_own_id(target: Target, connector: str) -> bool:
    return any(theirs[0] == connector for theirs in filter(None, map(connector_alias, target.aliases)))


def dump_inventory(inventory: Inventory) -> bytes:
    """The CSV of an inventory, as `load_inventory` reads it: equal targets, in the same order."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(COLUMNS)
    privilege = {True: "yes", False: "no", None: ""}
    for each in inventory.targets:
        names = (each.owner or "", ";".join(each.labels), ";".join(each.aliases))
        rows.writerow((each.id, each.kind or "", privilege[each.privileged], *names))
    return written.getvalue().encode()
