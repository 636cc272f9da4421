"""What devices send, taken into custody: batches verified, placed in the vault, committed, and only then receipted."""
