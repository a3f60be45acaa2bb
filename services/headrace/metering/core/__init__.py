"""Pure decisions of metering: no I/O, no clock of their own."""
