"""Pure decisions of insight: no I/O, no clock of their own."""
