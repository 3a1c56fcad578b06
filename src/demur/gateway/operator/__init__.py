"""What the operator sees and may do: dashboard, metrics, traces, reload."""
