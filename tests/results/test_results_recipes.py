"""The SQL of docs/querying.md runs, on the views and on nothing but them."""

import re
from pathlib import Path

import duckdb
import pytest

import clipseg_ray

TEXT = (Path(__file__).parents[2] / "docs" / "querying.md").read_text()
RECIPES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)


def for_the_tests(recipe: str) -> str:
    """The recipe over the queries that the small dataset has, without its least counts."""
    pairs = {
        "chair": "circle",
        "person": "sit",
        "sit-on": "sit",
        ">= 10": ">= 1",
        "'cup'": "'circle'",
        "'table'": "'sit'",
    }
    for theirs, ours in pairs.items():
        recipe = recipe.replace(theirs, ours)
    return recipe


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.splitlines()[0][:40])
def test_recipes_run(made, recipe):
    with clipseg_ray.open(made) as masks:
        assert masks.sql(for_the_tests(recipe)).fetchall()


def test_iou_with_nothing_but_sql(made):
    (recipe,) = [recipe for recipe in RECIPES if recipe.startswith("-- iou:")]
    with duckdb.connect() as plain:
        plain.execute(f"CREATE VIEW masks AS SELECT * FROM '{made}/masks/*/*.parquet'")
        found = plain.sql(for_the_tests(recipe)).fetchall()
    with clipseg_ray.open(made) as masks:
        expected = masks.sql(
            "SELECT image_id, mask_iou(a.counts, b.counts) AS iou FROM masks a JOIN masks b USING (image_id) "
            "WHERE a.query_id = 'circle' AND b.query_id = 'sit' AND iou > 0 ORDER BY iou DESC, image_id"
        ).fetchall()
    assert found == [(image, pytest.approx(iou)) for image, iou in expected]
    assert found


def test_every_function_is_described():
    from clipseg_ray.results.sql_functions import FUNCTIONS

    assert all(f"`{name}(" in TEXT for name in FUNCTIONS)
