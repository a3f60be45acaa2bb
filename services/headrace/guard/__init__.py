"""The guard: rate limits, concurrency limits and circuit breakers, leased to the replicas."""
