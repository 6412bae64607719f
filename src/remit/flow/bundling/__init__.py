"""Evidence bundles: one file with everything about an action or a case that somebody else can check offline.

- `words`: what is in a bundle, as values; `zipping`: one ZIP in its one proper spelling; `members`: values to files
- `choosing`: which records and payloads belong in; `making`: putting them together with their proofs
- `retelling`: the story out of nothing but what is in the bundle; `deriving`: page, README and copies made from that
- `checking`: is every record in the log, is everything what the records commit to, does the page say that
- `sampling`: every action and refusal of a period, counted against the log

INVARIANT: whatever is in a bundle is either proved by the log or made again from what is, and compared.
"""
