import pytest

from clipseg_ray.report.status_text import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "?"),
        (0, "0m00s"),
        (127.4, "2m07s"),
        (3 * 3600 + 5 * 60, "3h05m"),
        (86399, "23h59m"),
        (52 * 3600, "2d04h"),
    ],
)
def test_durations_have_two_units(seconds, said):
    assert duration(seconds) == said
