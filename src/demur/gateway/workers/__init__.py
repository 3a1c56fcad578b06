"""Several processes as one service, and the state that they share."""
