"""The demo: write shards of pictures and a small checkpoint, run the job on local Ray, ask the masks one question.

make demo        (or: python -m clipseg_ray.demo)
"""

from __future__ import annotations

import sys
from pathlib import Path

from clipseg_ray import config as configuration
from clipseg_ray.demo.checkpoint import write_checkpoint
from clipseg_ray.demo.pictures import write_shards
from clipseg_ray.pipeline import driver
from clipseg_ray.results import reading
from clipseg_ray.storage import Store

FOLDER = Path("demo-output")
QUESTION = """
SELECT query_id, count(*) FILTER (area > 0) AS found_in, count(*) AS images,
       round(avg(coverage), 3) AS mean_coverage, round(max(score), 3) AS best_score
FROM masks GROUP BY query_id ORDER BY found_in DESC, query_id LIMIT 8
"""


def main() -> int:
    """Run the demo in the working directory; 0 when the job was complete."""
    write_shards(FOLDER / "shards", shards=4, images=48)
    write_checkpoint(FOLDER / "checkpoint", image_size=176)
    outcome = driver.run(configuration.load("configs/demo.yaml"), invocation="clipseg-ray run configs/demo.yaml")
    print(outcome.message)
    if outcome.code:
        return outcome.code
    output = FOLDER / "masks"
    print(f"\nDuckDB, over {output}/masks/*/*.parquet:\n{QUESTION}")
    with reading.connect(Store.of(str(output))) as connection:
        connection.sql(QUESTION).show()
    print(
        "The weights of this demo are random: the masks follow picture and query, but mean nothing.\n"
        f"The dataset is in {output}/ . Look again with: .venv/bin/clipseg-ray show {output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
