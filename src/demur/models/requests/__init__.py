"""Requests to an endpoint: what is sent, when it is sent again, and how the reply is read."""
