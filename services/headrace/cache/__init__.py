"""The cache: answers that were computed before, on three levels."""
