"""The agents' door: MCP over loopback HTTP and over a unix socket, in both eras of the protocol.

What lives here: reading, limiting and answering messages. What never may: a decision about an action, a connector, or
a credential other than the run token that a caller brought. The node is seen through `remit.flow.answers.AgentSide`.
"""
