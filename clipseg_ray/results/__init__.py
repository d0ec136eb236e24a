"""The output dataset: its schema, part names, records, resume by listing, and reading back.

``layout`` names every file, ``schema`` every column, ``parts`` writes and lists parts, ``record`` holds what may never
change, ``inputs`` the frozen shard listing, ``sets`` which prompt set owns which query, ``runs`` what each run did,
``completeness`` the final check, ``reading`` the tables as DuckDB sees them.
"""
