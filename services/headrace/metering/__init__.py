"""Metering: what every request cost, from usage events to a ledger that balances."""
