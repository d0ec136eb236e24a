"""The Ray Data job.

``plan`` says what is to be done, without Ray; ``reader`` and ``segmenter`` do the two steps of a chunk, without Ray;
``datasource`` and ``graph`` put them on a cluster; ``settle`` writes down what a plan decides, ``execute`` passes over
the graph until nothing is missing, ``progress`` reports how far it is; ``driver`` is the whole run.
"""
