"""The pure parts of the hot ingress: no loop, no sockets, no clock."""
