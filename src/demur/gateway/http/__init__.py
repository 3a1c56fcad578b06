"""Clients' side of the gateway: connections, and the protocol as far as it must be read."""
