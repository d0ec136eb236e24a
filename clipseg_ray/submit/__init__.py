"""A run handed to the job server of a Ray cluster, and followed there."""
