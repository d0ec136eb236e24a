"""The best threshold of each query of a table, by truth or by verdicts."""
