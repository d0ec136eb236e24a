"""The list: names of its own, changes checked as a table, renamed where others name it, undone step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.errors import UserError
from clipseg_ray.queries.table import from_rows
from clipseg_ray.storage import Store
from clipseg_ray.workbench import keeping
from clipseg_ray.workbench.collection import Collection
from clipseg_ray.workbench.pictures import Pictures
from clipseg_ray.workbench.rows import changed, without_lone_groups


def collection(folder: Path | str = "memory://none") -> Collection:
    pictures = Pictures(Store.of(str(folder)))
    return Collection(
        lambda rows: from_rows(without_lone_groups(rows), 0.5), lambda row, changes: changed(row, changes, pictures)
    )


def filled(*texts: str) -> tuple[Collection, list[str]]:
    made = collection()
    return made, [made.add({"text": text}).uid for text in texts]


def names(made: Collection) -> list[str]:
    return [entry.query_id for entry in made.entries]


def test_queries_get_names_of_their_own() -> None:
    made, uids = filled("a red chair", "a red chair", "Ein Stuhl!")
    assert names(made) == ["a-red-chair", "a-red-chair-2", "ein-stuhl"]
    assert len(set(uids)) == 3


def test_a_query_that_is_renamed_is_named_anew_by_others() -> None:
    made, (chair, _, lamp) = filled("chair", "sofa", "lamp")
    made.change({lamp: {"suppress": ["chair", "sofa"]}})
    made.replace_all([*made.rows, {"query_id": "seat", "expression": 'chair OR "sofa"'}])
    chair = next(entry.uid for entry in made.entries if entry.query_id == "chair")
    made.change({chair: {"query_id": "arm chair"}})
    assert made.rows[2]["suppress"] == ["arm chair", "sofa"]
    assert made.rows[3]["expression"] == '"arm chair" OR sofa'
    assert made.queries()[3].needs == ("arm chair", "sofa")


def test_what_makes_no_table_is_refused_and_changes_nothing() -> None:
    made, (chair, sofa) = filled("chair", "sofa")
    before = made.history
    for changes, says in [
        ({chair: {"query_id": "sofa"}}, "'sofa' is also that of row"),
        ({chair: {"query_id": None}}, "give the query a name"),
        ({chair: {"threshold": 1.5}}, "not between 0 and 1"),
        ({chair: {"threshold": "half"}}, "must be a number"),
        ({chair: {"suppress": ["sofaa"]}}, "sofaa"),
        ({chair: {"suppress": ["sofa"], "group": "g"}}, "a row has one of"),
        ({chair: {"text": None}}, "neither text nor image"),
        ({chair: {"weight": 3}}, "only members of a group"),
        ({chair: {"image": "/etc/passwd"}}, "image: cannot be set here"),
        ({chair: {"mask": "/etc/passwd"}}, "mask: cannot be set here"),
        ({chair: {"picture": {"id": "../../etc/passwd"}}}, "no picture's id"),
        ({chair: {"picture": "/etc/passwd"}}, "must be the id of a picture"),
        ({chair: {"text": "x" * 2001}}, "more than 2,000 characters"),
        ({chair: {"text": {"a": 1}}}, "must be a text"),
        ({"gone": {"kind": "object"}}, "not in the list any more"),
    ]:
        with pytest.raises(UserError, match=says):
            made.change(changes)
    for query in ({}, {"text": " "}, {"kind": "object"}):
        with pytest.raises(UserError):
            made.add(query)
    assert made.history == before
    assert sofa in [entry.uid for entry in made.entries]


def test_several_change_in_one_step() -> None:
    made, (chair, sofa) = filled("chair", "sofa")
    made.change({chair: {"group": "seats"}, sofa: {"group": "seats", "weight": 2}})
    assert [query.group for query in made.queries()] == ["seats", "seats"]
    made.undo()
    assert [query.group for query in made.queries()] == [None, None]
    made.redo()
    made.change({chair: {"group": None}})
    assert made.queries()[0].is_alone


def test_who_is_deleted_suppresses_nobody_and_stays_where_an_expression_needs_it() -> None:
    made, (chair, sofa, lamp) = filled("chair", "sofa", "lamp")
    made.change({lamp: {"suppress": ["chair", "sofa"]}})
    made.delete(chair)
    assert made.rows[1]["suppress"] == ["sofa"]
    made.delete(sofa)
    assert "suppress" not in made.rows[0]
    made.replace_all([*made.rows, {"query_id": "dark", "expression": "NOT lamp"}])
    with pytest.raises(UserError, match="dark is made of lamp"):
        made.delete(made.entries[0].uid)


def test_queries_are_put_in_order_and_members_of_a_group_stand_together() -> None:
    made, (mug, _, chair, sofa) = filled("mug", "cup", "chair", "sofa")
    made.move(sofa, mug)
    assert names(made) == ["sofa", "mug", "cup", "chair"]
    made.move(sofa, None)
    assert names(made) == ["mug", "cup", "chair", "sofa"]
    steps = len(made.history.states)
    for before in (mug, made.entries[1].uid):
        made.move(mug, before)
    assert len(made.history.states) == steps, "where it stands already it does not move"
    made.change({mug: {"group": "g"}, sofa: {"group": "g"}})
    assert names(made) == ["mug", "sofa", "cup", "chair"]
    assert [query.query_id for query in made.queries()] == names(made)
    made.change({chair: {"group": "g"}})
    assert names(made) == ["mug", "sofa", "chair", "cup"]
    made.change({mug: {"group": None}})
    assert names(made) == ["mug", "sofa", "chair", "cup"]
    for uid, before in [("gone", mug), (mug, "gone")]:
        with pytest.raises(UserError, match="not in the list any more"):
            made.move(uid, before)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(["a mug", "a cup", "grass"])),
        st.tuples(st.just("threshold"), st.floats(0.01, 0.99)),
        st.tuples(st.just("group"), st.sampled_from(["g", "h", None])),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("move"), st.integers(0, 9)),
        st.tuples(st.just("undo"), st.none()),
        st.tuples(st.just("redo"), st.none()),
    ),
    max_size=25,
)


@given(STEPS)
def test_any_changes_are_undone_and_done_again_to_what_they_were(steps: list[tuple[str, Any]]) -> None:
    made = collection()
    states, at = [made.rows], 0
    for name, value in steps:
        if name in ("undo", "redo"):
            there = made.undo() if name == "undo" else made.redo()
            wanted = at + (1 if name == "redo" else -1)
            assert there == (0 <= wanted < len(states))
            at = wanted if there else at
        elif name == "add":
            made.add({"text": value})
        elif made.entries:
            uid = made.entries[hash(value) % len(made.entries)].uid
            if name == "delete":
                made.delete(uid)
            elif name == "move":
                made.move(uid, [*(entry.uid for entry in made.entries), None][value % (len(made.entries) + 1)])
            else:
                made.change({uid: {name: value}})
        if name not in ("undo", "redo") and made.rows != states[at]:
            states, at = [*states[: at + 1], made.rows], at + 1
        assert made.rows == states[at]


def test_it_is_kept_with_what_was_undone(tmp_path: Path) -> None:
    made, (chair, _) = filled("chair", 'sofa "\u2028</script>')
    made.change({chair: {"threshold": 0.35, "group": "seats"}})
    made.undo()
    store, view = Store.of(str(tmp_path)), {"text": "x", "active": chair}
    assert keeping.read(store) is None
    keeping.write(store, keeping.Kept(made.history, view, "0" * 64))
    again = keeping.read(store)
    assert again == keeping.Kept(made.history, view, "0" * 64)
    (tmp_path / keeping.FILE).write_text('{"states": []}')
    with pytest.raises(UserError, match=r"list\.json: the kept list cannot be read"):
        keeping.read(store)


def test_each_input_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    places = ["photos", "/elsewhere/photos", "s3://bucket/photos", "a\x00b/../x", "😀"]
    folders = [keeping.folder_of(place) for place in places]
    assert len(set(folders)) == len(places)
    assert all(folder.startswith("/state/clipseg-ray/workbench/") and ".." not in folder for folder in folders)
    assert keeping.folder_of("photos/") == folders[0]


def test_a_painted_mask_has_the_picture_s_size(tmp_path: Path) -> None:
    import io

    import numpy as np
    from PIL import Image

    sink = io.BytesIO()
    Image.new("RGB", (40, 20), (9, 9, 9)).save(sink, "PNG")
    pictures = Pictures(Store.of(str(tmp_path)))
    kept = pictures.keep(sink.getvalue())
    painted_hw = np.zeros((5, 10), bool)
    painted_hw[1:3, 2:7] = True
    flat = painted_hw.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    row = changed({}, {"picture": {"id": kept.id, "painted": {"size": [5, 10], "runs": runs}}}, pictures)
    (query,) = from_rows([row], 0.5, pictures.held([kept.cell]))
    mask_hw = query.supports[0].mask()
    assert mask_hw is not None
    np.testing.assert_array_equal(mask_hw, np.kron(painted_hw, np.ones((4, 4), bool)))
    for wrong in (
        {"size": [5, 10], "runs": [50, 1]},
        {"size": [5, 10], "runs": [-1, 51]},
        {"size": [5, 10], "runs": ["a"]},
        {"size": [10**9, 10**9], "runs": [10**18]},
        {"size": [5], "runs": [5]},
        {"runs": []},
        "x",
    ):
        with pytest.raises(UserError, match="cannot be read"):
            changed({}, {"picture": {"id": kept.id, "painted": wrong}}, pictures)
    whole = changed({}, {"picture": {"id": kept.id}}, pictures)
    assert whole["mode"] == "whole"
    boxed = changed(whole, {"picture": {"id": kept.id, "box": [1, 2, 3, 4]}, "mode": "crop"}, pictures)
    assert (boxed["mask"], boxed["mode"]) == ([1, 2, 3, 4], "crop")
    without = changed({**boxed, "text": "a mug", "alpha": 0.3}, {"picture": None}, pictures)
    assert without == {"text": "a mug"}


def test_what_is_no_picture_is_not_kept(tmp_path: Path) -> None:
    pictures = Pictures(Store.of(str(tmp_path)))
    bomb = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x01\x00\x00\x00\x01\x00\x00\x08\x02\x00\x00\x00"
    for data in (b"", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<!doctype html><script>", bomb):
        with pytest.raises(UserError, match="no picture that can be read"):
            pictures.keep(data)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    for picture_id in ("../list.json", "/etc/passwd", "0" * 64, "", "0" * 63 + "/"):
        with pytest.raises(UserError):
            pictures.data(picture_id)


def test_a_group_is_one_from_its_second_member_on() -> None:
    made, (chair, sofa, lamp) = filled("chair", "sofa", "lamp")
    made.change({chair: {"group": "seats", "weight": 2}})
    assert made.queries()[0].is_alone
    made.change({sofa: {"group": "seats"}})
    assert [query.group for query in made.queries()] == ["seats", "seats", None]
    assert made.queries()[0].weight == 2
    made.change({lamp: {"suppress": ["chair"]}})
    made.delete(sofa)
    assert made.queries()[0].is_alone
    assert made.rows[0]["group"] == "seats", "it waits for another"
