"""Training on Ray Train: decoder over a frozen CLIP, or a small model from scratch. Run it again to go on.

python jobs/train.py configs/train-demo.yaml -s optimiser.steps=100 -s output.url=trained/try
"""

from clipseg_ray.training.job import main

if __name__ == "__main__":
    main()
