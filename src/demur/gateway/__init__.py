"""The gateway: an OpenAI-compatible endpoint in front of a weak and a strong model, routed by a `demur.Router`.

A request passes through `http` (connections and bodies), `clients` (keys, rates and budgets), `decision` (which model
answers, with the gate) and `upstreams` (requests to the models), and ends in `ledger` (the record of decisions and
costs). `operator` has dashboard, metrics and traces; `learning` what serves a router that learns from the traffic;
`workers` runs several processes as one service. `app` connects these, `exchange` holds the records of a request,
`settings` the configuration; `server` runs it.
"""
