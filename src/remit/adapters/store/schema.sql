-- The store's tables, for SQLite. Another database has a file of its own with the same names.
-- Bodies are JSON of the frozen types; the other columns repeat what is looked up.

CREATE TABLE actions (
    seq         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    revision    INTEGER NOT NULL,
    state       TEXT NOT NULL,
    live        INTEGER NOT NULL,   -- 1 until the state is final
    agent       TEXT NOT NULL,
    run         TEXT NOT NULL,
    case_id     TEXT NOT NULL,
    category    TEXT NOT NULL,
    connector   TEXT NOT NULL,
    tool        TEXT NOT NULL,
    opened_at   INTEGER NOT NULL,
    fingerprint TEXT,               -- only while the action is open
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX actions_live ON actions (state, fingerprint) WHERE live = 1;

-- Consequential actions that are executing or unsettled, by the targets that they keep; `*` is every target.
CREATE TABLE holds (
    connector TEXT NOT NULL,
    target    TEXT NOT NULL,
    action    TEXT NOT NULL REFERENCES actions (id),
    PRIMARY KEY (connector, target, action)
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_by_action ON holds (action);

-- `ended` is the greatest integer while the claim is open, so that one range scan finds all that still counts.
CREATE TABLE claims (
    action   TEXT NOT NULL REFERENCES actions (id),
    category TEXT NOT NULL,
    target   TEXT NOT NULL,
    agent    TEXT NOT NULL,
    start    INTEGER NOT NULL,
    ended    INTEGER NOT NULL,
    PRIMARY KEY (action, category, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_counting ON claims (category, ended, agent, target, action);

-- The categories that ever were claimed: what a wildcard of a quota stands for.
CREATE TABLE claim_categories (category TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;

CREATE TABLE records (
    position INTEGER PRIMARY KEY,
    kind     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    action   TEXT NOT NULL,
    run      TEXT NOT NULL,
    agent    TEXT NOT NULL,
    data     BLOB NOT NULL,
    sha256   BLOB NOT NULL
) STRICT;
CREATE INDEX records_by_action ON records (action) WHERE action <> '';
CREATE INDEX records_by_run ON records (run) WHERE run <> '';
-- Each call writes one of these three, and nobody looks for all of them.
CREATE INDEX records_by_kind ON records (kind) WHERE kind NOT IN ('proposal', 'intent', 'outcome');
CREATE TRIGGER records_never_change BEFORE UPDATE ON records
BEGIN
    SELECT RAISE(ABORT, 'a record never changes');
END;
CREATE TRIGGER records_never_leave BEFORE DELETE ON records
BEGIN
    SELECT RAISE(ABORT, 'a record is never removed');
END;

-- Payloads, sealed. Each class that is pruned by itself has a table of its own, so that what is pruned lies together and
-- frees whole pages; `payloads` has the others. `slot` says where the payload's key is, apart from the database;
-- `position` is that of the next record when the payload was put.
CREATE TABLE payloads (
    id       TEXT NOT NULL PRIMARY KEY,
    kind     TEXT NOT NULL,
    position INTEGER NOT NULL,
    slot     INTEGER NOT NULL,
    sealed   BLOB NOT NULL
) STRICT;
CREATE TABLE proposals (
    id       TEXT NOT NULL PRIMARY KEY,
    kind     TEXT NOT NULL,
    position INTEGER NOT NULL,
    slot     INTEGER NOT NULL,
    sealed   BLOB NOT NULL
) STRICT;
CREATE TABLE read_results (
    id       TEXT NOT NULL PRIMARY KEY,
    kind     TEXT NOT NULL,
    position INTEGER NOT NULL,
    slot     INTEGER NOT NULL,
    sealed   BLOB NOT NULL
) STRICT;
CREATE TABLE change_results (
    id       TEXT NOT NULL PRIMARY KEY,
    kind     TEXT NOT NULL,
    position INTEGER NOT NULL,
    slot     INTEGER NOT NULL,
    sealed   BLOB NOT NULL
) STRICT;
CREATE TABLE verdicts (
    id       TEXT NOT NULL PRIMARY KEY,
    kind     TEXT NOT NULL,
    position INTEGER NOT NULL,
    slot     INTEGER NOT NULL,
    sealed   BLOB NOT NULL
) STRICT;

-- Keys of payloads that are gone, until the keys are destroyed too; and the record that says why one was erased.
CREATE TABLE doomed_keys (slot INTEGER PRIMARY KEY) STRICT;
CREATE TABLE tombstones (payload TEXT NOT NULL PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- `calls` and the label are written often, so they are columns and not in the body.
CREATE TABLE runs (
    id              TEXT NOT NULL PRIMARY KEY,
    token_hash      TEXT NOT NULL UNIQUE,
    agent           TEXT NOT NULL,
    case_id         TEXT NOT NULL,
    opened_at       INTEGER NOT NULL,
    closed_at       INTEGER,
    calls           INTEGER NOT NULL,
    integrity       TEXT NOT NULL,
    confidentiality TEXT NOT NULL,
    source          TEXT NOT NULL,
    body            BLOB NOT NULL
) STRICT;
CREATE INDEX runs_open ON runs (opened_at) WHERE closed_at IS NULL;

CREATE TABLE evidence (
    seq  INTEGER PRIMARY KEY,
    id   TEXT NOT NULL UNIQUE,
    run  TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE approvals (
    seq       INTEGER PRIMARY KEY,
    action    TEXT NOT NULL REFERENCES actions (id),
    person    TEXT NOT NULL,
    verb      TEXT NOT NULL,
    at        INTEGER NOT NULL,
    statement BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE INDEX approvals_by_action ON approvals (action);

CREATE TABLE refusals (seq INTEGER PRIMARY KEY, agent TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE INDEX refusals_by_agent ON refusals (agent, at);
CREATE INDEX refusals_by_time ON refusals (at);

CREATE TABLE nonces (nonce TEXT NOT NULL PRIMARY KEY, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_by_expiry ON nonces (expires);

CREATE TABLE facts (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
