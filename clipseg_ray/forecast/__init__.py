"""``plan --measure``: samples of a run carried out for real, what each step costs, and what the whole will take."""
