"""Drift: whether a feature's recent values still look like the rows its model was trained on.

Three questions, all answered yes before a person is woken. *Is it chance?* The two-sample G
statistic of a window against the reference, under a null fitted to the feature's own past windows
of that length, so that its nights and weekends count as usual. *Does it matter?* The bias-corrected
population stability index (PSI) less its usual value, the median of the past windows. *Does it
last?* Two of the last three windows, unless the change is too large to wait.

**Lasting shifts.** A season that moves a feature away from its training rows for good is a page
when it sets in and for about three windows more (three days at 24 h). From then on it is among the
past windows: it widens the null and, once half of them have it, is the usual excess. The verdict
then is silent, with a high `psi` and a low `excess`: the news has been told, and its cure is
retraining, which brings a new reference. For the same reason a change that creeps over weeks is not
seen here, but by performance and measured staleness; and as PSI is a distance, neither is a move
from one unusual place to another equally far.

**Young systems.** With less than 14 days of past windows only the theoretical null is known and
nothing is usual, so a daily rhythm looks like drift. Give the hours of the training rows as the
first history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from mainspring.errors import InvalidDeclaration
from mainspring.monitoring.profile import Profile

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Level = Literal["none", "notice", "page"]
LEVELS: tuple[Level, ...] = ("none", "notice", "page")

HOURS_PER_MONTH = 30 * 24
OLD_INCIDENT = 5.0
"""A past window so many times stranger than its hour of the day was an incident."""
SHORT_HISTORY = 2.0
"""How far two weeks may underestimate the spread between windows: squared ratio of t(13) to normal
quantiles at the significance of a page."""


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """What counts as drift: window lengths in hours, the effect that matters, the false pages.

    A page needs `hits` of the last `of` windows; a PSI of `urgent` beyond the usual does not wait.

    Example:
        >>> DriftSettings(effect=0.1).windows
        (1, 6, 24)
    """

    windows: tuple[int, ...] = (1, 6, 24)
    min_rows: int = 300
    effect: float = 0.04
    urgent: float = 0.25
    history_days: int = 14
    hits: int = 2
    of: int = 3
    false_pages_per_month: float = 1.0

    def __post_init__(self) -> None:
        positive = (*self.windows, self.min_rows, self.effect, self.history_days, self.of)
        if not self.windows or min(*positive, self.false_pages_per_month) <= 0:
            raise _senseless("windows, rows, effect, days and pages must be above 0", self)
        if self.effect > self.urgent or not self.of / 2 < self.hits <= self.of:
            raise _senseless("urgent must be at least effect, hits more than half of 'of'", self)

    def significance(self, features: int) -> float:
        """The p-value below which a window is no chance: the budget over a month's evaluations.

        Example:
            >>> DriftSettings(windows=(24,)).significance(features=1) == 1 / 720
            True
        """
        return self.false_pages_per_month / (features * len(self.windows) * HOURS_PER_MONTH)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about one feature at one moment, and the evidence.

    `psi` is bias-corrected, `excess` is what of it is unusual; `moved` are the cells that moved
    most, the first the most. An urgent page did not wait for a second window.

    Example:
        >>> judge(np.array([500, 500]), np.array([[0, 0]]), DriftSettings(), features=1).reason
        'too few rows to tell: 0 in 24 h, 300 needed'
    """

    level: Level
    urgent: bool
    psi: float
    excess: float
    g: float
    p_value: float
    window_hours: int
    rows: int
    reason: str
    moved: tuple[int, ...] = ()


def judge(reference: Counts, history: Profile, settings: DriftSettings, features: int) -> Verdict:
    """The verdict on one feature now.

    Args:
        reference: counts per cell of the training rows.
        history: counts per hour and cell, newest hour last, empty hours included.
        features: how many features, slices and versions share the budget of false pages.

    Example:
        >>> past = np.tile([250, 250], (20 * 24, 1))
        >>> judge(np.array([9000, 9000]), past, DriftSettings(), features=10).level
        'none'
        >>> past[-2:] = [50, 450]
        >>> judge(np.array([9000, 9000]), past, DriftSettings(), features=10).level
        'page'
    """
    return Stream.measure(reference, history, settings).verdict(len(history) - 1, features)


def rank(verdicts: dict[str, Verdict], importance: dict[str, float]) -> list[str]:
    """The features by importance × unusual PSI: first the one that probably hurts its model most.

    Example:
        >>> small = Verdict("page", False, 0.1, 0.1, 90.0, 1e-9, 1, 400, "")
        >>> large = Verdict("page", True, 0.5, 0.5, 300.0, 1e-40, 1, 400, "")
        >>> rank({"hour": large, "delay": small}, {"hour": 0.1, "delay": 0.9})
        ['delay', 'hour']
    """

    def harm(name: str) -> tuple[float, float, str]:
        effect = max(verdicts[name].excess, 0.0)
        return -importance.get(name, 0.0) * effect, -effect, name

    return sorted(verdicts, key=harm)


def g_statistic(windows: Profile, reference: Counts) -> tuple[Floats, Floats]:
    """The two-sample G statistic of each window against the reference, and its degrees of freedom.

    Example:
        >>> g, dof = g_statistic(np.array([[10, 10], [20, 0]]), np.array([500, 500]))
        >>> g.round(2).tolist(), dof.tolist()
        ([0.0, 27.33], [1.0, 1.0])
    """
    both = windows + reference
    n, m = windows.sum(axis=1), reference.sum()
    apart = _x_log_x(windows).sum(axis=1) + _x_log_x(reference).sum()
    cells = apart - _x_log_x(both).sum(axis=1)
    g = 2 * (cells - _x_log_x(n) - _x_log_x(m) + _x_log_x(n + m))
    return np.maximum(g, 0.0), (both > 0).sum(axis=1) - 1.0


def corrected_psi(windows: Profile, reference: Counts) -> Floats:
    """The PSI of each window less what sampling alone adds, so that no change has a mean near 0.

    The correction is the delta method's, `(cells - 1) * (1 / n + 1 / m)`; a cell too rare to be
    expected in the window adds less, in proportion.

    Example:
        >>> corrected_psi(np.array([[300, 100]]), np.array([5000, 5000])).round(2).tolist()
        [0.27]
    """
    n, m = windows.sum(axis=1), max(int(reference.sum()), 1)
    expected = np.multiply.outer(n, reference / m)
    noise = (np.minimum(expected, 1.0) * (1 - reference / m)).sum(axis=1)
    return np.asarray(_movement(windows, reference).sum(axis=1) - noise * (1 / n + 1 / m))


class Usual(NamedTuple):
    """What the past shows: its median PSI, and per row a mean and variance of G beyond theory."""

    psi: float = 0.0
    mean: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of one length, one ending with every hour; `known` have enough rows to measure.

    `size` is the rows as a two-sample comparison sees them, `1 / (1 / n + 1 / m)`.
    """

    hours: int
    counts: Profile
    rows: Counts
    known: npt.NDArray[np.bool_]
    size: Floats
    psi: Floats
    g: Floats
    dof: Floats

    @classmethod
    def measure(cls, reference: Counts, history: Profile, hours: int, min_rows: int) -> Self:
        """The windows of `hours` over the history; one that begins before it is not known."""
        sums = np.concatenate([np.zeros((hours, len(reference)), np.int64), history.cumsum(axis=0)])
        counts = sums[hours:] - sums[:-hours]
        rows, m = counts.sum(axis=1), int(reference.sum())
        known = (np.minimum(rows, m) >= min_rows) & (np.arange(len(rows)) >= hours - 1)
        psi, g, dof = np.zeros((3, len(rows)))
        g[known], dof[known] = g_statistic(counts[known], reference)
        psi[known] = corrected_psi(counts[known], reference)
        return cls(hours, counts, rows, known, rows * (m / np.maximum(rows + m, 1)), psi, g, dof)

    def usual(self, at: int, settings: DriftSettings) -> Usual:
        """What the windows before those judged at `at` show, once they span enough days.

        A window of n rows whose truth differs from the reference has a G of mean `dof + n x` and
        variance `2 dof + 4 n x` (noncentral chi-square). The x of the past windows has a mean and a
        variance itself, found by moments, so that quiet and busy hours compare; neither is below 0.
        """
        until = at + 1 - settings.of * self.hours
        if until < settings.history_days * 24:
            return Usual()
        past = _without_incidents(self, until)
        if not len(past):
            return Usual()
        dof, size = self.dof[past], self.size[past]
        x = (self.g[past] - dof) / size
        mean = max(float(x.mean()), 0.0)
        spread = float(((x - mean) ** 2 - (2 * dof + 4 * size * mean) / size**2).mean())
        return Usual(
            max(float(np.median(self.psi[past])), 0.0), mean, max(spread, 0.0) * SHORT_HISTORY
        )

    def p_value(self, at: int, usual: Usual, independent: int = 1) -> float:
        """The chance of G at `at` under the scaled chi-square of its moments, or more under theory.

        With `independent` disjoint windows that must agree, the noise of sampling is that of their
        mean; what varies between windows is taken to last and stays.
        """
        from scipy.special import chdtrc

        g, dof, size = float(self.g[at]), float(self.dof[at]), float(self.size[at])
        if dof <= 0:
            return 1.0
        mean = dof + usual.mean * size
        noise = (2 * dof + 4 * usual.mean * size) / independent
        scale = (noise + usual.spread * size**2) / (2 * mean)
        theory = chdtrc(dof * independent, g * independent)
        return float(max(theory, chdtrc(mean / scale, g / scale)))


@dataclass(frozen=True, slots=True)
class Stream:
    """One feature's hourly counts with every window measured, to be judged at any of its hours.

    Measuring costs as much as several verdicts: to judge many hours, measure once.

    Example:
        >>> history = np.tile([250, 250], (480, 1))
        >>> stream = Stream.measure(np.array([9000, 9000]), history, DriftSettings())
        >>> {stream.verdict(hour, features=10).level for hour in range(480)}
        {'none'}
    """

    reference: Counts
    settings: DriftSettings
    levels: tuple[Windows, ...]

    @classmethod
    def measure(cls, reference: Counts, history: Profile, settings: DriftSettings) -> Self:
        """The stream of `history`, one row of counts per hour.

        Example:
            >>> stream = Stream.measure(np.array([9, 9]), np.array([[5, 5]]), DriftSettings())
            >>> [level.hours for level in stream.levels]
            [1, 6, 24]
        """
        lengths, rows = settings.windows, settings.min_rows
        levels = (Windows.measure(reference, history, hours, rows) for hours in lengths)
        return cls(reference, settings, tuple(levels))

    def verdict(self, at: int, features: int) -> Verdict:
        """The verdict when hour `at` ends: the gravest of the window lengths with enough rows.

        Example:
            >>> stream = Stream.measure(np.array([9, 9]), np.array([[5, 5]]), DriftSettings())
            >>> stream.verdict(0, features=1).level
            'none'
        """
        known = [windows for windows in self.levels if windows.known[at]]
        if not known:
            return self._untold(at)
        alpha = self.settings.significance(features)
        return max((self._judge(windows, at, alpha) for windows in known), key=_gravity)

    def _judge(self, windows: Windows, at: int, alpha: float) -> Verdict:
        usual, settings = windows.usual(at, self.settings), self.settings
        psi, p_value = float(windows.psi[at]), windows.p_value(at, usual)
        urgent = p_value < alpha and psi - usual.psi >= settings.urgent
        lasting = self._lasting_p(windows, at, usual)
        if lasting < alpha:
            p_value = min(p_value, lasting)
        level = LEVELS[2 if urgent or lasting < alpha else 1 if p_value < alpha else 0]
        return Verdict(
            level=level,
            urgent=urgent,
            psi=psi,
            excess=psi - usual.psi,
            g=float(windows.g[at]),
            p_value=p_value,
            window_hours=windows.hours,
            rows=int(windows.rows[at]),
            reason=_reason(level, psi, psi - usual.psi, windows, at, settings),
            moved=() if level == "none" else _most_moved(windows.counts[at], self.reference),
        )

    def _lasting_p(self, windows: Windows, at: int, usual: Usual) -> float:
        """The p-value that enough of the last windows reach with an effect that matters, or 1.

        The window at `at` must be among them: a verdict speaks of now. Windows longer than the hour
        between evaluations overlap, so they are no independent evidence.
        """
        settings = self.settings
        independent = settings.hits if windows.hours == 1 else 1
        recent = [
            windows.p_value(t, usual, independent)
            for t in range(max(at + 1 - settings.of, 0), at + 1)
            if windows.known[t] and windows.psi[t] - usual.psi >= settings.effect
        ]
        if len(recent) < settings.hits or windows.psi[at] - usual.psi < settings.effect:
            return 1.0
        return max(recent[-1], sorted(recent)[settings.hits - 1])

    def _untold(self, at: int) -> Verdict:
        longest, needed = self.levels[-1], self.settings.min_rows
        rows, trained = int(longest.rows[at]), int(self.reference.sum())
        has = f"{rows:,} in {longest.hours} h" if trained >= needed else f"{trained:,} in training"
        reason = f"too few rows to tell: {has}, {needed} needed"
        return Verdict("none", False, 0.0, 0.0, 0.0, 1.0, longest.hours, rows, reason)


def _without_incidents(windows: Windows, until: int) -> npt.NDArray[np.intp]:
    """The known windows of the whole days before `until` that do not stand out of their hour.

    An old incident must not hide a new one; what one day of seven has at the same hour stays.
    """
    days = until // 24
    span = slice(until - days * 24, until)
    known, size = windows.known[span], np.maximum(windows.size[span], 1.0)
    strange = np.where(known, windows.g[span] - windows.dof[span], 0.0) / size
    common = np.sort(strange.reshape(days, 24), axis=0)[days - 1 - days // 10]
    limit = OLD_INCIDENT * np.maximum(common, (windows.dof[span] / size).max())
    return span.start + np.flatnonzero(known & (strange <= np.tile(limit, days)))


def _movement(windows: Profile, reference: Counts) -> Floats:
    """What each cell adds to the PSI.

    No share may be 0: the reference gets half a row per cell, a window half a row in each cell in
    which it should have had one, so that missing a rare cell is no change.
    """
    q = (reference + 0.5) / (reference + 0.5).sum()
    n = windows.sum(axis=-1, keepdims=True)
    rows = windows + np.minimum(n * q, 0.5)
    p = rows / rows.sum(axis=-1, keepdims=True)
    return np.asarray((p - q) * np.log(p / q))


def _most_moved(window: Counts, reference: Counts) -> tuple[int, ...]:
    return tuple(np.argsort(-_movement(window, reference), kind="stable")[:3].tolist())


def _gravity(verdict: Verdict) -> tuple[int, bool, float]:
    # Where nothing happens the longest window says most; else the one that sees it best.
    told = verdict.window_hours if verdict.level == "none" else verdict.excess
    return LEVELS.index(verdict.level), verdict.urgent, told


def _reason(
    level: Level, psi: float, excess: float, windows: Windows, at: int, settings: DriftSettings
) -> str:
    seen = f"PSI {psi:.3f} over {windows.hours} h ({windows.rows[at]:,} rows)"
    if level == "none":
        return f"{seen} is usual"
    if level == "page":
        return f"{seen} is {excess:.3f} above the usual"
    small = excess < settings.effect
    return f"{seen} is no chance, but " + ("small" if small else "not yet seen twice")


def _x_log_x(counts: Counts) -> Floats:
    return np.asarray(counts * np.log(np.maximum(counts, 1)), dtype=np.float64)


def _senseless(problem: str, settings: DriftSettings) -> InvalidDeclaration:
    return InvalidDeclaration(
        subject_name="drift", problem=problem, at="", remedy=f"mend {settings}"
    )
