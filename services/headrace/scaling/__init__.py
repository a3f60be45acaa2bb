"""Scaling: how many replicas there are, and where the gateway finds them."""
