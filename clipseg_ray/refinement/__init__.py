"""A dataset of some (image, query) pairs of another, computed with finer settings: what they are, and the job."""
