"""The files of an input folder: links are followed, each folder once, and links to nothing are told."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipseg_ray.sources.folder_tree import files
from clipseg_ray.sources.listing import discover
from clipseg_ray.storage import Store


def listed(folder: Path) -> tuple[list[str], list[str]]:
    dangling: list[str] = []
    found = [entry.path for entry in files(Store(str(folder)), dangling.append)]
    return sorted(found), sorted(dangling)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_a_link_to_a_sibling_folder_counts_its_images_once(tmp_path: Path) -> None:
    write(tmp_path, "real/a.jpg", "real/deep/b.jpg", "z.jpg")
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "real" / "up").symlink_to("..")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "zz").symlink_to("real/deep")
    assert listed(tmp_path) == (["real/a.jpg", "real/deep/b.jpg", "z.jpg"], [])


def test_folders_elsewhere_count_once_and_under_the_first_name(tmp_path: Path) -> None:
    write(tmp_path / "else", "x/a.jpg", "x/in/b.jpg", "y/c.jpg")
    write(tmp_path / "top", "own.jpg")
    for name, target in (("one", "x"), ("two", "x"), ("inner", "x/in"), ("y", "y")):
        (tmp_path / "top" / name).symlink_to(tmp_path / "else" / target)
    (tmp_path / "else" / "y" / "back").symlink_to(tmp_path / "top")
    assert listed(tmp_path / "top") == (["inner/b.jpg", "one/a.jpg", "own.jpg", "y/c.jpg"], [])


def test_a_link_into_a_hidden_folder_is_followed(tmp_path: Path) -> None:
    write(tmp_path, ".store/objects/a.jpg", "_v2/b.jpg")
    (tmp_path / "pictures").symlink_to(".store/objects")
    (tmp_path / "latest").symlink_to("_v2")
    assert [member.path for member in discover([str(tmp_path)], None).objects] == ["latest/b.jpg", "pictures/a.jpg"]


def test_links_to_nothing_are_told_and_files_behind_links_taken(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", ".annex/key")
    (tmp_path / "here.jpg").symlink_to(".annex/key")
    (tmp_path / "gone.jpg").symlink_to(".annex/other")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "under.jpg").symlink_to("a.jpg/x")
    found, dangling = listed(tmp_path)
    assert (found, dangling) == ([".annex/key", "a.jpg", "here.jpg"], ["gone.jpg", "self.jpg", "under.jpg"])
    listing = discover([str(tmp_path)], None)
    assert [member.path for member in listing.objects] == ["a.jpg", "here.jpg"]
    assert listing.passed == {"broken links": 3}
    assert discover([f"{tmp_path}/[ghi]*.jpg"], None).passed == {"broken links": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "shut/a.jpg", "b.jpg")
    (tmp_path / "shut").chmod(0)
    with pytest.raises(PermissionError):
        listed(tmp_path)
    (tmp_path / "shut").chmod(0o755)


NAME = st.sampled_from(["a", "b", "c", "_h", ".d"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    folders=st.lists(st.lists(NAME, min_size=1, max_size=3), max_size=5),
    links=st.lists(st.tuples(st.lists(NAME, max_size=2), NAME, st.lists(NAME, max_size=3)), max_size=5),
)
def test_whatever_links_there_are_each_file_comes_once(tmp_path_factory, folders, links) -> None:
    top = tmp_path_factory.mktemp("tree")
    for parts in folders:
        folder = top.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "f.jpg").write_bytes(b"x")
    for parts, name, target in links:
        place = top.joinpath(*parts) / f"l{name}"
        if place.parent.is_dir() and not place.is_symlink() and not place.exists():
            place.symlink_to(top.joinpath(*target))
    found, dangling = listed(top)
    real = [os.path.realpath(top / path) for path in found]
    there = [str(path) for path in top.rglob("f.jpg") if not any(each.is_symlink() for each in path.parents)]
    assert sorted(real) == sorted(there)
    assert all(not (top / path).exists() for path in dangling)
    assert {top / path for path in dangling} == {
        path
        for path in top.rglob("*")
        if path.is_symlink() and not path.exists() and not any(each.is_symlink() for each in path.parents)
    }
