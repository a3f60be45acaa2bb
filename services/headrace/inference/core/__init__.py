"""Pure decisions of the inference service: no I/O, no clock of their own."""
