"""What one event and one batch hold at the most.

With `prices.MAX_PRICE` they keep every sum of a batch within 64 bits: an event
costs less than 1.3e15 nano-units, 4096 of them less than 5.4e18, and 2^63 is
9.2e18 (`tests/unit/metering/core/test_pricing.py` computes it).
"""

MAX_EVENTS = 4096
MAX_TIME_NS = 2**48
"""78 hours."""
MAX_BYTES = 2**36
"""64 GiB."""
MAX_STORED_MS = 2**35
"""397 days."""
MAX_TIME_MS = 2**47
"""The year 6429."""
MAX_NAME_BYTES = 1024
"""Of tenant, model and version together, in UTF-8."""
