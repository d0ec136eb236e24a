"""Causes of failed chunks: alike ones counted together, and never more kept than a person reads."""

from clipseg_ray.pipeline.failures import CAUSES, EXAMPLES, Failures


def test_causes_that_differ_in_names_and_numbers_are_one() -> None:
    failures = Failures()
    for i in range(5):
        cause = f"s3://bucket/s-{i:03d}.tar: cannot be reached (timed out after {i} s)"
        failures.add(cause, ("0" * 16, i), f"s-{i:03d}.tar chunk {i}")
    failures.add("query 'chair': logits are not finite on image 'a.jpg'", ("1" * 16, 0), "s-9.tar chunk 0")
    found = failures.as_json()
    assert [(kind["chunks"], len(kind["examples"])) for kind in found] == [(5, EXAMPLES), (1, 1)]
    assert found[0]["cause"].startswith("s3://bucket/s-000.tar: cannot be reached")
    assert failures.count == 6
    assert "after 3 s" in str(failures.cause_of(("0" * 16, 3)))
    assert failures.cause_of(("2" * 16, 0)) is None
    assert failures.unclaimed is None
    failures.add("its worker died")
    assert failures.unclaimed == "its worker died"


def test_a_million_different_causes_stay_few() -> None:
    failures = Failures()
    for i in range(20_000):
        failures.add("".join(chr(97 + i // 26**k % 26) for k in range(3)), (f"{i:016x}", 0), f"chunk {i}")
    found = failures.as_json()
    assert len(found) <= CAUSES + 1
    assert sum(kind["chunks"] for kind in found) == failures.count == 20_000
