"""The embedded default: images and a checkpoint made on the spot, so that everything can be tried without network."""
