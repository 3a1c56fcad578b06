"""The paper's experiment on a run's own pair: test sets beside the training mix, their grades, the sweep over tau."""
