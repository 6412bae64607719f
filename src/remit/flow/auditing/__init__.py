"""Checking a log: everything that docs/LOG-FORMAT.md says of a correct one, in one pass, without trusting its keeper.

What lives here: the checks, as values in and findings out. What never may: files, network, clocks, a store; a decision
about anything but the log. A check that could not be made is said to be unmade, never counted as passed.
"""
