"""Models, batching and execution."""
