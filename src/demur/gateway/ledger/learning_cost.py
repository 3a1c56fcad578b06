"""What learning's samples have cost, as lines of the ledger of their own."""

from __future__ import annotations

from hashlib import blake2b

from demur.gateway.ledger.ledger import open_backend
from demur.gateway.ledger.record import LedgerRecord

LEARNING = "learning"  # role of a line that no client asked for
REASON = "samples that learning has asked for"


def charge_learning(url: str, usd: float, name: str, at: float) -> None:
    """Write a line of this cost; a line of the same name is written once. Raises StoreError."""
    id = blake2b(name.encode(), digest_size=16).hexdigest()
    line = LedgerRecord(
        *(id, at, "", "", "", "", LEARNING, None, None, REASON, "prompt", 0, False, 200, False, 0, 0, True, usd, 0.0),
        *(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "ok", ""),
    )
    backend = open_backend(url)
    try:
        backend.write([line])
    finally:
        backend.close()
