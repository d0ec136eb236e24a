"""A few photos and a few prompts tried in seconds: a table, and pictures or a page to look at. No Ray."""
