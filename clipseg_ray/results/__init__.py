"""The output dataset: its schema, part names, records, resume by listing, and reading back.

``layout`` names every file, ``schema`` every column, ``parts`` writes and lists parts, ``record`` holds what may never
change, ``inputs`` the frozen shard listing, ``sets`` which prompt set owns which query, ``runs`` what each run did,
``completeness`` the final check. ``dataset`` is the door for programs: ``reading`` gives the tables as DuckDB sees
them, ``sql_functions`` its functions, ``mask_pixels`` pixels, ``source_images`` what the masks lie on,
``canned_questions`` and ``sql_answers`` what the command line asks.
"""
