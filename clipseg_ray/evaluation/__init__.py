"""How good masks are: metrics over whole sets, truth shards, and the protocols that bring the two together."""
