"""The commands: one module per group, each of which calls public functions."""
