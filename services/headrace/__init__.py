"""Headrace, an AI inference mesh."""

__version__ = "0.1.0"
