"""The demonstration: one agent, first without Remit and then with it, told so that a leader can follow.

It uses Remit as its users do, through the `remit` command and the control socket, and starts the practice connectors
and the scripted agent as programs of their own.
"""
