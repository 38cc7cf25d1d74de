"""The paper's claims on matrices made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from geoseg.ablation.claims import FAILS, HOLDS, OPEN, Verdict, judge
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


def scenes(*counts: Sequence[Sequence[int]]) -> dict[str, ConfusionMatrix]:
    return {str(place): ConfusionMatrix(np.array(one), LEGEND.ignored) for place, one in enumerate(counts)}


def of(verdicts: list[Verdict], part: str) -> Verdict:
    (found,) = [one for one in verdicts if part in one.claim]
    return found


def test_flows_by_hand() -> None:
    verdicts = judge({"baseline": [scenes(*[BASE] * 8)]}, LEGEND)
    found = of(verdicts, "overpredict field")
    assert found.verdict == HOLDS and found.lead == pytest.approx((20 - 10) / 110)
    assert "18.2 % are field taken for another class, 9.1 % another class taken for field" in found.sentence
    assert "predicts field on 63.6 %, 72.7 % are of it" in found.sentence
    # Every roof and pond that is missed becomes field.
    mistakes = of(verdicts, "does not replace")
    assert mistakes.verdict == FAILS and mistakes.lead == 1 - 2
    assert "roof 20.0 %, pond 60.0 %" in mistakes.sentence and "in 2 of 2 classes" in mistakes.sentence


def test_focal_loss_by_hand() -> None:
    verdicts = judge({"baseline": [scenes(*[BASE] * 8)], "focal": [scenes(*[FOCAL] * 8)]}, LEGEND)
    taken = of(verdicts, "takes more of field for pond")
    assert taken.verdict == HOLDS and taken.lead == pytest.approx(10 / 80)
    assert "12.5 % is taken for pond by the baseline, 25.0 % by focal" in taken.sentence
    predicted = of(verdicts, "overpredicts pond")
    assert predicted.lead == pytest.approx((24 - 10) / 110) and "21.8 %" in predicted.sentence
    positives = of(verdicts, "false positives")
    assert positives.lead == pytest.approx(10 / 110) and "pond 9.1 % to 18.2 %" in positives.sentence
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
    most = of(verdicts, "gains most (pooled)")
    assert most.verdict == HOLDS and most.lead == pytest.approx(gain.lead)


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
