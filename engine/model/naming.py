"""A name for any network of the family: that of the table, else a systematic one.

`se_resnet443`, `resnet2111_w24_skip3`, `preact_resnet222_drop0.4`: what a name leaves out is as in
the reports (64 channels doubling, kernel 3, skip kernel 1, the pool over the whole map). A network
with all parts of `house94` is named like `house111_w64_256_320`.
"""

from __future__ import annotations

from dataclasses import replace

from engine.model.budget import feature_maps
from engine.model.variants import HOUSE, VARIANTS, Variant, doubled


def canonical(variant: Variant, side: int = 32) -> Variant:
    """The same network, with every field that has no effect set to its default."""
    changes: dict[str, object] = {}
    if variant.pool == feature_maps(variant, side)[-1]:
        changes["pool"] = "global"
    if variant.se == "none":
        changes["se_reduction"] = 16
    if not variant.dropout:
        changes["dropout_place"] = "classifier"
    projects = [layer.projects for layer in variant.layers]
    if not any(projects):  # there is no convolution on a skip path
        changes |= {"skip": "conv", "skip_kernels": (1,)}
    elif not projects[0]:
        changes["skip_kernels"] = variant.skip_kernels[1:2] + variant.skip_kernels[1:]
    if len(variant.blocks) == 1:  # no layer changes the size
        changes["skip"] = "conv"
    return replace(variant, **changes)  # type: ignore[arg-type]


def name_of(variant: Variant) -> str:
    """The name of `variant` in the table, or a systematic one that no other network has."""
    plain = canonical(variant)
    for name, row in VARIANTS.items():
        if canonical(row) == plain:
            return name
    return systematic(plain)


def systematic(plain: Variant) -> str:
    """A name that says how a canonical variant differs from the plain ResNet of its blocks."""
    prefix = "preact_" if plain.preactivation else ""
    prefix += {"none": "", "stem": "se_", "block": "blockse_"}[plain.se]
    joint = "-" if max(plain.blocks) > 9 else ""
    like_house = replace(plain, **HOUSE | {"logit_scale": plain.logit_scale})
    house = plain == like_house
    tags = [
        prefix + ("house" if house else "resnet") + joint.join(str(count) for count in plain.blocks)
    ]
    if plain.widths != doubled(64, len(plain.blocks)):
        doubling = plain.widths == doubled(plain.widths[0], len(plain.blocks))
        tags.append("w" + _joined(plain.widths[:1] if doubling else plain.widths))
    for tag, kernels, usual in (("k", plain.conv_kernels, 3), ("skip", plain.skip_kernels, 1)):
        if set(kernels) != {usual}:
            tags.append(tag + _joined(kernels[:1] if len(set(kernels)) == 1 else kernels))
    if plain.skip == "maxpool":
        tags.append("maxpool_skip")
    if plain.pool != "global" and (house or plain.pool_kind == "mean"):
        tags.append(f"pool{plain.pool}")
    if plain.se_reduction != 16:
        tags.append(f"r{plain.se_reduction}")
    if plain.stem_kernel != 3 and not house:
        tags.append(f"stemk{plain.stem_kernel}")
    if plain.stem_stride != 1:
        tags.append(f"stem{plain.stem_stride}")
    if plain.dropout:
        place = "blockdrop" if plain.dropout_place == "block" else "drop"
        tags.append(f"{place}{plain.dropout}")
    if not house:
        tags += _other_parts(plain)
    if plain.logit_scale != (HOUSE["logit_scale"] if house else 1):
        inverse = round(1 / plain.logit_scale)
        whole = inverse > 1 and 1 / inverse == plain.logit_scale
        tags.append(f"logits1_{inverse}" if whole else f"logits{plain.logit_scale}")
    name = "_".join(tags)
    # The names of report 003's networks in the table leave out their stem of stride 2.
    return f"{name}_stem{plain.stem_stride}" if name in VARIANTS else name


def _other_parts(plain: Variant) -> list[str]:
    """Tags of the parts that only networks for short runs have."""
    tags = ["whiten"] if plain.stem == "whiten" else []
    tags += ["pooled"] if plain.transition == "pool" else []
    tags += [plain.activation] if plain.activation != "relu" else []
    tags += [] if plain.norm_scale else ["noscale"]
    tags += [f"eps{plain.norm_eps}"] if plain.norm_eps != 1e-5 else []
    tags += [f"momentum{plain.norm_momentum}"] if plain.norm_momentum != 0.1 else []
    if plain.pool_kind == "max":
        tags.append(f"max{plain.pool}")  # maxglobal, or the size of the pool
    return tags if plain.classifier_bias else [*tags, "nobias"]


def _joined(numbers: tuple[int, ...]) -> str:
    return "_".join(str(number) for number in numbers)
