"""Encoded image bytes to uint8 RGB at the model's input size."""
