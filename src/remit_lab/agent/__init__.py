"""A scripted agent that triages one alert and works only through MCP, with the official client.

It is honest and gullible: what it does follows from the events that it reads, and it obeys whatever an
event tells it to do. It knows no host, account or address beforehand. `python -m remit_lab.agent
--help` tells how to start it.
"""
