"""Where images lie, as pages say it and lead to it."""

from pathlib import Path

import pytest

from clipseg_ray.boundary import Boundary
from clipseg_ray.report.places import Originals, shown, without_folders


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/data/runs/photos/a.jpg", "../photos/a.jpg"),
        ("/data/runs/photos/*.tar", "../photos/*.tar"),
        ("/data/runs/out", "."),
        ("/data/runs-of-others/photos/a.jpg", "…/photos/a.jpg"),
        ("/home/me/a.jpg", "…/me/a.jpg"),
        ("file:///home/me/a.jpg", "…/me/a.jpg"),
        ("builtin:scenes", "builtin:scenes"),
        ("CIDAS/clipseg-rd64-refined", "CIDAS/clipseg-rd64-refined"),
        ("s3://bucket/photos", "s3://bucket/photos"),
        ("https://user:word@host/a.jpg?token=1", "https://***@host/a.jpg?token=***"),
    ],
)
def test_a_place_is_said_without_this_machine_s_folders(url: str, said: str) -> None:
    assert shown(url, "/data/runs/out") == said


def test_a_dataset_elsewhere_has_no_folder_here() -> None:
    assert shown("/data/runs/photos", "s3://bucket/out") == "…/runs/photos"


def test_folders_go_from_texts_and_the_root_of_all_files_stays() -> None:
    assert without_folders("/a/b/c.jpg and /a/d.jpg, /x", ["/a", "/a/b", "/"]) == "c.jpg and d.jpg, /x"


def test_a_link_leads_to_whole_images_inside_the_boundary_alone(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a b").mkdir(parents=True)
    image = tmp_path / "photos" / "a b" / "1#.jpg"
    image.write_bytes(b"x")
    boundary = Boundary.around(str(tmp_path / "out"), ["https://host/photos"])
    originals = Originals(boundary, str(tmp_path / "pages" / "page.html"), parted=False)
    assert originals.link(str(image)) == "../photos/a%20b/1%23.jpg"
    assert Originals(boundary, str(tmp_path / "pages"), parted=False).link(str(image)) == "../photos/a%20b/1%23.jpg"
    assert originals.link("https://host/photos/1.jpg") == "https://host/photos/1.jpg"
    for refused in (
        "https://other/1.jpg", "https://host/photos/1.jpg?token=secret", "/etc/passwd", "javascript:alert(1)",
        "s3://bucket/1.jpg", str(tmp_path / "photos" / ".hidden.jpg"),
    ):  # fmt: skip
        assert originals.link(refused) is None, refused
    assert Originals(boundary, "s3://bucket/page.html", parted=False).link(str(image)) is None


def test_a_part_of_a_larger_file_has_no_link(tmp_path: Path) -> None:
    originals = Originals(Boundary.around(str(tmp_path / "out"), []), str(tmp_path / "page.html"), parted=True)
    assert not originals.whole(str(tmp_path / "a.tar"))
    assert originals.link(str(tmp_path / "a.tar")) is None
    assert originals.link(str(tmp_path / "a.JPG")) == "a.JPG", "a table of paths names whole images"
