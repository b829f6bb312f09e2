"""The table of variants, and what a configuration's `model` section makes of it."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.schema import Model
from engine.errors import UserError
from engine.model import VARIANTS, Variant, problems, resolve, rows
from engine.model.budget import parameters
from engine.model.naming import canonical, name_of
from engine.model.variants import HOUSE, ROWS
from tests.support.paths import ROOT

# The catalogue of the reports, so that no row can vanish or drift.
EXPERIMENTS = json.loads((ROOT / "tests/support/catalogue_experiments.json").read_text())
CATALOGUE = EXPERIMENTS["parameters"]
OVER_BUDGET = {"resnet18", "resnet224", "resnet1111_skip2"}
# Rows that the catalogue only records, as overrides of named variants.
RECORDED = {
    "report 001, row 5 as printed": (Model(name="resnet18", skip_kernels=(2,)), 11_690_058),
    "report 001, row 1, stem 5x5": (Model(name="resnet2222_w16_k5", stem_kernel=5), 1_922_842),
    "report 004, model 5 as worded": (Model(name="resnet453", widths=(64, 128, 250)), 4_848_142),
    "report 001, 5 layers of 1": (Model(blocks=(1,) * 5, widths=(32,)), 4_904_618),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_parameters_in_the_table_are_those_of_the_variant(name: str) -> None:
    assert parameters(VARIANTS[name]).total == ROWS[name].parameters


def test_every_network_of_the_catalogue_is_in_the_table() -> None:
    reported = {name: row.parameters for name, row in ROWS.items() if "report" in row.source}
    assert reported == {name: CATALOGUE[name] for name in CATALOGUE if name != "resnet11111_w32"}


@pytest.mark.parametrize("name", RECORDED)
def test_other_readings_of_the_reports_are_reached_by_overrides(name: str) -> None:
    model, count = RECORDED[name]
    assert parameters(resolve(model)).total == count


@pytest.mark.parametrize("name", VARIANTS)
def test_a_name_gives_its_row_and_a_row_its_name(name: str) -> None:
    assert resolve(Model(name=name)) == VARIANTS[name]
    assert name_of(VARIANTS[name]) == name


@pytest.mark.parametrize("name", VARIANTS)
def test_exactly_the_networks_over_the_budget_are_refused(name: str) -> None:
    assert bool(problems(Model(name=name))) == (name in OVER_BUDGET)
    assert problems(Model(name=name, budget=0)) == []


def test_parts_define_a_network_or_override_the_named_one() -> None:
    assert resolve(Model(blocks=(4, 5, 3))) == VARIANTS["resnet453"]
    variant = resolve(Model(name="resnet453", blocks=(4, 4, 3), se="stem", pool=8))
    assert dataclasses.replace(variant, pool="global") == VARIANTS["se_resnet443"]
    assert name_of(variant) == "se_resnet443"


def test_a_single_entry_holds_for_all_layers_and_a_single_width_doubles() -> None:
    variant = resolve(Model(name="resnet1111", widths=(8,), conv_kernels=(5,), blocks=(2,)))
    assert variant.widths == (8, 16, 32, 64)
    assert variant.conv_kernels == (5, 5, 5, 5)
    assert variant.blocks == (2, 2, 2, 2)


def test_another_depth_extends_regular_lists_and_refuses_others() -> None:
    assert resolve(Model(name="resnet2222_w32", blocks=(1, 1))).widths == (32, 64)
    assert resolve(Model(name="resnet2222_w32", blocks=(1,) * 5)).widths[-1] == 512
    [(key, message)] = problems(Model(name="resnet22222", blocks=(2, 2)))
    assert key == "model.widths"
    assert "[64, 128, 144, 192, 256]" in message
    assert "2 entries" in message


def test_all_wrong_parts_are_reported_at_once() -> None:
    model = Model(name="resnet45", widths=(1, 2), conv_kernels=(1, 2, 3), blocks=(1, 1, 1, 1))
    wrong = dict(problems(model))
    assert set(wrong) == {"model.name", "model.widths", "model.conv_kernels"}
    assert "did you mean resnet453" in wrong["model.name"]
    assert wrong["model.widths"].startswith("2 entries for 4 layers")
    with pytest.raises(UserError) as error:
        resolve(model)
    assert len(error.value.problems) == 3


@pytest.mark.parametrize(
    ("model", "key", "words"),
    [
        (Model(name="resnet453", pool=9), "model.pool", "nearest that fits: 8"),
        (Model(blocks=(1,) * 7, widths=(2,)), "model.blocks", "room for 6 layers, not 7"),
        (Model(blocks=(1,) * 5, widths=(2,), stem_stride=4), "model.blocks", "room for 4 layers"),
        (
            Model(blocks=(1,) * 6, widths=(4,), conv_kernels=(4,)),
            "model.conv_kernels",
            "kernel of 4 is larger than its padded map in layer 6 (3x3); the nearest that fits: 3",
        ),
        (
            Model(name="resnet22222_maxpool_skip", skip_kernels=(2,)),
            "model.skip_kernels",
            "padded map in layer 5 (1x1); the nearest that fits: 1",
        ),
        (
            Model(name="se_resnet443", se_reduction=65),
            "model.se_reduction",
            "nearest that fits: model.se_reduction 64",
        ),
    ],
)
def test_impossible_networks_name_the_nearest_possible(model: Model, key: str, words: str) -> None:
    assert words in dict(problems(model))[key]
    nearest = re.findall(r"fits: .*?(\d+)$", words)
    if nearest:
        fixed = (int(nearest[0]),) if key.endswith("kernels") else int(nearest[0])
        assert problems(dataclasses.replace(model, **{key.removeprefix("model."): fixed})) == []


def test_an_impossible_network_names_the_setting_that_caused_it() -> None:
    assert [key for key, _ in problems(Model(name="se_resnet443", widths=(8,)))] == ["model.widths"]
    deep = Model(name="resnet1111_pool3", blocks=(1,) * 5, widths=(8,))
    assert [key for key, _ in problems(deep)] == ["model.blocks"]


def test_a_network_over_budget_is_refused_with_its_count_and_two_that_fit() -> None:
    [(key, message)] = problems(Model(name="resnet18"))
    assert key == "model.name"
    assert "11,173,962 parameters are over the budget of 5,000,000" in message
    assert "model.blocks [2, 1, 1, 1] (4,977,226)" in message
    assert "model.widths [42, 84, 168, 336] (4,815,940)" in message
    assert parameters(resolve(Model(name="resnet18", widths=(43,)))).total > 5_000_000
    [(key, _)] = problems(Model(name="resnet453", widths=(65,)))
    assert key == "model.widths"


def test_a_budget_that_nothing_fits_says_so() -> None:
    [(_, message)] = problems(Model(name="resnet453", budget=100))
    assert "no network with as many layers fits" in message


SIZES = st.lists(st.integers(1, 1000), max_size=30).map(tuple)
KERNELS = st.lists(st.integers(1, 11), max_size=8).map(tuple)


@given(
    name=st.sampled_from(["", "resnet453", "resnet22222_maxpool_skip", "nonsense", "house94"]),
    blocks=SIZES,
    widths=st.lists(st.integers(1, 65536), max_size=30).map(tuple),
    conv_kernels=KERNELS,
    skip_kernels=KERNELS,
    pool=st.none() | st.integers(1, 32) | st.just("global"),
    se=st.sampled_from([None, "none", "stem", "block"]),
    se_reduction=st.none() | st.integers(1, 10**6),
    skip=st.sampled_from([None, "conv", "maxpool"]),
    stem_stride=st.none() | st.integers(1, 4),
    preactivation=st.none() | st.booleans(),
    stem_kernel=st.none() | st.integers(1, 11),
    stem=st.sampled_from([None, "conv", "whiten"]),
    transition=st.sampled_from([None, "stride", "pool"]),
    budget=st.sampled_from([0, 1, 10**4, 5_000_000]),
)
def test_any_model_section_is_checked_without_a_crash(**parts: object) -> None:
    for key, message in problems(Model(**parts)):  # type: ignore[arg-type]
        assert key.removeprefix("model.") in {field.name for field in dataclasses.fields(Model)}
        assert message


DESIGNS = st.builds(
    Variant,
    blocks=st.sampled_from([(1,), (2, 1), (1, 2, 1), (12, 1, 1), (2, 2, 2, 2, 2)]),
    widths=st.sampled_from([(64,), (16,)]),
    conv_kernels=st.sampled_from([(3,), (5,)]),
    skip_kernels=st.sampled_from([(1,), (2,)]),
    pool=st.sampled_from(["global", 1, 2]),
    se=st.sampled_from(["none", "stem", "block"]),
    se_reduction=st.sampled_from([16, 8]),
    skip=st.sampled_from(["conv", "maxpool"]),
    preactivation=st.booleans(),
    stem_kernel=st.sampled_from([3, 5]),
    stem_stride=st.sampled_from([1, 2]),
    dropout=st.sampled_from([0.0, 0.4]),
    dropout_place=st.sampled_from(["classifier", "block"]),
    stem=st.sampled_from(["conv", "whiten"]),
    transition=st.sampled_from(["stride", "pool"]),
    activation=st.sampled_from(["relu", "gelu"]),
    norm_scale=st.booleans(),
    norm_eps=st.sampled_from([1e-5, 1e-12]),
    norm_momentum=st.sampled_from([0.1, 0.4]),
    pool_kind=st.sampled_from(["mean", "max"]),
    classifier_bias=st.booleans(),
    logit_scale=st.sampled_from([1.0, 1 / 9, 0.1, 0.3, 2.0]),
)
HOUSES = st.builds(
    Variant,
    blocks=st.sampled_from([(1,), (1, 1, 1)]),
    widths=st.sampled_from([(64,), (384,)]),
    pool=st.sampled_from(["global", 2]),
    logit_scale=st.sampled_from([1.0, 1 / 64, 1 / 384, 1 / 9]),
    **{part: st.just(value) for part, value in HOUSE.items() if part != "logit_scale"},
)


ALL = DESIGNS | HOUSES | st.sampled_from(list(VARIANTS.values()))


@given(first=DESIGNS | HOUSES, second=ALL)
def test_two_networks_never_share_a_name(first: Variant, second: Variant) -> None:
    assert (name_of(first) == name_of(second)) == (canonical(first) == canonical(second))


def test_names_of_networks_for_short_runs_say_how_they_differ() -> None:
    house = VARIANTS["house94"]
    narrower = dataclasses.replace(house, widths=(64, 256, 320))
    assert name_of(narrower) == "house111_w64_256_320"
    assert name_of(dataclasses.replace(house, logit_scale=1 / 9)).endswith("_384_logits1_9")
    assert name_of(dataclasses.replace(narrower, pool=2, se="stem")).startswith("se_house111_w64")
    plain = Variant((1, 1), stem="whiten", transition="pool", activation="silu", logit_scale=0.3)
    assert name_of(plain) == "resnet11_whiten_pooled_silu_logits0.3"


@pytest.mark.parametrize(
    ("model", "key", "words"),
    [
        (Model(name="house94", stem_stride=2), "model.stem_stride", "has stride 1, not 2"),
        (Model(name="resnet22222", stem="whiten"), "model.stem", "has stride 1, not 2"),
        (Model(name="house94", preactivation=True), "model.preactivation", "model.transition"),
        (Model(name="house94", skip="maxpool"), "model.skip", "give model.skip conv"),
        (Model(name="resnet1111_skip2", transition="pool"), "model.transition", "skip_kernels [1]"),
        (Model(name="house94", skip_kernels=(3,)), "model.skip_kernels", "no skip path"),
        (
            Model(name="house94", blocks=(1,) * 5, widths=(4,)),
            "model.blocks",
            "the pool of layer 5 would halve a map of 1x1: images of 32x32 with a stem of 31x31 "
            "have room for 4 layers, not 5",
        ),
        (Model(name="house94", pool=4), "model.pool", "the nearest that fits: 3"),
        (
            Model(blocks=(1,), widths=(8,), stem="whiten", se="stem", se_reduction=60),
            "model.se_reduction",
            "a squeeze of 54 channels",
        ),
    ],
)
def test_contradictions_of_stem_and_transition_are_refused(
    model: Model, key: str, words: str
) -> None:
    assert words in dict(problems(model))[key]


def test_images_too_small_for_maps_without_padding_are_refused() -> None:
    assert problems(Model(name="house94"), side=9) == []
    assert (
        "have room for 2 layers, not 3"
        in dict(problems(Model(name="house94"), side=8))["model.name"]
    )
    [(key, message)] = problems(Model(name="house94", stem_kernel=9, budget=0), side=8)
    assert key == "model.stem_kernel" and "larger than images of 8x8" in message


def test_the_list_holds_every_variant_with_its_cost_and_config() -> None:
    listed = {row["variant"]: row for row in rows()}
    assert list(listed) == list(VARIANTS)
    row = listed["resnet453"]
    assert row["parameters"] == 4_992_586
    assert row["flops"]["training"] == 5_241_584_640
    assert row["config"].endswith("configs/resnet453.yaml")
    assert row["source"] == "report 004, model 5 (final)"
    assert listed["resnet111_w16"]["config"] is None
