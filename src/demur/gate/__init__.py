"""The gate: a check on the weak model's answer after it is generated, learned without labels."""
