"""The paper's tables and figures again, with every system as a row, from a folder of outcomes and samples.

`reproduction.reproduce` makes them; a part whose data are missing becomes a row that says why.
"""
