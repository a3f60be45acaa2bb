"""Decisions about processes, without processes: no clock, no sockets, no tasks."""
