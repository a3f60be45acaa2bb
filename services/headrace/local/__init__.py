"""One machine: the supervisor, its keys, its configuration and the gateway's."""
