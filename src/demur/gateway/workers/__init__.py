"""Several processes as one service, and what they share."""
