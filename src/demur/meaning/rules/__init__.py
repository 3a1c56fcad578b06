"""What an answer says, read by rule: its final answer, numbers, dates, names, code, and whether two say the same."""
