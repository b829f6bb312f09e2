"""Plots of speed: where the bottleneck is, ours beside its peers, the step under its roofline."""

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
    cut,
    figure,
    listed,
    plain_ticks,
    plot,
    point_style,
    short,
)
from benchmarks.report.speed import Bench, Pair


def bottleneck(bench: Bench, name: str) -> Plot | None:
    """The stages of training as bars of images a second: the shortest one sets the pace."""
    bars = [(f"loader: {stage}", rate, 0) for stage, rate in bench.feed.items()]
    bars += [(f"step: {variant}", rate, 1) for variant, rate in bench.steps.items()]
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
    verdict = _verdict(bench)
    return plot(
        name,
        drawn,
        f"Where the bottleneck is ({bench.machine})",
        f"Images a second of every stage, on a logarithmic axis; the shortest bar sets the pace. "
        f"{verdict}",
        "Bars of images a second: "
        + listed([f"{label} {short(rate)}" for label, rate, _ in bars], 12)
        + f". {verdict}",
    )


def against_peers(bench: Bench, kind: str, name: str) -> Plot | None:
    """Each pair of turns: ours, the peer, and the ratio in between."""
    pairs = bench.pairs.get(kind, [])
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
    return plot(
        name,
        drawn,
        f"{what} beside its peers ({bench.machine})",
        "Images a second of each pair, measured in turns. The number is how many times faster the "
        "first was: the median of the pairwise ratios, with least and most. The axis is "
        "logarithmic, so lengths are no proportions: read the numbers.",
        f"{what}, times faster: " + listed([_said(pair) for pair in pairs], 12) + ".",
    )


def roofline(bench: Bench, intensities: dict[str, float], name: str) -> Plot | None:
    """The steps as points of work a byte and operations a second, under what the machine allows."""
    known = [variant for variant in bench.tflops if variant in intensities]
    if not known:
        return None
    peak = max(bench.peaks[variant] for variant in known)
    xs = [intensities[variant] for variant in known]
    ridge = None if bench.bandwidth is None else peak * 1e12 / bench.bandwidth
    low, high = min([*xs, ridge or xs[0]]) / 4, max([*xs, ridge or xs[0]]) * 6
    drawn = figure(3.4)
    axes = drawn.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    if ridge is not None and bench.bandwidth is not None:
        axes.plot([low, ridge], [bench.bandwidth * low / 1e12, peak], color=MUTED)
        axes.annotate(
            f"memory: {bench.bandwidth / 1e9:,.3g} GB/s", (low, bench.bandwidth * low / 1e12),
            textcoords="offset points", xytext=(6, 0), fontsize=8, color=INK, va="top",
        )  # fmt: skip
    axes.plot([ridge or low, high], [peak, peak], color=MUTED)
    axes.annotate(
        f"matrix product, measured: {peak:.3g} TFLOP/s", (high, peak), ha="right",
        textcoords="offset points", xytext=(-4, 4), fontsize=8, color=INK,
    )  # fmt: skip
    for number, variant in enumerate(known):
        axes.plot(
            intensities[variant], bench.tflops[variant], linestyle="none", markersize=8,
            label=f"{cut(variant)}: {bench.tflops[variant] / bench.peaks[variant]:.0%} of the peak",
            **point_style(number),
        )  # fmt: skip
    axes.set_ylim(min(bench.tflops[v] for v in known) / 5, peak * 2.2)
    axes.set_xlim(low, high)
    axes.set_xlabel("operations a byte (estimate: every pass reads and writes memory once)")
    axes.set_ylabel("TFLOP/s")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.legend(loc="lower right")
    said = [f"{v} {bench.tflops[v] / bench.peaks[v]:.0%}" for v in known]
    where = ""
    if ridge is not None:
        right = sum(x > ridge for x in xs)
        where = f" {right} of {len(xs)} lie right of the ridge, where the units are the limit. "
    else:
        where = " The memory's bandwidth was not measured here, so its slope is not drawn. "
    return plot(
        name,
        drawn,
        f"Roofline of the training step ({bench.machine})",
        f"How near each network's step comes to what the machine can do.{where}"
        f"Of the peak: {listed(said, 6)}.",
        f"Roofline plot of {len(known)} networks. Of the measured peak: {listed(said, 6)}.{where}",
    )


def intensities(bench: Bench) -> dict[str, float]:
    """Operations of a training step a byte of memory traffic, for networks of the table."""
    if not bench.tflops:
        return {}
    from benchmarks.report.plots.traffic import (
        traffic,  # seconds of imports, needed for this alone
    )
    from engine.model import VARIANTS
    from engine.model.budget import flops

    size = {"fp32": 4}
    return {
        name: flops(VARIANTS[name]).training
        / (traffic(VARIANTS[name]) * size.get(bench.precisions[name], 2))
        for name in bench.tflops
        if name in VARIANTS
    }


def _verdict(bench: Bench) -> str:
    feeding = {k: v for k, v in bench.feed.items() if k != "raw gather"}
    if not feeding or not bench.steps:
        what = "The step" if bench.feed else "The loader"
        return f"{what} was not measured on this machine, so nothing is said of the bottleneck."
    feed, step = min(feeding.values()), max(bench.steps.values())
    quickest = max(bench.steps, key=lambda name: bench.steps[name])
    slower = "step" if step < feed else "loader"
    return (
        f"The {slower} is the bottleneck: the slowest augmented feed gives {short(feed)}, the "
        f"quickest step ({quickest}) takes {short(step)} images/s, a ratio of {feed / step:,.3g}."
    )


def _rates(axes: Axes, rates: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 3, max(rates) * 9)
    axes.set_xlabel("images/s")
    axes.grid(axis="y", visible=False)
    plain_ticks(axes.xaxis)


def _said(pair: Pair) -> str:
    return f"{pair.name} {pair.ratio:.3g}"
