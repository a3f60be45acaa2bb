"""headrace.yaml: its schema, and how it is read and judged as a whole."""
