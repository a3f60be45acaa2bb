"""What executes models: one module per kind."""
