"""What holds on S3 and on local disks alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_mq_provider.exceptions import InputError, ModelQualityError, OutputError
from airflow_mq_provider.storage import Storage, is_s3, join, local_path

Place = tuple[Storage, str]


def keys(place: Place, start_after: str = "", until: str | None = None) -> list[str]:
    storage, root = place
    return [stored.key for stored in storage.list(root, start_after=start_after, until=until)]


def fill(place: Place, *names: str) -> None:
    storage, root = place
    for name in names:
        storage.write(join(root, name), name.encode())


def test_written_bytes_are_read_back(place: Place) -> None:
    storage, root = place
    data = bytes(range(256)) * 3
    storage.write(join(root, "a", "b.bin"), data)
    assert storage.read(join(root, "a/b.bin")) == data


def test_an_empty_object_is_read_as_no_bytes(place: Place) -> None:
    storage, root = place
    storage.write(join(root, "empty"), b"")
    assert storage.read(join(root, "empty")) == b""
    assert list(storage.chunks(join(root, "empty"))) == []


def test_a_second_write_replaces_the_first(place: Place) -> None:
    storage, root = place
    uri = join(root, "report.json")
    storage.write(uri, b"a long first version")
    storage.write(uri, b"second")
    assert storage.read(uri) == b"second"


def test_a_file_is_written_and_stays_where_it_was(place: Place, tmp_path: Path) -> None:
    storage, root = place
    source = tmp_path / "source"
    source.write_bytes(b"line\n" * 1000)
    storage.write_file(join(root, "x", "copy"), source)
    assert storage.read(join(root, "x", "copy")) == source.read_bytes()


def test_chunks_are_bounded_and_make_up_the_object(place: Place) -> None:
    storage, root = place
    data = bytes(range(250)) * 4
    storage.write(join(root, "a"), data)
    pieces = list(storage.chunks(join(root, "a"), size=300))
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= 300 for piece in pieces)


def test_keys_are_below_the_root_with_sizes_and_uris_that_can_be_read(place: Place) -> None:
    storage, root = place
    fill(place, "2020/01/09/12/part.jsonl")
    [stored] = storage.list(root)
    assert (stored.key, stored.size) == ("2020/01/09/12/part.jsonl", 24)
    assert stored.uri == join(root, stored.key)
    assert storage.read(stored.uri) == b"2020/01/09/12/part.jsonl"


def test_a_trailing_slash_of_the_root_changes_nothing(place: Place) -> None:
    storage, root = place
    fill(place, "a/b")
    assert [stored.uri for stored in storage.list(root + "/")] == [join(root, "a/b")]


def test_keys_sort_by_bytes_and_not_by_folder(place: Place) -> None:
    """The slash is a letter among others: a file ``a-b`` comes before what lies in ``a/``, ``a0`` after it."""
    fill(place, "a0", "a/x", "a-b", "a.b/x", "B", "ä", "a/x-y/z", "a/x0/z")
    assert keys(place) == ["B", "a-b", "a.b/x", "a/x", "a/x-y/z", "a/x0/z", "a0", "ä"]


def test_both_bounds_are_left_out(place: Place) -> None:
    fill(place, "a", "b", "c", "d")
    assert keys(place, start_after="a", until="d") == ["b", "c"]


def test_a_bound_need_not_be_a_key(place: Place) -> None:
    """An hour folder's name stands before all that lies in it."""
    fill(place, "2020/01/09/11/z", "2020/01/09/12/a", "2020/01/09/12/b", "2020/01/09/13/a")
    assert keys(place, start_after="2020/01/09/12", until="2020/01/09/13") == ["2020/01/09/12/a", "2020/01/09/12/b"]


def test_listing_starts_inside_a_folder(place: Place) -> None:
    fill(place, "a/1", "a/2", "a/3/x", "b")
    assert keys(place, start_after="a/2") == ["a/3/x", "b"]


def test_listing_ends_inside_a_folder(place: Place) -> None:
    fill(place, "a/1", "a/2", "b")
    assert keys(place, until="a/2") == ["a/1"]


def test_hidden_files_are_listed_since_the_reader_decides(place: Place) -> None:
    fill(place, "_SUCCESS", ".hidden", "a/_metadata")
    assert keys(place) == [".hidden", "_SUCCESS", "a/_metadata"]


def test_a_sibling_that_begins_like_the_root_is_not_below_it(place: Place) -> None:
    storage, root = place
    storage.write(root + "-other/x", b"")
    fill(place, "y")
    assert keys(place) == ["y"]


def test_a_root_that_does_not_exist_holds_nothing(place: Place) -> None:
    assert keys(place) == []


def test_a_listing_shows_what_was_written_after_the_former_one(place: Place) -> None:
    fill(place, "a")
    assert keys(place) == ["a"]
    fill(place, "b")
    assert keys(place) == ["a", "b"]


def test_the_etag_tells_that_an_object_was_written_anew(place: Place) -> None:
    storage, root = place
    storage.write(join(root, "a"), b"one")
    [first] = storage.list(root)
    [again] = storage.list(root)
    storage.write(join(root, "a"), b"two!")
    [second] = storage.list(root)
    assert first.etag == again.etag != second.etag


def test_odd_names_survive(place: Place) -> None:
    odd = ["a b", "a%20b", "a+b", "a#b?c", "ü/€", "x=1&y=2"]
    fill(place, *odd)
    storage, root = place
    assert {stored.key: storage.read(stored.uri).decode() for stored in storage.list(root)} == {key: key for key in odd}


def test_deleted_objects_are_gone_and_the_others_stay(place: Place) -> None:
    storage, root = place
    fill(place, "merged/a", "merged/b", "report.json")
    storage.delete([join(root, "merged/a"), join(root, "merged/b")])
    assert keys(place) == ["report.json"]


def test_deleting_what_is_not_there_is_no_error(place: Place) -> None:
    storage, root = place
    fill(place, "a")
    storage.delete([join(root, "no"), join(root, "a/below-a-file"), join(root, "no/such")])
    assert keys(place) == ["a"]


def test_existence_is_that_of_the_object_and_not_of_a_folder(place: Place) -> None:
    storage, root = place
    fill(place, "a/b")
    assert storage.exists(join(root, "a/b"))
    assert not storage.exists(join(root, "a"))
    assert not storage.exists(join(root, "a/c"))


def test_a_missing_object_is_an_input_error_that_names_it(place: Place) -> None:
    storage, root = place
    with pytest.raises(InputError) as caught:
        storage.read(join(root, "no.json"))
    assert caught.value.where == join(root, "no.json")
    assert "that exists" in caught.value.expected
    assert caught.value.next_step


def test_chunks_of_a_range_are_its_bytes(place: Place) -> None:
    storage, root = place
    data = bytes(range(250))
    storage.write(join(root, "a"), data)
    for start, stop in ((0, 1), (0, 250), (7, 8), (100, 233), (249, 250), (20, 10_000), (30, None), (40, 40)):
        pieces = list(storage.chunks(join(root, "a"), size=60, start=start, stop=stop))
        assert b"".join(pieces) == data[start:stop]
        assert all(0 < len(piece) <= 60 for piece in pieces)


def test_a_missing_object_in_chunks_is_an_input_error_that_names_it(place: Place) -> None:
    storage, root = place
    with pytest.raises(InputError) as caught:
        list(storage.chunks(join(root, "no.json")))
    assert caught.value.where == join(root, "no.json")


def test_a_missing_source_is_an_output_error_that_names_it(place: Place, tmp_path: Path) -> None:
    storage, root = place
    with pytest.raises(OutputError, match="absent-source"):
        storage.write_file(join(root, "a"), tmp_path / "absent-source")
    assert keys(place) == []


@pytest.mark.parametrize("uri", ["gs://bucket/x", "https://host/x", "file://other-host/x", ""])
def test_other_kinds_of_uri_are_refused_by_every_method(uri: str) -> None:
    storage = Storage()
    for use, kind in (
        (lambda: storage.read(uri), InputError),
        (lambda: list(storage.chunks(uri)), InputError),
        (lambda: list(storage.list(uri)), InputError),
        (lambda: storage.exists(uri), InputError),
        (lambda: storage.write(uri, b""), OutputError),
        (lambda: storage.delete([uri]), OutputError),
    ):
        with pytest.raises(ModelQualityError) as caught:
            use()
        assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("root", "parts", "expected"),
    [
        ("s3://b", ("x",), "s3://b/x"),
        ("s3://b/c/", ("x/", "/y"), "s3://b/c/x/y"),
        ("s3://b//c", ("x",), "s3://b//c/x"),
        ("s3://b/c", (), "s3://b/c"),
        ("s3://b/c", ("", "x", ""), "s3://b/c/x"),
        ("/", ("x",), "/x"),
        ("", ("x",), "x"),
        (".", ("x", "y"), "./x/y"),
        ("/data//", ("x%41",), "/data/x%41"),
        ("file:///", ("x",), "file:///x"),
        ("file:///a%20b", ("x y%",), "file:///a%20b/x%20y%25"),
    ],
)
def test_join(root: str, parts: tuple[str, ...], expected: str) -> None:
    assert join(root, *parts) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/a/b", "/a/b"),
        ("a/b%20c", "a/b%20c"),
        ("file:///a/b%20c", "/a/b c"),
        ("file://localhost/a", "/a"),
        ("file:///a#b?c", "/a#b?c"),
    ],
)
def test_local_path(uri: str, expected: str) -> None:
    assert local_path(uri) == Path(expected)


def test_only_s3_is_s3() -> None:
    assert is_s3("s3://bucket/key")
    assert not is_s3("/s3://bucket")
    assert not is_s3("file:///s3")
