"""Logits to rows: threshold, score, box, area and COCO run lengths; algebra on run lengths. Knows no files.

What runs where the logits are may use torch; what combines, measures and moves masks as runs does without.
"""
