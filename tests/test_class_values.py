"""What values of fields mean in a legend, and how files spell numbers."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.class_values import ClassValues, one_spelling
from geoseg.errors import InputError
from geoseg.legend import NO_CLASS, Legend, LegendClass

LAND = Legend(
    "land",
    (
        LegendClass(10, "meadow", (0, 0, 1)),
        LegendClass(20, "Roof", (0, 0, 2)),
        LegendClass(3, "roof", (0, 0, 3)),
        LegendClass(5, "3", (0, 0, 4)),
        LegendClass(9, "cloud", (0, 0, 5)),
    ),
    ignore=(0, 9),
)
"""A name in two cases, a name that is another's code, an ignored class and an ignored code without one."""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"), (7.0, "7"), (np.float32(7), "7"), (np.int16(7), "7"), (" 7 ", "7"), ("7.00", "7"),
        (2.0**60, "1152921504606846976"), ("1.10", "1.10"), (1.5, "1.5"), ("v1.0", "v1.0"), ("-7.", "-7"),
        (".0", ".0"), ("007", "007"),
    ],
)  # fmt: skip
def test_a_number_is_one_however_a_file_keeps_it(value: object, text: str) -> None:
    assert one_spelling(value) == text


@pytest.mark.parametrize(
    ("value", "index"),
    [
        ("meadow", 0), ("MEADOW", 0), (10, 0), (10.0, 0), ("10", 0), (" 10.0 ", 0), (np.int64(20), 1),
        ("Roof", 1), ("roof", 2), ("ROOF", None), ("3", 3), (3, 3), (5, 3), ("cloud", 4), (9, 4), (0, NO_CLASS),
        (None, NO_CLASS), ("", NO_CLASS), (float("nan"), NO_CLASS), ("null", NO_CLASS), ("lake", None), (7, None),
    ],
)  # fmt: skip
def test_a_value_is_a_name_or_a_code(value: object, index: int | None) -> None:
    assert ClassValues.of(LAND).index(value) == index


def test_values_that_are_no_class_are_listed_with_what_there_is() -> None:
    values = np.array(["meadow", "lake", None, "bog", "lake", ["a", "list"], "10"], object)
    said = (
        r"f.gpkg: field 'kind' holds \"\['a', 'list'\]\", 'bog', 'lake': no class of the legend 'land' "
        r"\(10 meadow, 20 Roof, 3 roof, 5 3, 9 cloud\)"
    )
    with pytest.raises(InputError, match=said):
        ClassValues.of(LAND).indices(values, "f.gpkg: field 'kind'")
    found = ClassValues.of(LAND).indices(values[[0, 2, 6]], "f")
    assert found.dtype == np.uint8 and found.tolist() == [0, NO_CLASS, 0]


def test_only_the_first_strange_values_are_listed() -> None:
    with pytest.raises(InputError, match=r"'100', '101', .*'107', \.\.\.: no class"):
        ClassValues.of(LAND).indices(range(100, 200), "f")
