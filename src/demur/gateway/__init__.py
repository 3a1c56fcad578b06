"""The gateway: an OpenAI-compatible endpoint in front of two or more models, routed by a `demur.Router`.

A request passes through `http` (connections and bodies), `clients` (keys, rates and budgets), `decision` (which model
answers, with the gate) and `upstreams` (requests to the models), and ends in `ledger` (the record of decisions and
costs). `protocols` describes the APIs that are served, `target` holds a budget, share, latency or quality while
requests arrive, `operator` has dashboard, metrics and traces, `learning` what the gateway does for a router that learns
from the traffic. `workers` runs several processes as one service, and `replicas` is what such processes, on one machine
or several, tell each other. `app` connects these, `exchange` holds the records of a request, `settings` the
configuration; `server` runs it.
"""
