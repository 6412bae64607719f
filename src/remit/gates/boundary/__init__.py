"""The boundary gate: what the leader's file allows, worked out for one request.

- `words`: the boundary, and the values that a ruling takes
- `load`: bytes to a boundary, with everything that is wrong in them
- `evaluator`: what enforces; `reference`: the same, naively, to test it against
- `page`: the leader's page; `explain`: what would happen, and what would have to be different
- `defaults`: the boundaries that come with Remit

No I/O beyond the package's own data, no clock, no randomness. Nothing that an agent argues or believes is an input.
"""
