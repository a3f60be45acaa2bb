"""The hot ingress: gRPC over HTTP/1.1 with trailers, on a Unix socket, from Envoy.

`ingress.py` has the server, `connection.py` one connection of it, `exchange.py`
one call; `core/` has what can be decided without a socket. Knows gRPC, but no service.
"""
