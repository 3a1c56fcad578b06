"""The paper's tables and figures again, with every system as a row, from a folder of outcomes and samples.

``reproduce(source)`` makes them; a part whose data are missing becomes a row that says why.
"""

from __future__ import annotations

from demur.reproducing.reproduction import PARTS, Reproduction, reproduce

__all__ = ["PARTS", "Reproduction", "reproduce"]
