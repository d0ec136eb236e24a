"""clipseg-ray: images and queries in, a table of masks out, as if the cluster were not there.

Axis legend for tensor and array names (``logits_bqhw`` is image × query × height × width):

=====  =========================================================
``b``  image in a batch
``q``  query
``p``  (image, query) pair, image-major
``h``  height, ``w`` width (``wh`` is transposed: column-major)
``t``  token of the vision transformer (CLS first)
``d``  channel
``c``  width of a conditional embedding (512 for the released weights)
``n``  byte of a packed bit row
=====  =========================================================
"""

__version__ = "0.1.0"
