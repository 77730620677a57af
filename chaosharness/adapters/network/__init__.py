"""The fallback: bytes of a library that has no adapter, to a third party that speaks its protocol.

`host.py` says who listens at an address, `wire.py` what speaks its protocol, `asking.py` how what
bytes ask for passes the port of a call, `sockets.py` and `streams.py` how bytes get there: by
`socket`, and by the transports of asyncio.
"""
