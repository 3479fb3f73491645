"""The answer: should I smooth, and how much? One key, one sentence, and the number that decides.

What logits of one model can say is whether there is something to repair and whether a temperature repairs it. Whether another
ε would make a better model takes runs with that ε, and at least three seeds of each.
"""

from __future__ import annotations

from dataclasses import dataclass

from .assess import Assessment
from .facts import facts_of
from .rules import CHANCE, GAIN, POINT, Said, said
from .runs import SEEDS, Comparison, Difference

FEWEST = 100  # rows, below which nothing is recommended


@dataclass(frozen=True)
class Recommendation:
    """What to do, why, and what else there is to say."""

    key: str  # leave, temperature, smooth, no_smoothing or undecided
    epsilon: float | None  # to train with, where runs with several were compared
    temperature: float | None  # to divide the logits by, where one helps
    verdict: str  # one or two sentences
    decided_by: str  # the word of the number that decides
    number: float
    said: tuple[Said, ...]

    @property
    def advice(self) -> tuple[Said, ...]:
        """What to do besides."""
        return tuple(one for one in self.said if one.kind == "advice")

    @property
    def warnings(self) -> tuple[Said, ...]:
        """What to be careful with."""
        return tuple(one for one in self.said if one.kind == "warning")


def recommend(
    run: Assessment,
    comparison: Comparison | None = None,
    *,
    context: tuple[str, ...] = (),
    noise: float | None = None,
    from_probabilities: bool = False,
    runs: int = 1,
) -> Recommendation:
    """Recommends from one run, or from the comparison of several of which it is one.

    Args:
        run: the only run, or one of the recommended ε.
        comparison: of runs with several ε.
        context: what the user says of the model: words of `rules.CONTEXTS`.
        noise: share of wrong training labels, if known.
        from_probabilities: the logits are logarithms of probabilities.
        runs: how many there are.

    Returns:
        The recommendation.

    Example:
        >>> from labelsmooth.calibration.assess import assess
        >>> from labelsmooth.data import path
        >>> from labelsmooth.files import open_stream
        >>> recommend(assess(open_stream(path("digits.csv")))).key
        'leave'
    """
    several = comparison is not None and len(comparison.groups) > 1
    key, epsilon, verdict, word, number = _of_runs(comparison) if several and comparison else _of_one(run)
    helps = run.temperature.usable and (key not in {"leave", "undecided"})
    facts = facts_of(run, comparison, context=context, noise=noise, from_probabilities=from_probabilities, runs=runs)
    return Recommendation(key, epsilon, run.temperature.value if helps else None, verdict, word, number, said(facts))


def _of_one(run: Assessment) -> tuple[str, None, str, str, float]:
    before, t = run.before, run.temperature
    over, (low, high) = before.overconfidence, before.intervals["overconfidence"]
    gain = 1 - run.nll_after / before.nll if before.nll > 0 else 0.0
    points = (
        f"Mean confidence is {abs(100 * over):.1f} points {'above' if over > 0 else 'below'} the accuracy "
        f"(95%: {100 * low:+.1f} to {100 * high:+.1f})"
    )
    if run.rows < FEWEST:
        return "undecided", None, f"{run.rows} rows are too few to recommend anything. {points}.", "rows", run.rows
    calm = before.null.p_value > CHANCE
    small = abs(over) < POINT or low <= 0 <= high
    if not t.usable:
        if small and calm:
            return (
                "leave",
                None,
                f"Leave it as it is. {points}, and the ECE is that of a calibrated model.",
                "overconfidence",
                over,
            )
        return "undecided", None, f"{points}, and no temperature can be fitted: {t.refusal}.", "overconfidence", over
    if gain < GAIN and (small or calm):
        better = (
            f"T = {t.value:.3g} would lower the NLL by {100 * gain:.1f}%"
            if gain > 0
            else "no temperature lowers the NLL"
        )
        return "leave", None, f"Already calibrated, leave it as it is. {points}; {better}.", "nll_gain", gain
    after = run.after or before
    removed = (
        f"T = {t.value:.3g} ({t.low:.3g} to {t.high:.3g}) takes the ECE from {before.null.ece:.3f} to {after.null.ece:.3f} "
        f"(chance alone: {after.null.floor:.3f}) and the NLL {'down' if gain > 0 else 'up'} by {abs(100 * gain):.0f}%"
    )
    head = "Right on average, and not row by row" if small else f"{_side(over)}-confident by {_by(over, low, high)}"
    if gain < GAIN or (after.null.ece > before.null.ece and after.brier > before.brier):
        verdict = (
            f"{head}, and one temperature does not repair it. {removed}, and the Brier score from {before.brier:.3f} to "
            f"{after.brier:.3f}. Look at the worst classes and at their labels first."
        )
        return "undecided", None, verdict, "brier", after.brier - before.brier
    more = "More smoothing" if run.epsilon or run.smoothing.likely else "Smoothing"
    rest = "" if small else " You do not need smoothing for that." if over > 0 else f" {more} would make it worse."
    return "temperature", None, f"{head}. {removed}.{rest}", "nll_gain", gain


def _side(over: float) -> str:
    return "Over" if over > 0 else "Under"


def _by(over: float, low: float, high: float) -> str:
    """How far, with its interval, both as positive numbers."""
    ends = sorted(abs(100 * x) for x in (low, high))
    return f"{abs(100 * over):.1f} points (95%: {ends[0]:.1f} to {ends[1]:.1f})"


def _of_runs(found: Comparison) -> tuple[str, float | None, str, str, float]:
    """From runs of several ε: by the NLL after temperature, and only what seeds and rows agree on."""
    plain, best, chosen = found.groups[0], found.group(found.best), found.group(found.chosen)
    where = "validation" if found.on_validation else "these rows"
    numbers = f"NLL after temperature on {where}: " + ", ".join(
        f"{g.measured['criterion'].mean:.3f} at ε = {g.epsilon:g}" for g in found.groups
    )
    if not found.enough:
        verdict = (
            f"No claim: of an ε there {'is 1 seed' if found.seeds == 1 else f'are {found.seeds} seeds'}, and {SEEDS} are "
            f"needed to tell smoothing from luck. {numbers}."
        )
        return "undecided", None, verdict, "seeds", found.seeds
    if chosen is plain:
        verdict = f"Stay at ε = {plain.epsilon:g} and divide by a temperature. {numbers}."
        if best is not plain:
            verdict += f" ε = {best.epsilon:g} is lower by less than its standard error over seeds ({found.error:.3f})."
        rise = _surest_rise(found)
        if rise:
            verdict += f" If only accuracy counts, ε = {rise[0]:g} gives {_points(rise[1])}."
        return "no_smoothing", plain.epsilon, verdict, "criterion", plain.measured["criterion"].mean
    nll, accuracy = chosen.differences["nll_after"], chosen.differences["accuracy"]
    if not (nll.clear and nll.mean < 0):
        verdict = (
            f"Undecided: ε = {chosen.epsilon:g} is ahead, but {_signed(nll)} of NLL after temperature may be luck of seeds or "
            f"rows. {numbers}."
        )
        return "undecided", None, verdict, "nll_after", nll.mean
    also = (
        f"; accuracy {_points(accuracy)}"
        if accuracy.clear
        else f"; the accuracy does not change clearly ({_points(accuracy)})"
    )
    verdict = (
        f"Smooth, with ε = {chosen.epsilon:g}, and divide by a temperature. Against ε = {plain.epsilon:g} the NLL after "
        f"temperature changes by {_signed(nll)} over {found.seeds} seeds{also}. {numbers}."
    )
    return "smooth", chosen.epsilon, verdict, "nll_after", nll.mean


def _surest_rise(found: Comparison) -> tuple[float, Difference] | None:
    """The ε with the largest clear gain of accuracy."""
    rises = [(g.epsilon, g.differences["accuracy"]) for g in found.groups[1:]]
    clear = [one for one in rises if one[1].clear and one[1].mean > 0]
    return max(clear, key=lambda one: one[1].mean, default=None)


def _points(d: Difference) -> str:
    low, high = d.seeds
    return f"{100 * d.mean:+.2f} points (95% over seeds: {100 * low:+.2f} to {100 * high:+.2f})"


def _signed(d: Difference) -> str:
    low, high = d.seeds
    return f"{d.mean:+.3f} (95%: {low:+.3f} to {high:+.3f})"
