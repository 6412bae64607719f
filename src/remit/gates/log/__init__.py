"""The log gate: the arithmetic of a verifiable log, and the texts that carry it.

- `merkle`: roots and proofs of RFC 6962's tree, made and checked
- `tiles`: which files a tree of some size consists of, and what is in them
- `notes`: signed notes, and the keys of logs and witnesses
- `checkpoints`: what a signed note says of a tree
- `proofs`: one entry's proof as a text of its own
- `spelling`: numbers and base64 in their one proper spelling

Bytes in, values out. No files, no clock, no randomness: seeds and times are arguments. docs/LOG-FORMAT.md is the
contract; an independent verifier must come to the same conclusions from it alone.
"""
