"""The run folder: an open run, its record, what was made from what, and checks before a run starts."""
