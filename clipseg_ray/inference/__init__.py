"""Images and queries in, rows of masks out, in one process: what a run's actors and a single picture share."""
