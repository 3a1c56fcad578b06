"""Samples of a run by batches: by files that the user sends, or by an API that is waited for."""
