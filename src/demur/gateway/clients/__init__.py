"""Client keys with their rates and budgets, and what each has spent."""
