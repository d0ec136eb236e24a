"""Published tables: measured again with a checkpoint and the data as it was released, and laid beside the numbers."""
