"""The practice SOC: four small MCP connectors with state of their own, and a scripted agent.

Nothing here imports Remit. The connectors check warrants by themselves, so that what they refuse says
something about Remit rather than about code that both share.
"""
