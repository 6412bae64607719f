-- The index's tables. Everything here can be built anew from the records and the payloads that are left.
-- A term is a keyed hash of 64 bits; a block is 4,096 positions, a span 8 blocks.

CREATE TABLE standing (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    key      INTEGER NOT NULL,      -- the hash of a known term: another home's index has another
    position INTEGER NOT NULL,      -- of the next record to take in
    last     BLOB NOT NULL          -- the SHA-256 of the record before it
) STRICT;

-- Proposals, refusals and verdicts by position. `state` is the one that an action is in.
CREATE TABLE subjects (
    position INTEGER PRIMARY KEY,
    id       TEXT NOT NULL,
    at       INTEGER NOT NULL,
    state    TEXT NOT NULL
) STRICT;
CREATE INDEX subjects_by_id ON subjects (id) WHERE id <> '';

-- The earliest and the latest time of the subjects in a block.
CREATE TABLE blocks (block INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL) STRICT;

-- Which positions of a block have a term: at most 64 ascending offsets of 16 bits, or 4,096 bits. Spans come first in the
-- key, so that what is new lies together, and so that what one position has can be found; then terms, so that what a
-- search reads of one lies together.
CREATE TABLE postings (
    span  INTEGER NOT NULL,
    term  INTEGER NOT NULL,
    block INTEGER NOT NULL,
    hits  BLOB NOT NULL,
    PRIMARY KEY (span, term, block)
) STRICT, WITHOUT ROWID;

-- How far each class of payloads was looked through for what retention has removed, and the positions before that whose
-- payload was still there.
CREATE TABLE pruned (class TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
CREATE TABLE left_over (class TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (class, position)) STRICT, WITHOUT ROWID;

-- What a run concluded last.
CREATE TABLE verdicts (run INTEGER PRIMARY KEY, verdict TEXT NOT NULL) STRICT;
