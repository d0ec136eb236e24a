import io
import json

import numpy as np
import pytest
from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.queries.table import from_texts, load_queries

CUP = {"image": "cup.png", "mask": "cup-mask.png"}


def message_of(folder, rows) -> str:
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError) as caught:
        load_queries(str(table), None, 0.5)
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": 42}, "row 2, text: must be a text or a list of texts, not number 42"),
        ({"text": ["dog", None]}, "row 2, text: must be a text, not NoneType None"),
        ({"text": "dog", "kind": 3}, "row 2, kind: must be a text, not number 3"),
        ({"text": "dog", "query_id": [1]}, "row 2, query_id: must be a text, not list [1]"),
        ({"text": "dog", "threshold": "high"}, "row 2, threshold: must be a number, not text 'high'"),
        ({"text": "dog", "threshold": True}, "row 2, threshold: must be a number, not true or false True"),
        ({"text": "dog", "concept": 1}, "row 2, concept: must be a text or a list of texts, not number 1"),
        ({"text": ""}, "row 2, text: is empty"),
        ({"text": ["dog", "  "]}, "row 2, text: is empty"),
        ({"text": []}, "row 2, text: is an empty list"),
        ({"kind": "object"}, "row 2, text: neither text nor image is given; a query needs one of them"),
        ({"image": "gone.png", "mask": [0, 0, 9, 9]}, "row 2, image: {folder}/gone.png: no such file"),
        ({"image": "cup.png", "mask": "gone.png"}, "row 2, mask: {folder}/gone.png: no such file"),
        ({"image": "foo://a/b.png", "mode": "whole"}, "row 2, image: foo://a/b.png: no file system for 'foo://' here"),
        ({"image": "text.png", "mask": [0, 0, 9, 9]}, "row 2, image: picture {folder}/text.png cannot be decoded"),
        ({"image": "cup.png", "mask": "text.png"}, "row 2, mask: mask text.png cannot be decoded"),
        ({"image": "cup.png", "mask": "mask.jpg"}, "row 2, mask: mask mask.jpg is a JPEG, which has no exact edges"),
        (
            {"image": "cup.png", "mask": "wide.png"},
            "row 2, mask: mask wide.png is 50×30 pixels (width×height), its picture 40×30; they must be of one size",
        ),
        ({"image": "cup.png", "mask": {"size": [30, 50], "counts": [9, 1491]}}, "is 50×30 pixels (width×height)"),
        ({"image": "cup.png", "mask": {"size": [30, 40], "counts": [9, 9]}}, "no valid COCO RLE (its runs cover 18"),
        ({"image": "cup.png", "mask": {"size": [30, 40], "counts": "P"}}, "(its counts are no runs of 30×40 pixels)"),
        ({"image": "cup.png", "mask": {"size": [30, 40], "counts": "é|"}}, "(its counts are no runs of 30×40 pixels)"),
        ({"image": "cup.png", "mask": "[1, 2"}, "row 2, mask: [1, 2 is neither a path, a COCO RLE nor a box"),
        ({"image": "cup.png", "mask": [1, 2, 3]}, "row 2, mask: a box is [x, y, w, h], not [1, 2, 3]"),
        ({"image": "cup.png", "mask": [0, 0, float("inf"), 9]}, "row 2, mask: a box is [x, y, w, h] in pixels"),
        ({"image": "cup.png", "mask": [0, 0, float("nan"), 9]}, "row 2, mask: a box is [x, y, w, h] in pixels"),
        (
            {"image": "cup.png", "mask": {"size": [10**6, 10**6], "counts": [10, 10**12 - 10]}},
            "is 1000000×1000000 pixels (width×height), its picture 40×30",
        ),
        ({"image": "cup.png", "mask": True}, "row 2, mask: a mask is a path, a COCO RLE"),
        ({"image": "cup.png", "mask": "black.png"}, "row 2, mask: mask black.png is empty: it marks nothing"),
        ({"image": "cup.png", "mask": [60, 60, 5, 5]}, "row 2, mask: mask [60.0, 60.0, 5.0, 5.0] is empty"),
        ({"text": "cup", "mask": "cup-mask.png"}, "row 2, mask: a mask is given without an image"),
        ({"image": "cup.png"}, "row 2, mask: mode crop_blur_highlight needs a mask; give one, or set mode to 'whole'"),
        ({"image": ["cup.png"] * 2, "mask": "cup-mask.png"}, "row 2, mask: 1 masks for 2 images; give one each"),
        ({"text": "cat"}, "is also that of row 1; give each query its own"),
        ({"query_id": "dog", "text": "dog"}, "row 3, query_id: 'dog' is also that of row 2; give each query its own"),
        ({"text": "cup", **CUP, "alpha": 1.5}, "row 2, alpha: 1.5 is not within 0…1 (the share of the image)"),
        ({"text": "cup", **CUP, "alpha": [0.5, -1]}, "row 2, alpha: -1 is not within 0…1"),
        ({"text": "cup", **CUP, "alpha": [0.5, 0.5]}, "the query 'cup@0.5' twice"),
        ({"text": "cup", "alpha": 0.5}, "row 2, alpha: blends text and image, but only one of them is given"),
        ({"text": "dog", "threshold": 0}, "row 2, threshold: 0 is not between 0 and 1, both excluded"),
        ({"text": "dog", "threshold": 1.0}, "row 2, threshold: 1 is not between 0 and 1, both excluded"),
        ({**CUP, "mode": "crop_blur_higlight"}, "'crop_blur_higlight' is no mode; did you mean 'crop_blur_highlight'?"),
        ({**CUP, "mode": "crop(contxt=1)"}, "mode crop has no parameter 'contxt'; did you mean 'context'?"),
        ({**CUP, "mode": "crop(background=2)"}, "mode crop: background=2 is not between 0 and 1"),
        ({**CUP, "mode": "crop(sigma=much)"}, "mode crop: sigma=much is not a number"),
        ({**CUP, "mode": "outline_red(width=2.5)"}, "width=2.5 is not a whole number of pixels"),
        (
            {"text": "dog", "template": "shufle"},
            "row 2, template: 'shufle' is no template set, and has no {{}} for the text; did you mean 'shuffle'?",
        ),
        ({"text": "dog", "treshold": 0.4}, "column 'treshold': unknown; did you mean 'threshold'?"),
        ({"text": "dog", "Kind": "object"}, "column 'Kind': unknown; did you mean 'kind'?"),
        ({"text": "dog", "template": "plain", "templates": "fixed"}, "mean the same; keep one of them"),
    ],
)  # fmt: skip
def test_every_fault_is_named(picture_folder, row, message):
    (picture_folder / "text.png").write_text("no picture")
    Image.fromarray(np.full((30, 50), 255, np.uint8)).save(picture_folder / "wide.png")
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(picture_folder / "black.png")
    Image.fromarray(np.full((30, 40), 255, np.uint8)).save(picture_folder / "mask.jpg")
    rows = [{"text": "cat"}, row]
    if row.get("query_id") == "dog":
        rows.append(row | {"text": "a dog"})
    found = message_of(picture_folder, rows)
    assert message.format(folder=picture_folder) in found
    assert "table.jsonl: 1 fault (rows are counted from 1, without the header):" in found


def test_all_faults_come_at_once_in_order(picture_folder):
    rows = [
        {"text": "dog", "threshold": 7, "alpha": "x"},
        {"text": "cat"},
        {"image": "gone.png", "mask": "gone-mask.png", "treshold": 1},
        {"query_id": "x", "text": "dog"},
        {"query_id": "x", "text": "cat"},
    ]
    first, *listed = message_of(picture_folder, rows).splitlines()
    assert "6 faults" in first
    assert [line.split(":")[0].strip() for line in listed] == [
        "column 'treshold'",
        "row 1, alpha",
        "row 1, threshold",
        "row 3, image",
        "row 3, mask",
        "row 5, query_id",
    ]


def test_wrong_cells_in_csv_are_found_too(tmp_path):
    (tmp_path / "t.csv").write_text("text,threshold,alpha\ndog,0.5,\ncat,high,\n,,\n  ,0.2,\na|,,\n")
    with pytest.raises(UserError) as caught:
        load_queries(str(tmp_path / "t.csv"), None, 0.5)
    assert str(caught.value).splitlines()[1:] == [
        "  row 2, threshold: must be a number, not text 'high'",
        "  row 3, text: neither text nor image is given; a query needs one of them",
        "  row 4, text: is empty",
        "  row 5, text: is empty",
    ]


def test_rows_left_out_need_no_pictures(picture_folder):
    table = picture_folder / "t.jsonl"
    rows = [{"text": "dog", "kind": "a"}, {"image": "gone.png", "mask": [1, 1, 2, 2], "kind": "b"}]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(load_queries(str(table), "kind = 'a'", 0.5)) == 1
    with pytest.raises(UserError, match=r"row 2, image: .*no such file"):
        load_queries(str(table), "kind = 'b'", 0.5)


def test_brackets_in_a_file_name_are_just_that(picture_folder):
    (picture_folder / "cup.png").rename(picture_folder / "cup[1].png")
    (picture_folder / "cup1.png").write_text("another file")
    table = picture_folder / "t.jsonl"
    table.write_text(json.dumps({"image": "cup[1].png", "mask": "cup-mask.png"}))
    assert len(load_queries(str(table), None, 0.5)) == 1


@pytest.mark.parametrize("column", ["model", "text_en", "image_id", "texture", "context", "colour"])
def test_columns_of_ones_own_are_welcome(tmp_path, column):
    (tmp_path / "t.csv").write_text(f"text,{column}\ndog,x\n")
    (query,) = load_queries(str(tmp_path / "t.csv"), None, 0.5)
    assert query.columns == {column: "x"}


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_mask_files_of_every_kind(picture_folder, mode):
    marked_hw = np.zeros((30, 40), bool)
    marked_hw[6:16, 8:20] = True
    if mode == "I;16":
        image = Image.fromarray(marked_hw.astype(np.uint16))  # as low as 1 of 65535
    elif mode == "P":
        image = Image.fromarray(marked_hw.astype(np.uint8))
        image.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white, index 1 black: the index counts
    else:
        image = Image.fromarray(marked_hw.astype(np.uint8) * 255).convert(mode)
    image.save(picture_folder / "mask.png")
    table = picture_folder / "t.jsonl"
    table.write_text(json.dumps({"image": "cup.png", "mask": "mask.png"}))
    (query,) = load_queries(str(table), None, 0.5)
    np.testing.assert_array_equal(query.supports[0].mask(), marked_hw)


def test_a_turned_photo_takes_a_mask_of_its_upright_size(tmp_path):
    photo = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    photo.save(data, "JPEG", exif=exif)
    (tmp_path / "photo.jpg").write_bytes(data.getvalue())
    Image.fromarray(np.full((30, 20), 255, np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": "photo.jpg", "mask": "mask.png"}))
    (query,) = load_queries(str(tmp_path / "t.jsonl"), None, 0.5)
    assert (query.supports[0].height, query.supports[0].width) == (30, 20)


def test_a_fault_hides_none_in_the_rows_pictures_or_its_name(picture_folder):
    rows = [
        {"query_id": "a", "image": "gone.png", "mode": "whole", "threshold": 7},
        {"query_id": "a", "image": ["cup.png", "gone.png"], "mask": "cup-mask.png"},
    ]
    assert message_of(picture_folder, rows).splitlines()[1:] == [
        "  row 1, threshold: 7 is not between 0 and 1, both excluded",
        f"  row 1, image: {picture_folder}/gone.png: no such file",
        "  row 2, mask: 1 masks for 2 images; give one each",
        f"  row 2, image: {picture_folder}/gone.png: no such file",
        "  row 2, query_id: 'a' is also that of row 1; give each query its own",
    ]


def test_rows_whose_pictures_are_missing_are_not_called_equal(picture_folder):
    rows = [{"image": "gone.png", "mode": "whole"}, {"image": "lost.png", "mode": "whole"}]
    message = message_of(picture_folder, rows)
    assert "2 faults" in message
    assert "query_id" not in message


@pytest.mark.parametrize("name", ["from:caption", "from:", "phrase-0123456789abcdef", "phrase-book"])
def test_ids_that_stand_for_phrases_of_images_are_refused(tmp_path, name):
    message = message_of(tmp_path, [{"text": "dog", "query_id": name}])
    assert f"query_id: '{name}' begins as the ids of phrases do" in message


def test_no_name_that_is_made_stands_for_phrases_of_images():
    for text in ("phrase", "Phrase book", "phrase-0123456789abcdef", "from:caption"):
        (query,) = from_texts([text], 0.5)
        assert not query.query_id.startswith(("phrase-", "from:"))
