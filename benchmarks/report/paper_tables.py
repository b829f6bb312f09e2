"""The reports' own tables, made again from `configs/` and the networks, as data.

Nothing here is copied from a report but its reported values, which the sweep files hold; tests
compare each cell with the printed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.model import VARIANTS, Variant, budget, resolve
from engine.model.layer_table import MIB, layer_rows, totals
from engine.model.variants import ROWS
from engine.sweep import arguments
from engine.sweep.planned import PlannedRun
from engine.sweep.recipes import CONFIGS

SCHEDULES = {"cosine": "CosineAnnealingLR"}
SWEEPS = CONFIGS / "sweeps"


class PaperTable(NamedTuple):
    """One table of a report."""

    report: str
    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def paper_tables(report: str = "") -> list[PaperTable]:
    """The tables of a report, or of all; none where there are no sweep files."""
    if not SWEEPS.is_dir():
        return []
    tables = {
        "000": (final_beside_resnet18,), "001": (hyperparameters,), "002": (layers_of_002,),
        "004": (five_models, layers_of_004),
    }  # fmt: skip
    return [make() for name, makers in tables.items() if report in ("", name) for make in makers]


def final_beside_resnet18() -> PaperTable:
    """Table 4 of report 000."""
    runs = _runs("000")
    ours = _settings(runs["0.16/as_reported"])
    theirs = _settings(runs["0.16/resnet18_as_reported"])
    return PaperTable(
        "000", "Table 4: the final network and ResNet-18", ("Parameters", "Our model", "ResNet18"),
        [(key, value, theirs[key]) for key, value in ours.items()],
        "The report also lists 16 workers for each; the loader here has threads.",
    )  # fmt: skip


def hyperparameters() -> PaperTable:
    """Table 1 of report 001."""
    runs = _runs("001")
    head = (
        "Num", "Model accuracy", "#Parameters", "#Residual layers", "#Residual blocks",
        "#Channels", "Conv. kernel", "Skip connection kernel", "Average pool kernel",
    )  # fmt: skip
    rows = []
    for number in range(1, 8):
        run = runs[f"1.1/row{number}"]
        variant = resolve(run.config.model)
        rows.append(
            (
                str(number), _accuracy(run), f"{run.params:,}", str(len(variant.blocks)),
                _listed(variant.blocks), _listed(variant.widths), _one(variant.conv_kernels),
                _one(variant.skip_kernels), str(_pool(variant)),
            )
        )  # fmt: skip
    note = "Row 5 is printed with [2,2,2,2] blocks, which would have 11,690,058 parameters."
    return PaperTable("001", "Table 1: seven networks", head, rows, note)


def layers_of_002() -> PaperTable:
    """The table of layers of report 002, in figure 2, with FLOPs and memory beside it."""
    rows = layer_rows(VARIANTS["se_resnet443"])
    return PaperTable(
        "002", "Figure 2: the layers of the final network",
        ("Layer (type)", "Output shape", "Param #", "MFLOPs", "MiB"),
        [
            (
                row.name, _listed((-1, *row.output)), f"{row.parameters:,}",
                f"{row.flops / 1e6:,.3f}", f"{row.bytes / MIB:.3f}",
            )
            for row in rows
        ],
        f"{'; '.join(totals(rows))}.",
    )  # fmt: skip


def five_models() -> PaperTable:
    """Table 1 of report 004."""
    rows = []
    for run in _runs("004").values():
        if accuracy := _accuracy(run):
            model = run.title.partition(",")[0]
            final = "√" if ROWS[run.variant].final else ""
            blocks = _listed(resolve(run.config.model).blocks)
            rows.append((model, blocks, f"{run.params:,}", accuracy, final))
    return PaperTable(
        "004", "Table 1: ResNet-18 and the five models",
        ("Model", "Number of blocks", "Number of parameters", "Test accuracy", "Final model"), rows,
        "The report writes three layers with a fourth of no blocks, [2,2,4,0].",
    )  # fmt: skip


def layers_of_004() -> PaperTable:
    """Table 2 of report 004."""
    variant = VARIANTS["resnet453"]
    sides = budget.feature_maps(variant)
    stem = variant.stem_kernel
    rows = [
        (
            "Conv1", _shape(variant.widths[0], sides[0]),
            f"kernel size: {stem} × {stem}, output channel: {variant.widths[0]}, "
            f"stride={variant.stem_stride}",
        )
    ]  # fmt: skip
    for number, (layer, side) in enumerate(zip(variant.layers, sides[1:], strict=True), start=1):
        convolution = f"{layer.kernel} × {layer.kernel}, {layer.width}"
        block = f"[{convolution}; {convolution}] × {layer.blocks}"
        rows.append((f"Layer{number}", _shape(layer.width, side), block))
    last, pool = variant.widths[-1], _pool(variant)
    rows.append(("Avg_pool", str(last), f"pool size {pool} × {pool}"))
    rows.append(("Linear", "10", f"input channel {last}, output channel 10"))
    head = ("Layer (type)", "Output size", "Architecture")
    return PaperTable("004", "Table 2: the architecture of model 5", head, rows)


def _runs(report: str) -> dict[str, PlannedRun]:
    """The planned runs of a report by their point, as for CIFAR-10, whatever data is there."""
    file, data = str(SWEEPS / f"report_{report}.yaml"), "not here.beton"
    argv = ["--sweep-file", file, "--dry-run", "--data.train", data, "--data.test", data]
    return {run.point: run for run in arguments.read(argv).plan.runs}


def _settings(run: PlannedRun) -> dict[str, str]:
    """A run as table 4 of report 000 describes it."""
    variant, config = resolve(run.config.model), run.config
    augment, optim = config.augment, config.optim
    augmented = bool(augment.crop_padding or augment.cutout or augment.autoaugment)
    clip = optim.clip_norm or optim.clip_value
    return {
        "Number of residual layers": str(len(variant.blocks)),
        "Number of residual blocks": _listed(variant.blocks),
        "Convolutional kernel sizes": _listed(variant.conv_kernels),
        "Shortcut kernel sizes": _listed(variant.skip_kernels),
        "Number of channels": _listed(variant.widths),
        "Average pool kernel size": str(_pool(variant)),
        "Batch normalization": "True",  # of every network here
        "Dropout": f"{variant.dropout:g}",
        "Squeeze and excitation": str(variant.se != "none"),
        "Gradient clip": f"{clip:g}" if clip else "None",
        "Data augmentation": str(augmented or augment.flip != "none"),
        "Data normalization": str(augment.normalize),
        "Lookahead": str(optim.lookahead_k > 0),
        "Optimizer": optim.name.upper(),
        "Learning rate (lr)": f"{optim.lr:g}",
        "lr scheduler": SCHEDULES[config.schedule.name],
        "Weight decay": f"{optim.weight_decay:g}",
        "Batch size": str(config.train.batch_size),
        "Total number of parameters": f"{run.params:,}",
    }


def _accuracy(run: PlannedRun) -> str:
    """The test accuracy that the report prints for a run, or nothing."""
    for value in run.reported:
        if value.evidence in ("report", "quoted") and value.measure == "test_accuracy":
            return f"{value.number} %"
    return ""


def _pool(variant: Variant) -> int:
    """The kernel of the average pool: a global one has the size of the last map."""
    side = budget.feature_maps(variant)[-1]
    return variant.pool if isinstance(variant.pool, int) else side


def _one(kernels: tuple[int, ...]) -> str:
    """The kernel size that all layers have."""
    (kernel,) = set(kernels)
    return str(kernel)


def _listed(values: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, values))}]"


def _shape(channels: int, side: int) -> str:
    return f"{channels} × {side} × {side}"
