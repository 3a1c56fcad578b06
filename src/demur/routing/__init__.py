"""The prompt router: training it, deciding with it, saving and loading it."""
