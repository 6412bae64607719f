"""A log in memory that signs whatever a test makes it sign, forks included, and what it submits to witnesses."""

from __future__ import annotations

from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.merkle import Frontier, Hashes, consistency_proof, leaf_hash, root_of
from remit.gates.log.notes import LogKey, Note, VerifierKey
from remit.gates.log.submissions import Submission


class SignedLog:
    """Entries in a list, under a key of its own. A fork is another `SignedLog` with the same key."""

    def __init__(
        self, origin: str = "remit/home_test", entries: int = 0, mark: str = "a", seed: bytes = b"l" * 32
    ) -> None:
        self.key = LogKey.generate(origin, seed)
        self.leaves: list[bytes] = []
        self.grow(entries, mark)

    @property
    def verifier(self) -> VerifierKey:
        return self.key.verifier

    def grow(self, count: int, mark: str = "a") -> SignedLog:
        self.leaves += [leaf_hash(f"{mark}{len(self.leaves) + number}".encode()) for number in range(count)]
        return self

    @property
    def hashes(self) -> Hashes:
        def of(level: int, index: int) -> bytes:
            tree = Frontier()
            for leaf in self.leaves[index << level : (index + 1) << level]:
                tree.add(leaf)
            return tree.root()

        return of

    def note(self, size: int | None = None, *keys: LogKey) -> bytes:
        size = len(self.leaves) if size is None else size
        text = Checkpoint(self.key.name, size, root_of(size, self.hashes)).encode()
        return Note(text, tuple(key.sign(text) for key in keys or (self.key,))).encode()

    def submission(self, old: int, size: int | None = None) -> Submission:
        size = len(self.leaves) if size is None else size
        return Submission(old, consistency_proof(old, size, self.hashes), self.note(size))
