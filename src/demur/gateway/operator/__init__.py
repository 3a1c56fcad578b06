"""The operator's side: dashboard, metrics, traces, reload."""
