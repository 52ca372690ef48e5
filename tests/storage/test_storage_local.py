"""What is particular to local disks."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from airflow_mq_provider.exceptions import InputError, OutputError
from airflow_mq_provider.storage import Storage


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders that were listed."""
    names: list[str] = []
    really = os.open

    def noting(path: str, flags: int, *rest: object, **named: object) -> int:
        if flags & os.O_DIRECTORY:
            names.append(os.path.basename(path))
        return really(path, flags, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", noting)
    return names


def hours(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "part.jsonl").touch()


def test_folders_outside_the_bounds_are_not_entered(tmp_path: Path, entered: list[str]) -> None:
    """A window of an hour in years of data costs the folders on the way to it."""
    hours(tmp_path, *(f"{year}/{month:02}/15/12" for year in (2018, 2019, 2020, 2021) for month in range(1, 13)))
    listed = list(Storage().list(str(tmp_path), start_after="2020/02/01/00", until="2020/03/01/00"))
    assert [stored.key for stored in listed] == ["2020/02/15/12/part.jsonl"]
    # 2020/03 is looked into, since the end lies in it
    assert entered == [tmp_path.name, "2020", "02", "15", "12", "03"]


def test_uris_of_a_file_root_are_file_uris(tmp_path: Path) -> None:
    (tmp_path / "a b").touch()
    [stored] = Storage().list(tmp_path.as_uri())
    assert (stored.key, stored.uri) == ("a b", f"{tmp_path.as_uri()}/a%20b")


def test_names_that_are_not_utf8_are_listed_and_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
    for root in (str(tmp_path), tmp_path.as_uri()):
        [stored] = Storage().list(root)
        assert Storage().read(stored.uri) == b"x"


def test_linked_files_and_folders_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "file").symlink_to(tmp_path / "elsewhere" / "x")
    assert [stored.key for stored in Storage().list(str(tmp_path / "root"))] == ["file", "folder/x"]


def test_links_that_go_round_are_refused_instead_of_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "to-b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to-a").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="symbolic link"):
        list(Storage().list(str(tmp_path)))


def test_a_link_that_leads_nowhere_is_refused_since_data_is_missing_there(tmp_path: Path) -> None:
    (tmp_path / "part.jsonl").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError) as caught:
        list(Storage().list(str(tmp_path)))
    assert caught.value.where == str(tmp_path / "part.jsonl")


def test_what_is_no_file_is_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty-folder").mkdir()
    assert list(Storage().list(str(tmp_path))) == []


def test_a_file_that_goes_away_during_the_listing_was_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    scandir = os.scandir

    def just_before_it_goes(folder: int) -> object:
        with scandir(folder) as entries:
            found = list(entries)
        (tmp_path / "b").unlink()
        return nullcontext(iter(found))

    monkeypatch.setattr(os, "scandir", just_before_it_goes)
    assert [stored.key for stored in Storage().list(str(tmp_path))] == ["a"]


def test_a_folder_that_was_listed_before_is_looked_at_again(tmp_path: Path) -> None:
    storage = Storage()
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"x")
    before = {stored.key: stored for stored in storage.list(str(tmp_path))}
    (tmp_path / "a").write_bytes(b"xy")
    os.utime(tmp_path / "b", ns=(0, 7))
    (tmp_path / "c").unlink()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "d").touch()
    after = {stored.key: stored for stored in storage.list(str(tmp_path))}
    assert list(after) == ["a", "b", "c/d"]
    assert after["a"].size == 2
    assert after["b"].etag != before["b"].etag
    assert list(storage.list(str(tmp_path), start_after="a", until="b")) == []


def test_a_folder_that_was_listed_before_is_listed_from_another_root(tmp_path: Path) -> None:
    storage = Storage()
    hours(tmp_path, "a/b")
    assert [stored.key for stored in storage.list(str(tmp_path))] == ["a/b/part.jsonl"]
    assert [stored.key for stored in storage.list(str(tmp_path / "a"))] == ["b/part.jsonl"]


def test_a_file_as_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught:
        list(Storage().list(str(tmp_path / "file")))
    assert "folders" in caught.value.expected


def test_a_folder_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="IsADirectoryError"):
        Storage().read(str(tmp_path))


def _fails_halfway(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def replace(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", replace)


WRITES: dict[str, Callable[[Storage, Path], None]] = {
    "write": lambda storage, path: storage.write(str(path), b"new"),
    "write_file": lambda storage, path: storage.write_file(str(path), __file__),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    write: Callable[[Storage, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"old")
    _fails_halfway(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match="No space left on device"):
        write(Storage(), path)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"report.json": b"old"}


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fails_halfway(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        Storage().write(str(tmp_path / "report.json"), b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_a_killed_write_leaves_is_never_listed(
    write: Callable[[Storage, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fails_halfway(monkeypatch, KeyboardInterrupt())
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        write(Storage(), tmp_path / "report.json")
    assert len(list(tmp_path.iterdir())) == 1
    assert list(Storage().list(str(tmp_path))) == []


def test_written_files_have_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Storage().write(str(tmp_path / "a"), b"")
        Storage().write_file(str(tmp_path / "b"), tmp_path / "a")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [0o640, 0o640]


def test_the_longest_name_of_a_file_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    Storage().write(str(path), b"x")
    assert path.read_bytes() == b"x"


def test_a_write_where_a_file_stands_for_a_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "reports").write_bytes(b"")
    with pytest.raises(OutputError) as caught:
        Storage().write(str(tmp_path / "reports" / "2020" / "report.json"), b"{}")
    assert "folders" in caught.value.expected
    assert caught.value.where == str(tmp_path / "reports" / "2020" / "report.json")


def test_a_write_survives_that_another_run_deletes_its_emptied_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "merged"
    mkdir = Path.mkdir
    calls = []

    def then_it_goes_away(self: Path, *arguments: object, **options: object) -> None:
        mkdir(self, *arguments, **options)  # type: ignore[arg-type]
        calls.append(self)
        if len(calls) == 1:
            self.rmdir()

    monkeypatch.setattr(Path, "mkdir", then_it_goes_away)
    Storage().write(str(folder / "part-00000"), b"x")
    assert (folder / "part-00000").read_bytes() == b"x"


def test_a_write_survives_that_a_folder_goes_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "merged"
    folder.mkdir()
    is_dir = Path.is_dir
    looked: list[Path] = []

    def once_it_is_gone(self: Path, **options: object) -> bool:
        if self == folder and not looked:
            looked.append(self)
            self.rmdir()
        return is_dir(self, **options)

    monkeypatch.setattr(Path, "is_dir", once_it_is_gone)
    Storage().write(str(folder / "part-00000"), b"x")
    assert looked == [folder]
    assert (folder / "part-00000").read_bytes() == b"x"


def test_a_folder_that_deletion_empties_goes_too(tmp_path: Path) -> None:
    Storage().write(str(tmp_path / "merged" / "a"), b"")
    Storage().write(str(tmp_path / "merged" / "b"), b"")
    Storage().delete([str(tmp_path / "merged" / "a")])
    assert (tmp_path / "merged").is_dir()
    Storage().delete([str(tmp_path / "merged" / "b")])
    assert not (tmp_path / "merged").exists()


def test_a_refusal_of_the_system_names_the_right_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is feigned, since the tests may be run by root, to whom nothing is refused."""

    def refuse(path: Path, *_: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(io, "FileIO", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(InputError, match="permission to read"):
        Storage().exists(str(tmp_path / "a"))
    with pytest.raises(InputError) as reading:
        Storage().read(str(tmp_path / "a"))
    assert reading.value.expected == "permission to read"
    assert reading.value.came == f"PermissionError: Permission denied ({tmp_path / 'a'})"
    with pytest.raises(OutputError) as writing:
        Storage().write(str(tmp_path / "a"), b"")
    assert writing.value.expected == "permission to write"
    assert re.search("right to write", writing.value.next_step)
