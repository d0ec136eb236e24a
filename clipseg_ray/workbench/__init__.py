"""The workbench: a local page on which a query table is found by trying words and pictures on a few of one's images."""
