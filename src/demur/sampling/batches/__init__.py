"""Samples by a batch API: its requests in files, sent and read back, at a lower price."""
