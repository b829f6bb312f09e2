"""Plots of speed: where the bottleneck is, ours beside its peers, the roofline of the step."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from benchmarks.report.plots.style import (
    COLOURS,
    HATCHES,
    INK,
    MUTED,
    PAPER,
    Plot,
    as_svg,
    cut,
    figure,
    listed,
    plain_ticks,
    point_style,
    short,
)
from benchmarks.report.speed import MachineResults
from engine.model import VARIANTS
from engine.model.budget import flops, training_traffic


def bottleneck(results: MachineResults, name: str) -> Plot | None:
    """The stages of training as bars of images/s: the shortest one is the bottleneck."""
    bars = [(f"loader: {stage}", rate, 0) for stage, rate in results.feed.items()]
    bars += [(f"step: {variant}", rate, 1) for variant, rate in results.steps.items()]
    if not bars:
        return None
    drawn = figure(0.8 + 0.27 * len(bars))
    axes = drawn.add_subplot()
    slowest = min(rate for _, rate, _ in bars)
    for place, (_, rate, kind) in enumerate(bars):
        axes.barh(
            place, rate, color=COLOURS[kind], hatch=HATCHES[kind], edgecolor=PAPER, height=0.72
        )
        axes.annotate(
            f"{short(rate)}/s" + (f" ({rate / slowest:,.0f}× the slowest)" if kind == 0 else ""),
            (rate, place), textcoords="offset points", xytext=(5, 0), va="center", fontsize=7.5,
            color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(bars)), [cut(label) for label, _, _ in bars])
    axes.invert_yaxis()
    _rates(axes, [rate for _, rate, _ in bars])
    verdict = _verdict(results)
    return Plot(
        name,
        f"Where the bottleneck is ({results.machine})",
        "Images/s of every stage, on a logarithmic axis; the shortest bar is the bottleneck. "
        f"{verdict}",
        "Bars of images/s: "
        + listed([f"{label} {short(rate)}" for label, rate, _ in bars], 12)
        + f". {verdict}",
        as_svg(drawn),
    )


def against_peers(results: MachineResults, kind: str, name: str) -> Plot | None:
    """Each pair: ours, the peer, and their ratio."""
    pairs = results.pairs.get(kind, [])
    if not pairs:
        return None
    drawn = figure(0.9 + 0.42 * len(pairs))
    axes = drawn.add_subplot()
    for place, pair in enumerate(pairs):
        for shift, rate, number in ((-0.19, pair.first, 0), (0.19, pair.second, 1)):
            axes.barh(
                place + shift, rate, height=0.36, color=COLOURS[number], hatch=HATCHES[number],
                edgecolor=PAPER, label=None if place else ("first named", "second named")[number],
            )  # fmt: skip
        axes.annotate(
            f"{pair.ratio:.3g}× ({pair.low:.3g} to {pair.high:.3g})",
            (max(pair.first, pair.second), place), textcoords="offset points", xytext=(5, 0),
            va="center", fontsize=8, color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(pairs)), [cut(pair.name, 46) for pair in pairs], fontsize=7.5)
    axes.invert_yaxis()
    _rates(axes, [rate for pair in pairs for rate in (pair.first, pair.second)])
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.0 + 0.5 / (len(pairs) + 1)), ncols=2)
    what = {"loader": "The feed", "step": "The step"}.get(kind, kind)
    return Plot(
        name,
        f"{what} beside its peers ({results.machine})",
        "Images/s of each pair, measured in turns. The number is how many times faster the first "
        "was: the median of the pairwise ratios, with minimum and maximum. The axis is "
        "logarithmic, so compare the numbers, not the lengths.",
        f"{what}, times faster: "
        + listed([f"{pair.name} {pair.ratio:.3g}" for pair in pairs], 12)
        + ".",
        as_svg(drawn),
    )


def roofline(results: MachineResults, name: str) -> Plot | None:
    """The steps by operations per byte and operations/s, under the limits of the machine."""
    intensities = {
        variant: flops(VARIANTS[variant]).training
        / (training_traffic(VARIANTS[variant]) * (4 if precision == "fp32" else 2))
        for variant, precision in results.precisions.items()
        if variant in VARIANTS
    }
    known = list(intensities)
    if not known:
        return None
    peak = max(results.peaks[variant] for variant in known)
    xs = [intensities[variant] for variant in known]
    ridge = None if results.bandwidth is None else peak * 1e12 / results.bandwidth
    low, high = min([*xs, ridge or xs[0]]) / 4, max([*xs, ridge or xs[0]]) * 6
    drawn = figure(3.4)
    axes = drawn.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    if ridge is not None and results.bandwidth is not None:
        axes.plot([low, ridge], [results.bandwidth * low / 1e12, peak], color=MUTED)
        axes.annotate(
            f"memory: {results.bandwidth / 1e9:,.3g} GB/s", (low, results.bandwidth * low / 1e12),
            textcoords="offset points", xytext=(6, 0), fontsize=8, color=INK, va="top",
        )  # fmt: skip
    axes.plot([ridge or low, high], [peak, peak], color=MUTED)
    axes.annotate(
        f"matrix product, measured: {peak:.3g} TFLOP/s", (high, peak), ha="right",
        textcoords="offset points", xytext=(-4, 4), fontsize=8, color=INK,
    )  # fmt: skip
    shares = {
        variant: f"{results.tflops[variant] / results.peaks[variant]:.0%}" for variant in known
    }
    for number, variant in enumerate(known):
        axes.plot(
            intensities[variant], results.tflops[variant], linestyle="none", markersize=8,
            label=f"{cut(variant)}: {shares[variant]} of the peak",
            **point_style(number),
        )  # fmt: skip
    axes.set_ylim(min(results.tflops[v] for v in known) / 5, peak * 2.2)
    axes.set_xlim(low, high)
    axes.set_xlabel("operations per byte (estimate: every pass reads and writes memory once)")
    axes.set_ylabel("TFLOP/s")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.legend(loc="lower right")
    of_peak = listed([f"{variant} {share}" for variant, share in shares.items()], 6)
    where = " The memory bandwidth was not measured here, so its slope is not drawn. "
    if ridge is not None:
        right = sum(x > ridge for x in xs)
        where = f" {right} of {len(xs)} are right of the ridge, where arithmetic is the limit. "
    return Plot(
        name,
        f"Roofline of the training step ({results.machine})",
        "How close each network's step comes to the limits of the machine."
        f"{where}Of the peak: {of_peak}.",
        f"Roofline plot of {len(known)} networks. Of the measured peak: {of_peak}.{where}",
        as_svg(drawn),
    )


def _verdict(results: MachineResults) -> str:
    augmented = [rate for stage, rate in results.feed.items() if stage != "raw gather"]
    if not augmented or not results.steps:
        what = "The step" if results.feed else "The loader"
        return f"{what} was not measured on this machine, so the bottleneck is not known."
    feed, (step, fastest) = min(augmented), max((r, v) for v, r in results.steps.items())
    slower = "step" if step < feed else "loader"
    return (
        f"The {slower} is the bottleneck: the slowest augmented feed delivers {short(feed)}, the "
        f"fastest step ({fastest}) consumes {short(step)} images/s, a ratio of {feed / step:,.3g}."
    )


def _rates(axes: Axes, rates: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 3, max(rates) * 9)
    axes.set_xlabel("images/s")
    axes.grid(axis="y", visible=False)
    plain_ticks(axes.xaxis)
