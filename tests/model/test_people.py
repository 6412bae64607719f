"""The roster: who may decide what, and how one roster follows another."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.model.people import Role, Roster, RosterRefused, load_roster, verify_signed, verify_successor
from remit.model.reading import Unreadable
from remit.model.signatures import Namespace, SignatureError, public_key, sign

NOW = 1_790_000_000_000_000
KEYS = {name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number, name in enumerate("abcd")}


def line(name: str) -> str:
    return f"{public_key(KEYS[name]).text} {name}"


def roster(version: int = 1, home: str = 'home = "home-1"', extra: str = "") -> bytes:
    return f"""
[roster]
version = {version}
{home}

[[person]]
name = "Ana"
email = "ana@example.com"
roles = ["leader", "approver"]
keys = ["{line("a")}"]

[[person]]
name = "Ben"
email = "ben@example.com"
roles = ["approver", "on-call"]
keys = ["{line("b")}"]
not_after = 2027-01-01T00:00:00Z
{extra}
""".encode()


def loaded() -> Roster:
    return load_roster(roster())


def signed(name: str, data: bytes, namespace: Namespace = Namespace.ROSTER) -> bytes:
    return sign(KEYS[name], data, namespace)


def test_a_roster_gives_its_people_roles_and_keys() -> None:
    it = loaded()
    assert (it.version, it.home, len(it.digest)) == (1, "home-1", 64)
    ana = it.person("ANA@example.com")
    assert ana is not None
    assert ana.roles == {Role.LEADER, Role.APPROVER}
    assert it.owner(public_key(KEYS["b"])) == it.person("ben@example.com")
    assert it.owner(public_key(KEYS["c"])) is None
    assert it.person("nobody") is None


def test_a_person_counts_until_not_after() -> None:
    end = 1_798_761_600_000_000
    names = [[p.name for p in loaded().having(Role.APPROVER, now=now)] for now in (end - 1, end)]
    assert names == [["Ana", "Ben"], ["Ana"]]
    assert [p.name for p in loaded().having("leader", now=NOW)] == ["Ana"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"leader"', '"leeder"', "did you mean `leader`?"),
        ('"leader", ', "", "at least one with role `leader`"),
        ("ben@example.com", "ANA@example.com", "`ANA@example.com` again"),
        ("version = 1", "version = 0", "a whole number from 1"),
        ("version = 1", "", "`roster.version`"),
        ("not_after", "not_aftr", "did you mean `not_after`?"),
        ("ssh-ed25519", "ssh-dss", "keys of kind `ssh-dss` cannot be used"),
        ('"Ben"', '""', "`person[#2].name`"),
        ('"Ben"', '"B\\u001b[2J"', "⟦esc⟧"),
        ("ben@example.com", "ben smith", "expected an id"),
        ('email = "ben@example.com"', 'email = "x"\nid = "y"', "both"),
        ('email = "ben@example.com"\n', "", "`person[Ben].email`"),
        (line("b"), line("a"), "which `ana@example.com` has already"),
        (line("b"), line("a") + " other comment", "which `ana@example.com` has already"),
        ("[roster]", "[rooster]", "did you mean `roster`?"),
    ],
)
def test_a_wrong_roster_is_refused_with_the_place_and_the_reason(old: str, new: str, message: str) -> None:
    data = roster().decode().replace(old, new)
    with pytest.raises(Unreadable) as refused:
        load_roster(data.encode())
    assert message in refused.value.shown()


def test_a_roster_signed_by_a_leader_of_the_one_before_follows_it() -> None:
    person = f'[[person]]\nname = "C"\nid = "bot"\nroles = ["orchestrator"]\nkeys = ["{line("c")}"]'
    data = roster(2, extra=person)
    new, signers = verify_successor(loaded(), data, [signed("a", data)], now=NOW)
    assert new.version == 2
    assert [person.id for person in signers] == ["ana@example.com"]
    assert new.person("bot") is not None


def test_nobody_writes_themselves_in() -> None:
    person = f'[[person]]\nname = "C"\nid = "c"\nroles = ["leader"]\nkeys = ["{line("c")}"]'
    data = roster(2, extra=person)
    for signatures in ([], [signed("c", data)], [signed("b", data)], [signed("a", data, Namespace.BOUNDARY)]):
        with pytest.raises(SignatureError, match="expected 1 valid signature by a `leader`, found 0"):
            verify_successor(loaded(), data, signatures, now=NOW)
    with pytest.raises(SignatureError, match="does not match the signed bytes"):
        verify_successor(loaded(), data + b"#", [signed("a", data)], now=NOW)


@pytest.mark.parametrize("version", [1, 0])
def test_a_version_that_is_not_higher_is_refused(version: int) -> None:
    old = load_roster(roster(1 + (version == 0)))
    data = roster(1)
    with pytest.raises(RosterRefused, match="expected one higher"):
        verify_successor(old, data, [signed("a", data)], now=NOW)


@pytest.mark.parametrize("home", ['home = "home-2"', ""])
def test_the_roster_of_another_home_is_refused(home: str) -> None:
    data = roster(2, home)
    with pytest.raises(RosterRefused, match="expected `home-1`"):
        verify_successor(loaded(), data, [signed("a", data)], now=NOW)


def test_two_signatures_of_one_person_count_once() -> None:
    extra = f'[[person]]\nname = "D"\nid = "d"\nroles = ["leader"]\nkeys = ["{line("d")}", "{line("c")}"]'
    it = load_roster(roster(extra=extra))

    def signers(*names: str) -> list[str]:
        signatures = [signed(name, b"data", Namespace.BOUNDARY) for name in names]
        people = verify_signed(it, b"data", signatures, Namespace.BOUNDARY, [Role.LEADER], now=NOW, needed=2)
        return [person.id for person in people]

    assert signers("d", "a") == ["ana@example.com", "d"]
    for names in (("d", "c"), ("a", "a"), ("a", "b"), ()):
        with pytest.raises(SignatureError, match="expected 2 valid signatures"):
            signers(*names)


def test_a_leader_past_not_after_cannot_sign() -> None:
    data = roster().decode().replace('["approver", "on-call"]', '["leader"]').encode()
    old, new = load_roster(data), data.replace(b"version = 1", b"version = 2")
    verify_successor(old, new, [signed("b", new)], now=NOW)
    with pytest.raises(SignatureError):
        verify_successor(old, new, [signed("b", new)], now=1_798_761_600_000_000)
