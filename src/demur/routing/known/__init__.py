"""The prompts that a router's scores hold for: their lengths, their languages, and those that could not be labelled."""
