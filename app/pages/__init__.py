"""One screen, one file; no page imports another."""
