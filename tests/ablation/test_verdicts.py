"""The paper's claims on matrices made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from geoseg.ablation.verdicts import FAILS, HOLDS, OPEN, Verdict, judge
from geoseg.confusion import ConfusionMatrix
from geoseg.legend import Legend, LegendClass

LEGEND = Legend(
    "three",
    tuple(LegendClass(i, name, (i, 0, 0)) for i, name in enumerate(("field", "roof", "pond", "cloud"))),
    ignore=(3,),
)
BASE = ((60, 10, 10, 0), (4, 16, 0, 0), (6, 0, 4, 0), (1, 2, 3, 0))
"""Fields 80, roofs 20, ponds 10 pixels: 20 of fields are lost, 10 of others become fields."""
FOCAL = ((50, 10, 20, 0), (4, 16, 0, 0), (6, 0, 4, 0), (1, 2, 3, 0))
"""Ten more pixels of field are taken for pond."""
BETTER = ((80, 0, 0, 0), (0, 20, 0, 0), (6, 0, 4, 0), (1, 2, 3, 0))


def scenes(*counts: Sequence[Sequence[int]], ignored: tuple[int, ...] = LEGEND.ignored) -> dict[str, ConfusionMatrix]:
    return {str(place): ConfusionMatrix(np.array(one), ignored) for place, one in enumerate(counts)}


def of(verdicts: list[Verdict], part: str) -> Verdict:
    (found,) = [one for one in verdicts if part in one.claim]
    return found


def test_flows_by_hand() -> None:
    verdicts = judge({"baseline": [scenes(*[BASE] * 8)]}, LEGEND)
    found = of(verdicts, "overpredict field")
    assert found.verdict == HOLDS and found.lead == pytest.approx((20 - 10) / 110)
    assert found.sentence == (
        "Field taken for other classes, of all pixels: baseline 18.2 %; other classes taken for field, of all pixels: "
        "baseline 9.1 %."
    )
    learned = of(verdicts, "learns field, the dominant class")
    assert learned.verdict == HOLDS and learned.lead == pytest.approx(60 / 90 - (16 / 30 + 4 / 20) / 2)
    assert "IoU of field: baseline 0.6667; mean IoU of the classes but field: baseline 0.3667" in learned.sentence
    # Every roof and pond that is missed becomes field.
    mistakes = of(verdicts, "does not replace")
    assert mistakes.verdict == FAILS and mistakes.lead == 1 - 2
    assert "baseline 2 (roof 20.0 %, pond 60.0 %); half of the other classes: 1." in mistakes.sentence


def test_focal_loss_by_hand() -> None:
    verdicts = judge({"baseline": [scenes(*[BASE] * 8)], "focal": [scenes(*[FOCAL] * 8)]}, LEGEND)
    taken = of(verdicts, "takes more of field for pond")
    assert taken.verdict == HOLDS and taken.lead == pytest.approx(10 / 80)
    assert taken.sentence == "Field taken for pond: baseline 12.5 %, focal 25.0 %."
    predicted = of(verdicts, "overpredicts pond")
    assert predicted.lead == pytest.approx((24 - 10) / 110)
    assert predicted.sentence == "Predicted as pond, of all pixels: focal 21.8 %; of the class pond in truth: 9.1 %."
    positives = of(verdicts, "false positives")
    assert positives.lead == pytest.approx(10 / 110)
    assert "baseline 18.2 %, focal 27.3 % (roof 9.1 % to 9.1 %, pond 9.1 % to 18.2 %)" in positives.sentence
    worse = of(verdicts, "Focal loss is worse")
    assert worse.lead == pytest.approx((4 / 20 - 4 / 30) / 2)


def test_gains_by_hand() -> None:
    rows = {"baseline": [scenes(*[BASE] * 8)], "augment": [scenes(*[BASE] * 8)], "resnet34": [scenes(*[BETTER] * 8)]}
    verdicts = judge(rows, LEGEND)
    gain = of(verdicts, "resnet34 row has a higher mean IoU (pooled)")
    base = (60 / 90 + 16 / 30 + 4 / 20) / 3
    assert gain.verdict == HOLDS and gain.lead == pytest.approx((80 / 86 + 1 + 4 / 10) / 3 - base)
    assert of(verdicts, "augment row has a higher mean IoU (pooled)").verdict == FAILS
    every = of(verdicts, "improves every class")
    assert every.verdict == HOLDS and every.lead == pytest.approx(4 / 10 - 4 / 20)
    assert "field +0.2636, roof +0.4667, pond +0.2000" in every.sentence
    most = of(verdicts, "gains most (pooled)")
    assert most.verdict == HOLDS and most.lead == pytest.approx(gain.lead)
    assert "largest gain of the other rows: +0.0000 (augment +0.0000)" in most.sentence


def test_the_averages_of_a_gain_are_told_apart() -> None:
    """A row that is better in one large scene and worse in many small ones."""
    small = ((8, 2, 0, 0), (2, 2, 0, 0), (1, 0, 1, 0), (0, 0, 0, 0))
    worse = ((5, 5, 0, 0), (3, 1, 0, 0), (2, 0, 0, 0), (0, 0, 0, 0))
    base = scenes(np.array(BASE) * 100, *[small] * 7)
    augment = scenes(np.array(BETTER) * 100, *[worse] * 7)
    verdicts = judge({"baseline": [base], "augment": [augment]}, LEGEND)
    assert of(verdicts, "augment row has a higher mean IoU (pooled)").lead > 0
    assert of(verdicts, "augment row has a higher mean IoU (image-absent0)").lead < 0


def test_what_scenes_contradict_cannot_be_told() -> None:
    base, augment = scenes(*[BASE] * 8), scenes(*[BETTER] * 4, *[FOCAL] * 4)
    found = of(judge({"baseline": [base], "augment": [augment]}, LEGEND), "lowers the IoU of field")
    assert found.verdict == OPEN and found.low < 0 < found.high


def test_what_seeds_contradict_cannot_be_told() -> None:
    base = scenes(*[BASE] * 8)
    rows = {"baseline": [base, base], "augment": [scenes(*[BETTER] * 8), scenes(*[FOCAL] * 8)]}
    found = of(judge(rows, LEGEND), "augment row has a higher mean IoU (pooled)")
    assert found.low > 0 and found.seeds[0] > 0 > found.seeds[1]
    assert found.verdict == OPEN


def test_leads_of_seeds_are_about_the_classes_of_all_together() -> None:
    """One seed takes most of the field for roofs, the other for ponds."""
    roofs, ponds = np.array(BASE), np.array(BASE)
    roofs[0], ponds[0] = (40, 25, 15, 0), (30, 15, 35, 0)
    rows = {"baseline": [scenes(*[BASE] * 8)] * 2, "augment": [scenes(*[roofs] * 8), scenes(*[ponds] * 8)]}
    found = of(judge(rows, LEGEND), "the class that it resembles")
    assert found.sentence == "Field taken for pond: baseline 12.5 %, augment 31.2 %."
    assert found.seeds == pytest.approx(((15 - 10) / 80, (35 - 10) / 80))
    assert found.lead == pytest.approx(sum(found.seeds) / 2)


@pytest.mark.parametrize(("count", "verdict"), [(1, OPEN), (5, OPEN), (6, HOLDS)])
def test_few_scenes_tell_nothing(count: int, verdict: str) -> None:
    found = of(judge({"baseline": [scenes(*[BASE] * count)]}, LEGEND), "overpredict field")
    assert found.verdict == verdict and (found.low is None) == (count == 1)


def test_missing_rows_are_said() -> None:
    verdicts = judge({"baseline": [scenes(*[BASE] * 8)]}, LEGEND)
    found = of(verdicts, "ResNet-34 encoder improves")
    assert (found.verdict, found.lead, found.sentence) == (OPEN, None, "It needs runs of baseline and resnet34.")
    assert {one.verdict for one in judge({}, LEGEND)} == {OPEN}


def test_scenes_without_truth_change_nothing() -> None:
    empty = np.zeros((4, 4), int)
    one, two = (judge({"baseline": [scenes(*counts)]}, LEGEND) for counts in ([BASE] * 8, [BASE] * 8 + [empty]))
    assert one == two


def test_names_with_braces_stay_names() -> None:
    braces = Legend("odd", tuple(LegendClass(i, name, (i, 0, 0)) for i, name in enumerate(("{x}", "b{}", "c"))))
    counts = np.array(BASE)[:3, :3]
    found = of(judge({"baseline": [scenes(*[counts] * 8, ignored=())]}, braces), "learns {x}")
    assert "IoU of {x}: baseline 0.6667" in found.sentence and "b{} 0.5333" in found.sentence


def test_two_classes_cannot_tell_which_of_the_others_is_taken() -> None:
    two = Legend("two", (LegendClass(0, "land", (0, 0, 0)), LegendClass(1, "sea", (0, 0, 1))))
    verdicts = judge({"baseline": [scenes(*[((7, 1), (3, 2))] * 8, ignored=())]}, two)
    found = of(verdicts, "does not replace")
    assert (found.verdict, found.lead) == (OPEN, None)
    assert found.sentence == "It takes 3 classes; the test scenes' truth has land, sea."
    assert of(verdicts, "learns land").lead == pytest.approx(7 / 11 - 2 / 6)


def test_one_class_tells_nothing() -> None:
    alone = np.zeros((4, 4), int)
    alone[1] = (2, 5, 1, 0)
    rows = {row: [scenes(*[alone] * 8)] for row in ("baseline", "focal", "augment", "resnet34")}
    verdicts = judge(rows, LEGEND)
    assert {(one.verdict, one.lead) for one in verdicts} == {(OPEN, None)}
    assert "It takes 2 classes; the test scenes' truth has roof." in {one.sentence for one in verdicts}


def test_classes_without_truth_are_in_no_sentence() -> None:
    """Ponds are mapped where there are none; clouds are ignored."""
    dry = np.array(BASE)
    dry[2] = 0
    sentences = [one.sentence for one in judge({"baseline": [scenes(*[dry] * 8)]}, LEGEND)]
    assert not [one for one in sentences if "pond" in one or "cloud" in one or "nan" in one]
