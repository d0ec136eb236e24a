"""How much of an image a query covers, as one number a query."""

MEAN_COVERAGE = "avg(coverage) FILTER (area > 0)"
"""SQL over rows of ``masks``: the mean coverage (0 to 1) of the images in which a query was found; null where in none.

Over all rows it would be another number where ``masks.keep_empty: false`` left out the empty ones, of the same masks.
"""
