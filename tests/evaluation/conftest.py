"""The command line, run in this process as the tests of ``cli`` do."""

from tests.cli.conftest import clipseg_ray  # noqa: F401
