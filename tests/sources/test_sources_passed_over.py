"""Nothing in the input is passed over without a count."""

import json
from pathlib import Path

import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.pixels import kinds
from clipseg_ray.sources import overlap, passed_over
from clipseg_ray.sources.listing import discover


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def line(folder: Path, format: str | None = None) -> str:
    listing = discover([str(folder)], format)
    return "\n".join(passed_over.lines(listing.passed))


def test_a_phones_folder(tmp_path: Path) -> None:
    write(tmp_path, "1.jpg", "2.JPG", "7.DNG", "8.mp4", "9.jp2", "10.svg", "x.txt", "y.txt", "noending", "x.jpg.1")
    assert line(tmp_path) == (
        "passed over: 2 × .txt, 1 × .1, 1 × .dng, 1 × .jp2, 1 × .mp4, 1 × .svg, 1 × names without ending"
    )


def test_heic_is_passed_over_with_a_hint_where_it_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds.Kind, "is_read", property(lambda kind: kind is not kinds.HEIF))
    assert passed_over.text({".heic": 3, "broken links": 3}) == f"3 × .heic, 3 broken links ({kinds.HEIF_HINT})"


def test_hidden_images_are_counted_by_the_folder_that_hides_them(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "_MG_1.JPG", "_processed_/b.jpg", "_processed_/c.jpg", "p/_tmp/d.png", ".thumbs/e.jpg")
    write(tmp_path, ".hidden.jpg", "._a.jpg", "__MACOSX/._a.jpg", ".DS_Store", "_index.json", ".git/objects/ab/cdef")
    assert line(tmp_path) == "passed over: 2 in _processed_/, 1 hidden file, 1 in .thumbs/, 1 in _tmp/"
    assert [member.path for member in discover([str(tmp_path)], None).objects] == ["_MG_1.JPG", "a.jpg"]
    assert [member.path for member in discover([f"{tmp_path}/_processed_"], None).objects] == ["b.jpg", "c.jpg"]


def test_names_with_query_strings_are_read(tmp_path: Path) -> None:
    write(tmp_path, "x.jpg?w=1", "y.png")
    assert [member.path for member in discover([str(tmp_path)], None).objects] == ["x.jpg?w=1", "y.png"]


def test_globs_count_what_they_match_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "a.txt", "b.txt", "_a/c.jpg", "_b/c.jpg")
    assert discover([f"{tmp_path}/a*"], None).passed == {".txt": 1}
    with pytest.raises(UserError, match=r"nothing there can be read; found 1 in _a/$"):
        discover([f"{tmp_path}/_a*/*"], None)
    with pytest.raises(UserError, match=r"no name there has the ending of a format; found 2 × \.txt; set input"):
        discover([f"{tmp_path}/*.txt"], None)


def test_an_output_inside_the_input_is_named_and_not_read(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", "old/_dataset.json", "old/images/0.parquet", "old/masks/set=x/1.parquet")
    write(tmp_path, "old/_inputs/0.parquet", "x/older/_dataset.json", "x/older/images/0.parquet")
    listing = discover([str(tmp_path)], None)
    assert [member.path for member in listing.objects] == ["a.parquet"]
    assert listing.passed == {
        "in old/, an output of clipseg-ray": 2,
        "in x/older/, an output of clipseg-ray": 1,
    }
    assert [member.path for member in discover([f"{tmp_path}/**/*.parquet"], None).objects] == ["a.parquet"]
    with pytest.raises(UserError, match=r"old: .*old is an output of clipseg-ray, no input; check input.url"):
        discover([f"{tmp_path}/old"], None)
    write(tmp_path / "pictures", "a.jpg", "masks/_dataset.json", "masks/images/0.parquet")
    assert discover([f"{tmp_path}/pictures"], None).format == "images"


def test_an_input_of_nothing_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the folder is empty; check input.url"):
        discover([str(tmp_path)], None)
    write(tmp_path, "_only/a.jpg")
    with pytest.raises(UserError, match=r"nothing there can be read; found 1 in _only/$"):
        discover([str(tmp_path)], "images")
    with pytest.raises(UserError, match=r"nothing there can be read; found 1 in _only/$"):
        discover([str(tmp_path)], None)


@pytest.mark.parametrize(
    ("url", "output"),
    [
        ("in", "in"),
        ("in/", "in"),
        ("in/*.jpg", "in"),
        ("in/a.jpg", "in"),
        ("in/sub", "in"),
        ("in/sub/**/*.{jpg,png}", "in"),
        ("link", "in"),
        ("in", "link"),
        ("s3://b/x", "s3://b/x/"),
        ("s3://b/x/*.tar", "s3://b/x"),
        ("s3://b/x/y", "s3://b/x"),
    ],
)
def test_an_input_that_lies_in_the_output_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, output: str
) -> None:
    write(tmp_path, "in/a.jpg", "in/sub/b.jpg")
    (tmp_path / "link").symlink_to("in")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^output\.url: .*(is where the input lies|lies inside)"):
        overlap.refuse(["elsewhere", url], output)


@pytest.mark.parametrize(
    ("url", "output"), [("in", "in/masks"), ("in", "in-masks"), ("in/*.jpg", "in/m"), ("s3://b/x", "s3://b/xy")]
)
def test_an_output_in_the_input_or_beside_it_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    overlap.refuse([url], output)


def test_counts_are_json() -> None:
    counts = {".heic": 1, "broken links": 1, "hidden files": 1, **{f".x{i}": 1 for i in range(9)}}
    assert json.loads(json.dumps(counts)) == counts
    assert passed_over.text(counts).endswith("4 of 4 more kinds")
    assert passed_over.lines({}) == []
    assert passed_over.lines({}, 2) == ["passed over: 2 further images in tars (input.image_field: '*' takes them all)"]
