"""Sampling both models of a pair: missing samples are requested within a budget and stored."""
