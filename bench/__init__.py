"""Benchmarks that print figures against frozen floors; `python -m bench`."""
