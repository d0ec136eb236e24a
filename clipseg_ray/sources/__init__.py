"""Where images come from: listing, chunking, and one module per input format."""
