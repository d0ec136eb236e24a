"""Logits to rows: threshold, score, box, area and COCO run lengths; algebra on run lengths. Knows no files.

``threshold`` and ``heat`` run where the logits are, ``rle`` and ``resize`` encode on the host, ``columns`` makes Arrow
columns. ``algebra`` combines and measures masks as runs, ``moving`` makes them at other thresholds, both without torch.
"""
