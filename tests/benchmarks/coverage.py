"""How often intervals hold the true value, by number of scenes: simulated scenes whose population is known.

    python tests/benchmarks/coverage.py [--repetitions 1000]

Each scene has 10,000 px: its shares of six classes and its errors are drawn from Dirichlet distributions around
DeepGlobe-like shares and a map that is right in 70 % of each class, so that scenes differ as real ones do.
"""

from __future__ import annotations

import argparse

import numpy as np

from geoseg import metrics
from geoseg.confusion import ConfusionMatrix
from geoseg.scoring.intervals import bootstrap

SHARES = np.array([0.09, 0.57, 0.11, 0.11, 0.06, 0.06])
RATES = np.full((6, 6), 0.06) + np.diag([0.64] * 6)
FIGURES = ("mean_iou", "mean_f1", "pixel_accuracy", "kappa", "quantity_disagreement", "allocation_disagreement")


def simulated(generator: np.random.Generator, scenes: int) -> list[ConfusionMatrix]:
    """Scenes of 10,000 px each."""
    found = []
    for _ in range(scenes):
        truth = generator.multinomial(10_000, generator.dirichlet(3 * SHARES))
        rows = [generator.multinomial(n, generator.dirichlet(4 * rates)) for n, rates in zip(truth, RATES, strict=True)]
        found.append(ConfusionMatrix(np.stack(rows)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    repetitions = parser.parse_args().repetitions
    population = metrics.overall(np.pad(SHARES[:, None] * RATES, ((0, 0), (0, 1))))
    print("| scenes | " + " | ".join(FIGURES) + " |")
    print("|---" * (len(FIGURES) + 1) + "|")
    for scenes in (5, 10, 20, 40, 80):
        hits = dict.fromkeys(FIGURES, 0)
        for seed in range(repetitions):
            overall = bootstrap(simulated(np.random.default_rng(seed), scenes), seed=seed).overall
            for name in FIGURES:
                hits[name] += overall[name].low <= population[name] <= overall[name].high
        print(f"| {scenes} | " + " | ".join(f"{count / repetitions:.1%}" for count in hits.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
