"""What the systems of the paper learn from: battles, the authors' labels, a run's own, peers."""
