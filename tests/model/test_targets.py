"""One target for all spellings of its name, and an unknown one for every doubt."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remit.model.inventories import compare_inventories
from remit.model.reading import Unreadable
from remit.model.targets import Inventory, dump_inventory, load_inventory, normalise
from remit.model.words import Target

HEADER = "id,kind,privileged,owner,labels,aliases\n"
ROWS = """\
WS01,workstation,no,alice@example.com,finance;laptops,ws-01;edr:4711
ws02.corp.example,workstation,no,bob@example.com,finance,
MORDORDC,domain-controller,yes,it@example.com,,dc01.corp.example;10.0.0.5
web.a.example,server,no,,,
web.b.example,server,no,,,
alice,account,no,,finance,alice@example.com
8.8.8.0/24,address,,,,
2001:db8::1,address,no,,,
"""


def inventory(rows: str = ROWS) -> Inventory:
    return load_inventory((HEADER + rows).encode())


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        (" MordorDC. ", "mordordc"),
        ("ＭＯＲＤＯＲＤＣ", "mordordc"),
        ("ho\u017ft", "host"),
        ("::FFFF:10.0.0.1", "10.0.0.1"),
        ("::ffff:0a00:0001", "10.0.0.1"),
        ("2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("10.0.0.7/24", "10.0.0.0/24"),
        ("10.0.0.7/32", "10.0.0.7"),
        ("::ffff:10.0.0.0/120", "10.0.0.0/24"),
        ("010.0.0.1", "010.0.0.1"),
        ("10.0.0.1/0.0.0.255", "10.0.0.1/0.0.0.255"),
        ("...", "."),
    ],
)
def test_every_spelling_has_one_normal_form(spelling: str, normal: str) -> None:
    assert normalise(spelling) == normal


@given(st.text(max_size=40) | st.from_regex(r"[0-9a-fA-F:./\[\] ]{1,30}", fullmatch=True))
@example("a. .")
@example("ͅ ")
def test_normalising_twice_never_changes_anything(name: str) -> None:
    assert normalise(normalise(name)) == normalise(name)


@given(st.ip_addresses())
def test_every_notation_of_an_address_is_one_name(address: object) -> None:
    exploded = address.exploded  # type: ignore[attr-defined]
    assert normalise(exploded.upper()) == normalise(str(address))


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("ws01", "WS01"),
        ("WS-01", "WS01"),
        ("ws01.corp.example", "WS01"),
        ("ws02", "ws02.corp.example"),
        ("WS02.CORP.EXAMPLE.", "ws02.corp.example"),
        ("dc01", "MORDORDC"),
        ("::ffff:10.0.0.5", "MORDORDC"),
        ("2001:db8:0::0001", "2001:db8::1"),
        ("edr:4711", "WS01"),
        ("ALICE@EXAMPLE.COM", "alice"),
    ],
)
def test_an_alias_a_case_or_a_domain_name_finds_the_same_target(asked: str, target: str) -> None:
    assert inventory().resolve(asked).id == target


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "asked",
    [
        "web",
        "web.c.example",
        "ws02.evil.example",
        "dc01.evil.example",
        "alice.evil",
        "WS\u200b01",
        "WS01\n",
        "W\u042301",
        "nobody",
        "",
        "10.0.0.6",
        "010.0.0.5",
    ],
)
def test_a_name_that_is_ambiguous_deceptive_or_not_there_is_an_unknown_target(asked: str) -> None:
    found = inventory().resolve(asked)
    assert not found.known
    assert found.id == "unknown:" + normalise(asked)


def test_a_target_of_another_kind_than_asked_is_unknown() -> None:
    assert inventory().resolve("alice", "account").known
    assert not inventory().resolve("alice", "workstation").known


def test_a_connectors_own_id_names_its_target_for_that_connector_only() -> None:
    known = inventory()
    assert known.resolve("4711", connector="edr").id == "WS01"
    assert not known.resolve("4711", connector="idp").known
    assert not known.resolve("4711").known


def test_a_name_that_means_one_target_to_remit_and_another_to_the_connector_is_unknown() -> None:
    known = inventory("A,server,no,,,idp:z\nB,server,no,,,idp:a\n")
    assert known.resolve("a").id == "A"
    assert not known.resolve("a", connector="idp").known


def test_the_connectors_own_id_is_what_goes_upstream() -> None:
    known = inventory()
    assert known.connector_id(known.by_id["WS01"], "edr") == "4711"
    assert known.connector_id(known.by_id["WS01"], "idp") == "WS01"
    assert known.connector_id(Target(id="unknown:x", known=False), "edr") == "x"


def ids(targets: tuple[Target, ...] | None) -> list[str] | None:
    return None if targets is None else [target.id for target in targets]


def test_a_label_expands_to_its_members_of_the_kind() -> None:
    assert ids(inventory().expand("label:Finance")) == ["WS01", "alice", "ws02.corp.example"]
    assert ids(inventory().expand("FINANCE", "workstation")) == ["WS01", "ws02.corp.example"]
    assert inventory().label("label:FINANCE") == "finance"


def test_a_single_address_is_bounded_and_touches_the_networks_around_it() -> None:
    assert ids(inventory().expand("10.0.0.5/32")) == ["MORDORDC"]
    assert ids(inventory().expand("8.8.8.8")) == ["unknown:8.8.8.8", "8.8.8.0/24"]


@pytest.mark.promise("P8")
@pytest.mark.parametrize("text", ["10.0.0.0/24", "0.0.0.0/0", "ws*", "*", "", "nobody", "la\u200bbel:finance"])
def test_what_covers_things_that_the_inventory_does_not_know_is_unbounded(text: str) -> None:
    assert inventory().expand(text) is None


def test_the_known_members_of_an_unbounded_set_are_still_named() -> None:
    assert ids(inventory().members("10.0.0.0/8")) == ["MORDORDC"]
    assert ids(inventory().members("8.8.8.128/25")) == ["8.8.8.0/24"]
    assert ids(inventory().members("8.0.0.0/8")) == ["8.8.8.0/24"]
    assert ids(inventory().members("DC*")) == ["MORDORDC"]
    assert ids(inventory().members("web.?.example")) == ["web.a.example", "web.b.example"]


@pytest.mark.parametrize(
    ("rows", "place", "words"),
    [
        ("a,server,no,,,\nA.,server,no,,,\n", "line 3", "line 2 is `a`"),
        ("a,server,no,,,x\nb,server,no,,,X\n", "line 3", "only one target"),
        ("a,server,no,,,10.0.0.1\nb,server,no,,,::ffff:10.0.0.1\n", "line 3", "again"),
        ("a,server,no,,,edr:b\nb,server,no,,,\n", "line 2", "for this target alone"),
        ("a,server,no,,,edr:1;edr:2\n", "line 2", "one id of the connector `edr`"),
        ("a,server,maybe,,,\n", "line 2", "`maybe`"),
        ("a,Domain Controller,no,,,\n", "line 2", "a kind"),
        (",server,no,,,\n", "line 2", "an id"),
        ("a,server\n", "line 2", "6 cells"),
        ("unknown:a,server,no,,,\n", "line 2", "begin with"),
        ("dns-*,server,no,,,\n", "line 2", "wildcards"),
        ("m\u043erdor,server,no,,,\n", "line 2", "one script"),
        ('a,"server,no,,,\n', "line", "CSV"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(rows: str, place: str, words: str) -> None:
    with pytest.raises(Unreadable) as caught:
        inventory(rows)
    assert any(problem.path.startswith(place) and words in str(problem) for problem in caught.value.problems)


def test_all_wrong_rows_are_named_at_once() -> None:
    with pytest.raises(Unreadable) as caught:
        inventory("a,server,maybe,,,\nb,server,perhaps,,,\n")
    assert [problem.path for problem in caught.value.problems] == ["line 2", "line 3"]


def test_a_misspelt_column_gets_its_nearest_word() -> None:
    with pytest.raises(Unreadable, match="line 1") as caught:
        load_inventory(b"id,kind,priviliged,owner,labels,aliases\n")
    assert caught.value.problems[0].hint == "did you mean `privileged`?"


def test_bytes_that_are_not_text_are_named_by_their_line() -> None:
    with pytest.raises(Unreadable, match="line 2"):
        load_inventory(HEADER.encode() + b"\xff,server,no,,,\n")


BASE = "a,workstation,no,x,l,n\nb,server,yes,x,,\n"


@pytest.mark.parametrize(
    ("rows", "tightens", "loosens"),
    [
        (BASE, 0, 0),
        ("a,domain-controller,no,x,l,n\nb,server,yes,x,,\n", 1, 0),
        ("a,,no,x,l,n\nb,server,yes,x,,\n", 1, 0),
        ("a,workstation,yes,x,l,n\nb,server,yes,x,,\n", 1, 0),
        ("a,workstation,no,x,l,n\nb,server,,x,,\n", 1, 0),
        ("a,workstation,no,x,l,n\nb,server,no,x,,\n", 0, 1),
        ("a,workstation,no,x,l,n\nb,workstation,yes,x,,\n", 0, 1),
        ("a,workstation,no,x,l,n\nb,account,yes,x,,\n", 0, 1),
        ("a,workstation,no,y,l,n\nb,server,yes,x,,\n", 0, 1),
        ("a,workstation,no,x,,n\nb,server,yes,x,k,\n", 0, 2),
        ("a,workstation,no,x,l,\nb,server,yes,x,,n\n", 0, 2),
        ("a,workstation,no,x,l,n\n", 0, 1),
        (BASE + "c,server,no,,,\n", 0, 1),
    ],
)
def test_a_change_that_could_allow_more_loosens(rows: str, tightens: int, loosens: int) -> None:
    tightening, loosening = compare_inventories(inventory(BASE), inventory(rows))
    assert (len(tightening), len(loosening)) == (tightens, loosens)


def test_a_moved_alias_names_both_targets() -> None:
    _, loosening = compare_inventories(inventory(BASE), inventory("a,workstation,no,x,l,\nb,server,yes,x,,n\n"))
    assert "`b` gets the alias `n`, which was a name of `a`" in loosening


def test_twenty_thousand_targets_load_and_resolve() -> None:
    known = inventory(
        "".join(f"ws{n}.corp.example,workstation,no,,l{n % 50},10.{n >> 8}.{n & 255}.1\n" for n in range(20_000))
    )
    assert known.resolve("WS19999").id == "ws19999.corp.example"
    assert known.resolve("10.1.0.1").id == "ws256.corp.example"
    assert len(known.members("l7")) == 400


def test_a_dumped_inventory_loads_as_the_same_targets() -> None:
    inventory = load_inventory((HEADER + ROWS).encode())
    assert load_inventory(dump_inventory(inventory)).targets == inventory.targets
