"""How right each model is believed to be by the samples of both, without labels; where samples do not show it."""
