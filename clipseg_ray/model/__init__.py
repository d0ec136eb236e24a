"""CLIPSeg itself: checkpoints, the encoder, the decoder and what makes them quick. Knows no dataset and no Ray."""
