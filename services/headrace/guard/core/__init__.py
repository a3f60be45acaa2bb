"""Decisions of guard and of those who hold its leases: no clock, no loop, no wire."""
