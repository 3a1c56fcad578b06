"""What a ledger adds up to: bills, sums per minute and hour, spending per key."""
