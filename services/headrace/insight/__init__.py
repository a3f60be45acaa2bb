"""Traces: receives them, keeps them bounded, answers questions about them."""
