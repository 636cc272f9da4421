"""What is going on now: the ledger and the machine read once, for every reader of pages, streams and terminals."""
