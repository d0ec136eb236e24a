"""``python -m clipseg_ray VERB …``: the command line where its script is not on the PATH, as in a submitted job."""

from clipseg_ray.cli import main

if __name__ == "__main__":
    main()
