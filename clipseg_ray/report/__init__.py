"""What people are given to read, look at and train on: the dataset card, the gallery, the exports.

Everything here is made from an output dataset and the images it points to; nothing here computes a mask.
"""
