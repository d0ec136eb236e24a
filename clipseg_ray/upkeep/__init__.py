"""What works on a finished dataset: verify, compact, rethreshold."""
