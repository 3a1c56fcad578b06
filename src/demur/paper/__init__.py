"""Computes the paper's tables and figures, one row per system, from a folder of outcomes and samples.

`reproduction.reproduce` runs all parts; a part whose data are missing becomes a row with the reason.
"""
