"""The run folder: what a run was made from, and checks before it starts."""
