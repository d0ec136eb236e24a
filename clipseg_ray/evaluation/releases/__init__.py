"""Data sets as their authors release them, read as truth: one module for each format."""
