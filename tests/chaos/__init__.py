"""Faults under load, everything that callers saw of them, and the proof that it was all right."""
