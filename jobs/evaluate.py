"""The evaluation job: the same as ``clipseg-ray evaluate``, for ``ray job submit -- python jobs/evaluate.py CONFIG``.

python jobs/evaluate.py configs/evaluate-scenes.yaml -s threshold=0.5 -s tune=
"""

import sys

from clipseg_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "evaluate")
    main()
