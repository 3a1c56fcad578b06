"""Sampling both models of a pair: what is missing is asked for, within a budget, and kept."""
