"""Legends: codes, names and colours to indices and back, and what is refused with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geoseg.errors import InputError
from geoseg.legend import DEEPGLOBE, NO_CLASS, NODATA, Legend, LegendClass, find_legend

CITY = Legend(
    "city",
    (
        LegendClass(20, "road", (90, 90, 90)),
        LegendClass(10, "building", (220, 0, 0), "any roof"),
        LegendClass(254, "tree", (0, 128, 0)),
        LegendClass(3, "cloud", (255, 255, 255)),
    ),
    ignore=(3, 77),
)
"""Codes neither sorted nor dense; an ignored class (3) and an ignored code without a class (77)."""


@st.composite
def legends(draw: st.DrawFn) -> Legend:
    count = draw(st.integers(2, 12))
    unique = {"min_size": count, "max_size": count, "unique": True}
    codes = draw(st.lists(st.integers(0, 254), **unique))
    colours = draw(st.lists(st.tuples(*[st.integers(0, 255)] * 3), **unique))
    classes = [LegendClass(k, f"class {k}", colour, "x" * (k % 2)) for k, colour in zip(codes, colours, strict=True)]
    return Legend("drawn", tuple(classes), ignore=tuple(codes[2:3]))


def index_maps(legend: Legend) -> st.SearchStrategy[np.ndarray]:
    return arrays.arrays(np.uint8, (5, 7), elements=st.sampled_from([*range(len(legend)), NO_CLASS]))


@given(legends(), st.data())
def test_codes_round_trip(legend: Legend, data: st.DataObject) -> None:
    index = data.draw(index_maps(legend))
    codes = legend.encode(index)
    assert np.array_equal(legend.decode(codes), index)
    assert ((codes == NODATA) == (index == NO_CLASS)).all()


@given(legends(), st.data())
def test_colours_round_trip(legend: Legend, data: st.DataObject) -> None:
    index = data.draw(index_maps(legend))
    decoded, undefined = legend.decode_rgb(legend.to_rgb(index), valid=index != NO_CLASS)
    assert np.array_equal(decoded, index) and undefined == 0


@given(legends())
def test_json_round_trips(legend: Legend) -> None:
    assert Legend.from_dict(json.loads(json.dumps(legend.to_dict()))) == legend


def test_deepglobe_s_threshold_survives_json() -> None:
    assert Legend.from_dict(DEEPGLOBE.to_dict()) == DEEPGLOBE and DEEPGLOBE.rgb_threshold == 128


def test_deepglobe_is_in_the_order_of_the_paper() -> None:
    assert DEEPGLOBE.names == ("urban", "agriculture", "rangeland", "forest", "water", "barren", "unknown")
    assert [c.code for c in DEEPGLOBE.classes] == list(range(7))
    assert [c.colour for c in DEEPGLOBE.classes] == [
        (0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
    ]  # fmt: skip
    assert (DEEPGLOBE.ignored, DEEPGLOBE.scored) == ((6,), (0, 1, 2, 3, 4, 5))


def test_decoding_by_hand() -> None:
    codes = np.array([[20, 10, 254], [3, 77, 255]], np.int32)
    assert CITY.decode(codes).tolist() == [[0, 1, 2], [3, NO_CLASS, NO_CLASS]]
    assert CITY.decode(codes).dtype == np.uint8
    assert (CITY.ignored, CITY.scored, CITY.ignore) == ((3,), (0, 1, 2), (3, 77))


def test_invalid_pixels_have_no_class_whatever_they_hold() -> None:
    valid = np.array([[True, False, False]])
    assert CITY.decode(np.array([[10, 10, 99]]), valid).tolist() == [[1, NO_CLASS, NO_CLASS]]


@pytest.mark.parametrize(("dtype", "odd"), [(np.uint8, 99), (np.int16, -1), (np.uint16, 276), (np.int32, 65546)])
def test_unknown_codes_are_counted_and_listed(dtype: type, odd: int) -> None:
    codes = np.array([[10, odd, odd], [20, 20, 7]], dtype)
    with pytest.raises(InputError) as caught:
        CITY.decode(codes, source="labels.tif")
    message = str(caught.value)
    assert message.startswith("labels.tif: 3 pixels") and str(odd) in message and "7" in message and "'city'" in message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(("dtype", "code"), [(np.uint16, 300), (np.int16, -5), (np.int16, -9999)])
def test_an_ignored_code_may_lie_beyond_uint8(dtype: type, code: int) -> None:
    legend = Legend("city", CITY.classes, ignore=(code,))
    assert legend.decode(np.array([[10, code]], dtype)).tolist() == [[1, NO_CLASS]]


def test_a_negative_ignored_code_ignores_no_other() -> None:
    with pytest.raises(InputError, match="251"):
        Legend("city", CITY.classes, ignore=(-5,)).decode(np.array([[10, 251]], np.int16))


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((127, 128, 255), "urban"),
        ((128, 128, 127), "agriculture"),
        ((200, 100, 200), "rangeland"),
        ((100, 200, 100), "forest"),
        ((127, 127, 128), "water"),
        ((128, 128, 128), "barren"),
        ((127, 127, 127), "unknown"),
    ],
)
def test_deepglobe_cuts_each_channel_at_128(colour: tuple[int, int, int], name: str) -> None:
    index, undefined = DEEPGLOBE.decode_rgb(np.array(colour, np.uint8).reshape(3, 1, 1))
    assert DEEPGLOBE.names[index.item()] == name and undefined == 0


@pytest.mark.parametrize("red", [(255, 0, 0), (128, 127, 127)])
def test_the_undefined_corner_has_no_class_and_is_counted(red: tuple[int, int, int]) -> None:
    rgb = np.zeros((3, 3, 4), np.uint8)
    rgb[:, 1, :3] = np.reshape(red, (3, 1))
    index, undefined = DEEPGLOBE.decode_rgb(rgb)
    assert undefined == 3 and index[1].tolist() == [NO_CLASS, NO_CLASS, NO_CLASS, 6] and (index[[0, 2]] == 6).all()


def test_invalid_pixels_are_not_counted_as_undefined() -> None:
    rgb = np.array([[255, 255, 0], [0, 0, 255], [0, 0, 0]], np.uint8).reshape(3, 1, 3)
    index, undefined = DEEPGLOBE.decode_rgb(rgb, np.array([[True, False, False]]))
    assert index.tolist() == [[NO_CLASS] * 3] and undefined == 1


def test_decoding_colours_leaves_the_caller_s_arrays_alone() -> None:
    rgb, valid = CITY.to_rgb(np.array([[0, 1, 2]], np.uint8)), np.array([[True, True, False]])
    CITY.decode_rgb(rgb, valid)
    assert valid.tolist() == [[True, True, False]]


def test_unknown_colours_are_counted_and_listed() -> None:
    rgb = CITY.to_rgb(np.array([[0, 1, 2]], np.uint8))
    rgb[:, 0, 1:] = [[221, 0], [0, 1], [0, 2]]
    with pytest.raises(InputError) as caught:
        CITY.decode_rgb(rgb, source="mask.png")
    message = str(caught.value)
    assert message.startswith("mask.png: 2 pixels") and "#dd0000" in message and "#000102" in message


def test_pictures_show_no_class_as_black() -> None:
    picture = CITY.to_rgb(np.array([[1, NO_CLASS]], np.uint8))
    assert picture.shape == (3, 1, 2) and picture[:, 0].T.tolist() == [[220, 0, 0], [0, 0, 0]]


def test_code_255_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="255 as nodata: give the class another code"):
        LegendClass(255, "snow", (1, 2, 3))
    assert LegendClass(254, "snow", (1, 2, 3)).code == 254


@pytest.mark.parametrize(
    "fields",
    [(-1, "a", (1, 2, 3)), (300, "a", (1, 2, 3)), (1, " ", (1, 2, 3)), (1, "a\nb", (1, 2, 3)),
     (1, "a", (1, 2)), (1, "a", (1, 2, 256)), (1, "a", (-1, 2, 3))],
    ids=str,
)  # fmt: skip
def test_impossible_classes_are_refused(fields: tuple) -> None:
    with pytest.raises(InputError):
        LegendClass(*fields)


@pytest.mark.parametrize(
    ("second", "what"),
    [
        (LegendClass(1, "b", (4, 5, 6)), "code 1 "),
        (LegendClass(2, "a", (4, 5, 6)), "name 'a'"),
        (LegendClass(2, "b", (1, 2, 3)), r"colour \(1, 2, 3\)"),
    ],
)
def test_codes_names_and_colours_are_given_once(second: LegendClass, what: str) -> None:
    with pytest.raises(InputError, match=f"{what}.*two classes"):
        Legend("twins", (LegendClass(1, "a", (1, 2, 3)), second))


def test_a_legend_scores_two_classes_at_least() -> None:
    pair = (LegendClass(1, "a", (1, 2, 3)), LegendClass(2, "b", (4, 5, 6)))
    assert len(Legend("pair", pair)) == 2
    with pytest.raises(InputError, match="at least two"):
        Legend("one", pair, ignore=(2,))


@pytest.mark.parametrize(
    ("file", "name"), [("roads.json", "roads"), ("legend.json", "folder"), ("named.json", "given")]
)
def test_a_legend_file_lends_its_name(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / "folder" / file
    path.parent.mkdir()
    record = {key: value for key, value in CITY.to_dict().items() if key != "name"}
    path.write_text(json.dumps(record | ({"name": "given"} if file == "named.json" else {})))
    assert find_legend(path) == Legend(name, CITY.classes, CITY.ignore)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"classes": 3}',
        '{"classes": [{"code": 1, "name": "a"}, {"code": 2, "name": "b"}]}',
        '{"classes": [{"code": 1, "name": "a", "color": "red"}, {"code": 2, "name": "b", "color": "#000001"}]}',
        '{"classes": [{"code": 1, "name": "a", "color": "#00000"}, {"code": 2, "name": "b", "color": "#000001"}]}',
        '{"classes": [{"code": 1, "name": "a", "color": [1, 2, 3]}, {"code": 2, "name": "b", "color": "#000001"}]}',
        '{"classes": [{"code": "x", "name": "a", "color": "#000002"}, {"code": 2, "name": "b", "color": "#000001"}]}',
        '{"classes": [{"code": 1, "name": "a", "color": "#000002"}, {"code": 2, "name": "b", "color": "#000001"}], '
        '"ignore": 1}',
    ],
)
def test_a_file_that_is_no_legend_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "legend.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a legend") as caught:
        Legend.from_file(path)
    assert str(path) in str(caught.value)


def test_a_missing_or_binary_legend_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such legend file"):
        find_legend(tmp_path / "missing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "binary.json"):
        with pytest.raises(InputError, match="not a legend in JSON"):
            Legend.from_file(path)


def test_a_legend_is_found_by_name() -> None:
    assert find_legend("deepglobe") is DEEPGLOBE


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "a\nb", "x" * 201])
def test_a_class_needs_a_name_that_can_be_shown(name):
    with pytest.raises(InputError, match=r"printable name|201 characters"):
        LegendClass(1, name, (1, 2, 3))
    assert LegendClass(1, "x" * 200, (1, 2, 3)).name
