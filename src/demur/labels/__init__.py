"""From samples, grades, files or judges to training targets: uncertainty measures and preferences."""
