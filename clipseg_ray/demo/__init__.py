"""The embedded default: pictures and a checkpoint made on the spot, so that everything can be tried without network."""
