"""The gateway: an OpenAI-compatible endpoint in front of a weak and a strong model, routed by a `demur.Router`.

A request passes through `http` (connections and bodies), `keys` (client keys, rates and budgets), `decision` (which
model answers, with the gate) and `upstreams` (requests to the models), and ends in `ledger` (the record of decisions
and costs). `operator` has dashboard, metrics, traces and reload; `workers` runs several processes as one service. `app`
connects these, `exchange` holds the records of a request, `settings` the configuration; `server` runs it.
"""
