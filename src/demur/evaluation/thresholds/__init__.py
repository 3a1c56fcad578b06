"""The threshold of a saved router: by share, by money, by quality or with a guarantee."""
