"""A first configuration, drafted from what an input shows of itself."""
