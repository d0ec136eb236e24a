import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from clipseg_ray import yaml_text
from clipseg_ray.errors import UserError
from clipseg_ray.queries.naming import set_name
from clipseg_ray.queries.table import from_texts, load_queries
from clipseg_ray.queries.table_file import shipped_tables
from clipseg_ray.storage import Store

ROWS = [
    {"text": ["something to sit on", "a chair"], "kind": "affordance", "template": ["shuffle"]},
    {"text": ["dog"], "threshold": 0.3, "template": ["plain", "the {} there"], "concept": ["dog", "puppy"]},
    {"query_id": "mug", "text": ["mug"], "image": ["cup.png"], "mask": ["cup-mask.png"], "alpha": 0.25},
    {"image": ["cup.png"], "mask": ["cup-mask.png"], "mode": "highlight", "kind": "object"},
]


def write_csv(path: Path, rows: list[dict]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            cells = [row.get(column, "") for column in columns]
            writer.writerow(["|".join(map(str, cell)) if isinstance(cell, list) else cell for cell in cells])
    return str(path)


def write_parquet(path: Path, rows: list[dict]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    pq.write_table(pa.table({column: [row.get(column) for row in rows] for column in columns}), path)
    return str(path)


def write_yaml(path: Path, rows: list[dict]) -> str:
    path.write_text(yaml_text.dump(rows))
    return str(path)


def write_jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


FORMATS = {"csv": write_csv, "parquet": write_parquet, "yaml": write_yaml, "jsonl": write_jsonl}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same_queries(picture_folder, format):
    queries = load_queries(FORMATS[format](picture_folder / f"table.{format}", ROWS), None, 0.5)
    assert [query.kind for query in queries] == ["affordance", "phrase", "phrase", "object"]
    chair, dog, mug, cup = queries
    assert chair.query_id == "something-to-sit-on"
    assert len(chair.prompts) == 2 * 4
    assert "a photograph of a something to sit on." in chair.prompts
    assert dog.prompts == ("dog", "the dog there")
    assert dog.threshold == 0.3
    assert dog.concept == ("dog", "puppy")
    assert mug.query_id == "mug"
    assert (mug.alpha, cup.alpha, dog.alpha) == (0.25, None, None)
    assert (mug.picture_share, cup.picture_share, dog.picture_share) == (0.25, 1, 0)
    assert str(mug.mode) == "crop_blur_highlight(background=0.1, context=0.1, sigma=3.0)"
    assert str(cup.mode) == "highlight(background=0.15, sigma=0.0)"
    assert mug.supports == cup.supports
    assert mug.supports[0].mask().sum() == 120


def test_both_text_and_picture_without_alpha_are_half_and_half(picture_folder):
    table = write_jsonl(picture_folder / "t.jsonl", [{"text": "mug", "image": "cup.png", "mask": "cup-mask.png"}])
    assert load_queries(table, None, 0.5)[0].alpha == 0.5


def test_a_list_of_alphas_makes_one_query_each(picture_folder):
    row = {"text": ["mug"], "image": ["cup.png"], "mask": ["cup-mask.png"], "alpha": [0.25, 0.75]}
    named, unnamed = (
        load_queries(write_csv(picture_folder / "t.csv", [row | extra]), None, 0.5)
        for extra in ({"query_id": "mug"}, {})
    )
    assert [query.query_id for query in named] == ["mug@0.25", "mug@0.75"]
    assert [query.alpha for query in named] == [0.25, 0.75]
    assert len({query.digest() for query in named}) == 2
    base = unnamed[0].query_id.removesuffix("@0.25")
    assert unnamed[1].query_id == f"{base}@0.75"


def test_mask_as_file_rle_or_box_is_the_same_mask(picture_folder):
    lengths = [8 * 30 + 6]
    for _ in range(11):
        lengths += [10, 20]
    lengths += [10, 30 * 40 - sum(lengths) - 10]
    packed = coco_mask.frPyObjects({"size": [30, 40], "counts": lengths}, 30, 40)["counts"].decode()
    masks = ["cup-mask.png", [8, 6, 12, 10], {"size": [30, 40], "counts": lengths}]
    masks += [{"size": [30, 40], "counts": packed}, json.dumps({"size": [30, 40], "counts": packed})]
    rows = [{"query_id": str(n), "image": "cup.png", "mask": mask} for n, mask in enumerate(masks)]
    queries = load_queries(write_jsonl(picture_folder / "t.jsonl", rows), None, 0.5)
    assert len({query.digest() for query in queries}) == 1
    csv_rows = [{"image": ["cup.png", "cup.png"], "mask": ["cup-mask.png", json.dumps([8, 6, 12, 10])]}]
    (pair,) = load_queries(write_csv(picture_folder / "t.csv", csv_rows), None, 0.5)
    assert pair.supports == (queries[0].supports[0],) * 2


def test_further_columns_are_kept(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,priority,code,note\ndog,1,007,good\ncat,2,008,\n")
    dog, cat = load_queries(str(table), "priority >= 1 AND code LIKE '00%'", 0.5)
    assert dog.columns == {"priority": 1, "code": "007", "note": "good"}
    assert cat.columns == {"priority": 2, "code": "008"}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("where", "count"),
    [("kind = 'affordance'", 1), ("threshold < 0.4", 1), ("concept LIKE '%puppy%'", 1), ("kind = 'phrase'", 2)],
)
def test_where_means_the_same_in_every_format(picture_folder, format, where, count):
    table = FORMATS[format](picture_folder / f"table.{format}", ROWS)
    assert len(load_queries(table, where, 0.5)) == count


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "knd = 'object'",
            "queries.where: knd = 'object': no column 'knd'; did you mean kind? The columns are text, kind",
        ),
        ("kind = ", "queries.where: kind = : Parser Error"),
        ("threshold > 'high'", "Conversion Error"),
        ("kind = 'nothing'", "holds for none of the 76 rows"),
        ("kind = object", "a text needs single quotes"),
        ("kind IN (SELECT content FROM read_text('/etc/hostname'))", "Permission Error"),
    ],
)
def test_bad_conditions(where, message, tmp_path):
    table = write_jsonl(tmp_path / "t.jsonl", [{"text": f"a {n}", "kind": "x", "threshold": 0.5} for n in range(76)])
    with pytest.raises(UserError) as caught:
        load_queries(table, where, 0.5)
    assert message in str(caught.value)


def test_reads_any_url(picture_folder):
    store = Store.of("memory://queries-test")
    for name in ("cup.png", "cup-mask.png"):
        store.put(name, (picture_folder / name).read_bytes())
    local = write_jsonl(picture_folder / "t.jsonl", ROWS)
    store.put("t.jsonl", Path(local).read_bytes())
    here, there = (load_queries(url, None, 0.5) for url in (local, "memory://queries-test/t.jsonl"))
    assert set_name(here) == set_name(there)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "not found"),
        ("t.doc", "text\ndog\n", "cannot infer the table's format from .doc; name it .csv, .jsonl"),
        ("t.csv", "text\n", "the table has no rows"),
        ("t.csv", "text,kind\na,b,c\n", "row 1 has 3 cells, the header 2"),
        ("t.csv", "text,text\na,b\n", "two columns are named 'text'"),
        ("t.yaml", "text: dog\n", "the table is a list of queries"),
        ("t.yaml", "- [dog\n", "cannot be read as yaml"),
        ("t.jsonl", '{"text": "dog"}\n"cat"\n', "row 2 is no mapping"),
        ("t.parquet", "nonsense", "cannot be read as parquet"),
    ],
)
def test_unreadable_tables(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        load_queries(str(tmp_path / name), None, 0.5)
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_unknown_shipped_table():
    with pytest.raises(
        UserError, match=r"builtin:afordances: no shipped query table .* did you mean builtin:affordances"
    ):
        load_queries("builtin:afordances", None, 0.5)


def test_shipped_tables():
    assert shipped_tables() == ["affordances", "coco_objects", "demo", "properties"]
    tables = {name: load_queries(f"builtin:{name}", None, 0.5) for name in shipped_tables()}
    demo = tables.pop("demo")
    every = [query for queries in tables.values() for query in queries]
    assert len({query.query_id for query in every}) == len(every)
    assert len({query.digest() for query in every}) == len(every)
    known = {(query.query_id, query.texts) for query in every}
    assert {
        (query.query_id, query.texts) for query in demo if query.kind in ("affordance", "attribute", "part")
    } <= known
    assert {"picture prompt", "hybrid"} <= {query.kind for query in demo}
    assert len(tables["coco_objects"]) == 80
    own = [query for query in every if query.columns.get("source") == "own"]
    assert len(own) >= 150
    assert {"affordance", "material", "state", "part", "texture", "place", "living"} <= {query.kind for query in own}
    paper = {query.texts[0]: query for query in every if query.columns.get("source") == "paper"}
    assert set(paper) == {
        "sit on", "drink from", "ride on", "can fly", "can be driven", "can swim",
        "has wheels", "has legs", "has ears",
    }  # fmt: skip
    assert paper["drink from"].concept == (
        "bottle", "beer_bottle", "water_bottle", "wine_bottle", "thermos_bottle",
    )  # fmt: skip
    assert len(paper["has legs"].concept) == 33
    assert set(paper["sit on"].concept) < set(paper["has legs"].concept)


def test_inline_texts():
    dog, cat = from_texts(["dog", " cat "], 0.4)
    assert (dog.prompts, dog.threshold, cat.texts) == (("dog",), 0.4, ("cat",))
    with pytest.raises(UserError, match="row 2, text: is empty"):
        from_texts(["dog", " "], 0.5)


words = st.text(st.characters(codec="utf-8", exclude_characters="|\0\r\n", exclude_categories=("C", "Z")), min_size=1)
rows = st.fixed_dictionaries(
    {"text": st.lists(words, min_size=1, max_size=3)},
    optional={
        "template": st.lists(st.sampled_from(["plain", "fixed", "shuffle+", "my {}"]), min_size=1, max_size=2),
        "threshold": st.floats(0.01, 0.99),
        "kind": words,
    },
)
tables = st.lists(
    rows, min_size=1, max_size=5, unique_by=lambda row: (*row["text"], "/", *row.get("template", ["plain"]))
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), table=tables)
def test_name_ignores_order_format_and_unrelated_columns(tmp_path, data, table):
    names = {
        set_name(load_queries(write(tmp_path / f"a.{format}", rows), None, 0.5))
        for format, write in FORMATS.items()
        for rows in (
            table,
            [row | {"colour": index} for index, row in enumerate(data.draw(st.permutations(table)))],
        )
    }
    assert len(names) == 1


CHANGES = {
    "text": lambda row: row | {"text": [*row["text"], "x"]},
    "template": lambda row: row | {"template": "fixed"},
    "threshold": lambda row: row | {"threshold": 0.51},
    "alpha": lambda row: row | {"alpha": 0.6},
    "mode": lambda row: row | {"mode": "crop"},
    "mode parameter": lambda row: row | {"mode": "crop_blur_highlight(background=0.11)"},
    "picture": lambda row: row | {"image": "other.png"},
    "mask": lambda row: row | {"mask": [8, 6, 12, 11]},
    "supports": lambda row: row | {"image": ["cup.png"] * 2, "mask": ["cup-mask.png"] * 2},
    "no picture": lambda row: {key: row[key] for key in ("query_id", "text")},
    "id": lambda row: row | {"query_id": "other"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_name_changes_with_whatever_changes_a_mask(picture_folder, change):
    row = {"query_id": "mug", "text": ["mug"], "image": "cup.png", "mask": "cup-mask.png"}
    before, after = (
        set_name(load_queries(write_jsonl(picture_folder / "t.jsonl", [version]), None, 0.5))
        for version in (row, CHANGES[change](row))
    )
    assert before != after


def test_name_ignores_what_changes_no_mask(picture_folder):
    row = {"query_id": "mug", "text": ["mug"], "image": "cup.png", "mask": "cup-mask.png"}
    spelled_out = {
        "template": "{}", "alpha": 0.5, "threshold": 0.5, "mode": "crop_blur_highlight(sigma=3)",
        "kind": "cup", "concept": "mug", "note": 1, "mask": [8, 6, 12, 10],
    }  # fmt: skip
    names = {
        set_name(load_queries(write_jsonl(picture_folder / "t.jsonl", [version]), None, 0.5))
        for version in (row, row | spelled_out)
    }
    assert len(names) == 1


def test_an_id_does_not_depend_on_the_threshold():
    (low,), (high,) = from_texts(["dog"], 0.2), from_texts(["dog"], 0.8)
    assert low.query_id == high.query_id
    assert low.digest() != high.digest()
