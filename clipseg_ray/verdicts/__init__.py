"""What people say of a few images, "there" or "not there", and what follows for all: images found, not pixels."""
