"""Training: images with true masks in, a checkpoint that transformers loads out."""
