"""The training job: the same as ``clipseg-ray train``, for ``ray job submit -- python jobs/train.py CONFIG``.

python jobs/train.py configs/train-scenes.yaml -s optimiser.steps=100 -s output.url=trained/try
"""

import sys

from clipseg_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
