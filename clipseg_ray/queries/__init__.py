"""The query table: what is asked of every image, read, checked, hashed and turned into prompt sets."""
