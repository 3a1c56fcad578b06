"""The gateway: an OpenAI-compatible endpoint in front of a weak and a strong one, with a router between.

settings -> wire -> decisions -> upstreams -> ledger, metrics; `app` connects them, `server` runs it.
"""
