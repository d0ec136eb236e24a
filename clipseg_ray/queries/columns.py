"""The columns of a query table that mean something; all others are kept as they are."""

COLUMNS = (
    "query_id",
    "kind",
    "text",
    "template",
    "templates",
    "image",
    "mask",
    "mode",
    "alpha",
    "threshold",
    "concept",
    "suppress",
    "group",
    "weight",
    "expression",
    "keep",
)

LISTED = ("text", "template", "templates", "image", "mask", "concept", "alpha", "suppress")
"""Those that may hold several values; in CSV and TSV they are separated by ``|``."""

NUMBERS = ("alpha", "threshold", "weight")
TEXTS = ("query_id", "kind", "mode", "group", "expression")

ASKING = ("text", "image", "expression")
"""A query has one of them, or several."""

MEANT = {
    "text": (
        "prompt", "prompts", "query", "queries", "phrase", "phrases", "caption", "captions", "label", "labels", "name",
        "names", "class", "classes", "category", "categories", "object", "sentence", "word", "words", "description",
    ),
    "image": ("picture", "img", "image_url", "image_path", "file_name", "filename", "path", "url"),
    "query_id": ("id", "key", "queryid"),
}  # fmt: skip
"""Under which names tables have them that were made for something else."""
