"""What papers say about smoothing, each as a contrast of cells that a run of the study decides.

A claim is data: words, paper, the cells whose difference it is about, and the sign that the paper gives it. The verdict is a
rule: with at least three seeds, *reproduced* if the whole interval has that sign, *not reproduced* if it has the other one,
and else *not decided*. What a small network on small images shows need not hold at scale, in either direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ._paired import FEWEST, Cell, Interval, Table, student_group

REPRODUCED, NOT_REPRODUCED, NOT_DECIDED = "reproduced", "not reproduced", "not decided"
Terms = tuple[tuple[float, Cell], ...]


@dataclass(frozen=True)
class Claim:
    """One claim; `sign` is what the paper lets one expect of the contrast."""

    question: str  # under which heading it stands
    says: str
    paper: str  # empty where nobody claims it and it is asked here
    cite: str  # "arXiv:..." or where else it is published
    where: str  # on what it was tried here
    contrast: Terms
    what: str  # the contrast in words
    sign: int


@dataclass(frozen=True)
class Finding:
    """What a run of the study has to say about a claim."""

    claim: Claim
    measured: Interval
    verdict: str


def judge(table: Table, claims: Sequence[Claim] | None = None) -> list[Finding]:
    """Decides the claims for which there are runs, in their order."""
    found = []
    for claim in CLAIMS if claims is None else claims:
        measured = table.contrast(claim.contrast)
        if measured.seeds:
            found.append(Finding(claim, measured, verdict_of(measured, claim.sign)))
    return found


def verdict_of(measured: Interval, sign: int) -> str:
    """The rule.

    >>> verdict_of(Interval(-0.05, -0.06, -0.04, 5), -1), verdict_of(Interval(-0.05, -0.06, -0.04, 5), 1)
    ('reproduced', 'not reproduced')
    >>> verdict_of(Interval(-0.05, -0.11, 0.01, 5), -1), verdict_of(Interval(-0.05, -0.06, -0.04, 2), -1)
    ('not decided', 'not decided')
    """
    if measured.seeds < FEWEST or measured.sign == 0:
        return NOT_DECIDED
    return REPRODUCED if measured.sign == sign else NOT_REPRODUCED


def _against(group: str, measure: str, epsilon: float = 0.1, other: float = 0.0) -> Terms:
    """The measure at ε minus that at another ε."""
    return ((1.0, Cell(group, epsilon, measure)), (-1.0, Cell(group, other, measure)))


def _between(group: str, left: tuple[float, str], right: tuple[float, str]) -> Terms:
    """Two measures of a group, each at its ε."""
    return ((1.0, Cell(group, *left)), (-1.0, Cell(group, *right)))


MLP, NOISE, CNN, FEW, MIXUP, DISTIL = (
    "fashion", "fashion-noise", "fashion-cnn", "fashion-few", "fashion-mixup", "fashion-distil",
)  # fmt: skip
_COLD, _WARM, _HOT = (student_group(DISTIL, f"T={t}") for t in (1, 4, 8))
_OVER, _WELL = "over-fitted MLP", "CNN that is not over-fitted"
_GUO = ("Guo et al. 2017", "arXiv:1706.04599")
_MULLER = ("Müller et al. 2019", "arXiv:1906.02629")
_SZEGEDY = ("Szegedy et al. 2016", "arXiv:1512.00567")
_LUKASIK = ("Lukasik et al. 2020", "arXiv:2003.02819")
_MUKHOTI = ("Mukhoti et al. 2020", "arXiv:2002.09437")
_XIA = ("Xia et al. 2025", "arXiv:2403.14715")
_PEREYRA = ("Pereyra et al. 2017", "arXiv:1701.06548")
_HERE = ("", "")  # no paper's claim: asked because the answer decides something

_CALIBRATION, _ACCURACY, _RANKING = "Calibration", "Accuracy", "Selection: which answers to trust"
_NOISE, _OTHERS = "Wrong labels", "Features, distillation, mixup"

CLAIMS = (
    Claim(_CALIBRATION, "Networks trained on hard labels are over-confident.", *_GUO, _OVER,
          ((1.0, Cell(MLP, 0.0, "overconfidence")),), "mean confidence minus accuracy, ε = 0", 1),
    Claim(_CALIBRATION, "Smoothing lowers the calibration error.", *_MULLER, _OVER,
          _against(MLP, "ece"), "ECE, ε = 0.1 minus ε = 0", -1),
    Claim(_CALIBRATION, "Smoothing lowers the calibration error of a network that is not over-fitted too.", *_MULLER, _WELL,
          _against(CNN, "ece"), "ECE, ε = 0.1 minus ε = 0", -1),
    Claim(_CALIBRATION, "Smoothing lowers the calibration error over more than two hundred classes.", *_MULLER, "names",
          _against("names", "ece", 0.05), "ECE, ε = 0.05 minus ε = 0", -1),
    Claim(_CALIBRATION, "Too much smoothing hurts calibration.", *_LUKASIK, _OVER,
          _against(MLP, "ece", 0.2, 0.1), "ECE, ε = 0.2 minus ε = 0.1", 1),
    Claim(_CALIBRATION, "One temperature removes most of the calibration error.", *_GUO, _OVER,
          _between(MLP, (0.0, "ece_after"), (0.0, "ece")), "ECE at ε = 0, with T minus without", -1),
    Claim(_CALIBRATION, "A temperature alone calibrates at least as well as smoothing.", *_MULLER, _OVER,
          _between(MLP, (0.0, "ece_after"), (0.05, "ece")), "ECE, ε = 0 with T minus ε = 0.05 without", -1),
    Claim(_CALIBRATION, "After a temperature, smoothing is the worse start.", *_MUKHOTI, _OVER,
          _against(MLP, "ece_after", 0.05), "ECE with T, ε = 0.05 minus ε = 0", 1),
    Claim(_CALIBRATION, "After a temperature, smoothing is the worse start for the probabilities as a whole.", *_HERE, _OVER,
          _against(MLP, "nll_after", 0.05), "NLL with T, ε = 0.05 minus ε = 0", 1),
    Claim(_ACCURACY, "Smoothing raises accuracy.", *_SZEGEDY, _OVER,
          _against(MLP, "accuracy"), "accuracy, ε = 0.1 minus ε = 0", 1),
    Claim(_ACCURACY, "Smoothing raises the accuracy of a network that is not over-fitted too.", *_SZEGEDY, _WELL,
          _against(CNN, "accuracy"), "accuracy, ε = 0.1 minus ε = 0", 1),
    Claim(_ACCURACY, "Smoothing raises accuracy over more than two hundred classes.", *_SZEGEDY, "names",
          _against("names", "accuracy"), "accuracy, ε = 0.1 minus ε = 0", 1),
    Claim(_ACCURACY, "Smoothing regularises: with few images it raises accuracy.", *_PEREYRA,
          "500 images", _against(FEW, "accuracy"), "accuracy, ε = 0.1 minus ε = 0", 1),
    Claim(_ACCURACY, "Smoothing regularises: with few digits it raises accuracy.", *_PEREYRA, "300 digits",
          _against("digits", "accuracy"), "accuracy, ε = 0.1 minus ε = 0", 1),
    Claim(_ACCURACY, "With few digits it gives better probabilities even after a temperature.", *_HERE, "300 digits",
          _against("digits", "nll_after"), "NLL with T, ε = 0.1 minus ε = 0", -1),
    Claim(_RANKING, "Smoothing spoils the ranking by confidence.", *_XIA, _OVER,
          _against(MLP, "coverage"), "coverage at 1% risk, ε = 0.1 minus ε = 0", -1),
    Claim(_RANKING, "Smoothing spoils the ranking of a network that is not over-fitted too.", *_XIA, _WELL,
          _against(CNN, "coverage"), "coverage at 1% risk, ε = 0.1 minus ε = 0", -1),
    Claim(_RANKING, "Smoothing spoils the ranking over more than two hundred classes.", *_XIA, "names",
          _against("names", "coverage"), "coverage at 1% risk, ε = 0.1 minus ε = 0", -1),
    Claim(_RANKING, "Smoothing spoils the ranking with few digits too.", *_XIA, "300 digits",
          _against("digits", "coverage"), "coverage at 1% risk, ε = 0.1 minus ε = 0", -1),
    Claim(_RANKING, "Dividing the largest logit by the norm of all repairs it.", *_XIA, _OVER,
          _between(MLP, (0.1, "coverage_norm"), (0.1, "coverage")),
          "coverage at 1% risk, ε = 0.1, by the logit norm minus by confidence", 1),
    Claim(_NOISE, "With wrong labels smoothing raises accuracy.", *_LUKASIK, "20% wrong labels",
          _against(NOISE, "accuracy"), "accuracy, ε = 0.1 minus ε = 0", 1),
    Claim(_NOISE, "With wrong labels it raises accuracy more than with right ones.", *_HERE, "20% wrong labels",
          (*_against(NOISE, "accuracy"), *((-f, c) for f, c in _against(MLP, "accuracy"))),
          "gain at ε = 0.1, wrong labels minus right ones", 1),
    Claim(_NOISE, "With wrong labels it gives better probabilities even after a temperature.", *_HERE, "20% wrong labels",
          _against(NOISE, "nll_after"), "NLL with T, ε = 0.1 minus ε = 0", -1),
    Claim(_OTHERS, "Smoothing draws the training rows of a class together.", *_MULLER, _OVER,
          _against(MLP, "spread_train"), "variance within over between classes, ε = 0.1 minus ε = 0", -1),
    Claim(_OTHERS, "A smoothed teacher teaches worse.", *_MULLER, "students at T = 1",
          _against(_COLD, "accuracy"), "student's accuracy, teacher at ε = 0.1 minus ε = 0", -1),
    Claim(_OTHERS, "A smoothed teacher teaches worse at a high temperature.", *_MULLER, "students at T = 4",
          _against(_WARM, "accuracy"), "student's accuracy, teacher at ε = 0.1 minus ε = 0", -1),
    Claim(_OTHERS, "Students inherit the spoilt ranking.", *_HERE, "students at T = 4",
          _against(_WARM, "coverage"), "student's coverage at 1% risk, teacher at ε = 0.1 minus ε = 0", -1),
    Claim(_OTHERS, "A smoothed teacher teaches at least as well.", "Shen et al. 2021", "arXiv:2104.00676", "students at T = 4",
          _against(_WARM, "accuracy"), "student's accuracy, teacher at ε = 0.1 minus ε = 0", 1),
    Claim(_OTHERS, "A smoothed teacher suffers from a high temperature.", "Chandrasegaran et al. 2022", "PMLR 162:2890",
          "students at T = 8 and T = 1",
          (*_against(_HOT, "accuracy"), *((-f, c) for f, c in _against(_COLD, "accuracy"))),
          "what the smoothed teacher brings, T = 8 minus T = 1", -1),
    Claim(_OTHERS, "mixup calibrates.", "Thulasidasan et al. 2019", "arXiv:1905.11001", _OVER,
          ((1.0, Cell(MIXUP, 0.0, "ece")), (-1.0, Cell(MLP, 0.0, "ece"))), "ECE at ε = 0, mixup minus plain", -1),
    Claim(_OTHERS, "Smoothing on top of mixup makes the network under-confident.", *_HERE, "mixup",
          ((1.0, Cell(MIXUP, 0.1, "overconfidence")),), "mean confidence minus accuracy, ε = 0.1", -1),
)  # fmt: skip
