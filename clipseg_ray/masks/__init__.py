"""Logits to rows: threshold, score, box, area and COCO run lengths. Knows no files.

``threshold`` runs where the logits are, ``rle`` and ``resize`` encode on the host, ``columns`` makes Arrow columns.
"""
