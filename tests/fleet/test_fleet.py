"""Which monitors a folder holds, and what is wrong with one among the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.fleet import Member, fleet, is_member
from airflow_mq_provider.storage import Storage, join

Place = tuple[Storage, str]


def declared(name: str, **changed: Any) -> bytes:
    return json.dumps(
        {
            "name": name,
            "problem_type": "BinaryClassification",
            "endpoint_input": {
                "endpoint_name": name,
                "data_captured_destination_uri": "s3://bucket/capture",
                "probability_attribute": "0",
            },
            "ground_truth_uri": "s3://bucket/labels",
            "output_uri": "s3://bucket/reports",
            **changed,
        }
    ).encode()


def put(place: Place, **files: bytes) -> str:
    """Put files into the folder; a double underscore in a name stands for its dot. The folder's URI."""
    storage, root = place
    for name, content in files.items():
        storage.write(join(root, name.replace("__", ".")), content)
    return root


def named(place: Place, limit: int = 1024) -> dict[str, bool]:
    """Names of the members, in order, and whether each can be judged."""
    return {one.name: one.fault is None for one in fleet(place[1], place[0], limit=limit).members}


def test_each_file_of_a_folder_is_a_monitor_by_its_own_name_in_the_order_of_files(place: Place) -> None:
    root = put(place, b__yaml=declared("first"), a__json=declared("second"), c__yml=declared("third"))
    found = fleet(root, place[0], limit=1024)
    assert [(one.name, one.file) for one in found.members] == [
        ("second", join(root, "a.json")),
        ("first", join(root, "b.yaml")),
        ("third", join(root, "c.yml")),
    ]
    assert {one.fault for one in found.members} == {None}


def test_other_files_and_folders_below_are_no_monitors(place: Place) -> None:
    put(place, a__json=declared("a"), README__md=b"about them", _draft__yaml=declared("draft"))
    place[0].write(join(place[1], "below/b.json"), declared("b"))
    found = fleet(place[1], place[0], limit=1024)
    assert [one.name for one in found.members] == ["a"]
    assert found.ignored == ("README.md",)


@pytest.mark.parametrize(
    "content", [b"name: [", b"", b"\xff\xfe", b"[]", declared("x", unknown=1), declared("x", output_uri="ftp://x")]
)
def test_a_file_that_declares_no_monitor_goes_by_its_own_name_and_harms_no_other(place: Place, content: bytes) -> None:
    put(place, a__json=declared("a"), bad__json=content)
    assert named(place) == {"a": True, "bad": True}  # what is wrong with it is told by its own task


def test_two_files_of_one_name_are_both_refused_and_each_names_the_other(place: Place) -> None:
    root = put(place, a__json=declared("same"), b__json=declared("same", output_uri="s3://else"), c__json=declared("c"))
    first, second, third = fleet(root, place[0], limit=1024).members
    assert third.fault is None
    for one, other in ((first, "b.json"), (second, "a.json")):
        assert one.error is not None
        assert one.name == "same"
        assert one.file in one.error.where
        assert join(root, other) in one.error.came
        assert "rename" in one.error.next_step


def test_of_more_files_than_airflow_maps_over_the_first_are_members_and_the_last_says_so(place: Place) -> None:
    put(place, **{f"m{number}__json": declared(f"m{number}") for number in range(5)})
    assert named(place, limit=5) == dict.fromkeys(["m0", "m1", "m2", "m3", "m4"], True)
    assert named(place, limit=4) == {"m0": True, "m1": True, "m2": True, "2 files too many": False}
    last = fleet(place[1], place[0], limit=4).members[-1]
    assert "max_map_length" in str(last.error)


def test_a_folder_without_a_file_of_a_monitor_is_an_error_and_no_empty_fleet(place: Place) -> None:
    with pytest.raises(InputError, match=r"ending in \.yaml"):
        fleet(place[1], place[0], limit=1024)
    put(place, README__md=b"")
    with pytest.raises(InputError, match="other files"):
        fleet(place[1], place[0], limit=1024)


def test_a_member_is_handed_on_as_plain_json_and_is_no_declaration_of_a_monitor(place: Place) -> None:
    put(place, a__json=declared("same"), b__json=declared("same"))
    for one in fleet(place[1], place[0], limit=1024).members:
        handed = json.loads(json.dumps(one.as_dict()))
        assert Member.from_dict(handed) == one
        assert is_member(handed)
    assert not is_member(json.loads(declared("a")))
    assert not is_member("a.json")
