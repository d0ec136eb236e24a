"""The main job: the same run as ``clipseg-ray run``, for ``ray job submit -- python jobs/segment.py CONFIG``.

python jobs/segment.py configs/s3.yaml -s masks.threshold=0.4
"""

import sys

from clipseg_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "run")
    main()
