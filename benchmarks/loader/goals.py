"""The names of the loader's benchmark: its sections, the figures of each, and the goals."""

from __future__ import annotations

from benchmarks.measuring.goals import Goal

KEYS = (
    "ratio_uint8_vs_ffcv",
    "ratio_float_vs_ffcv",
    "ratio_uint8_vs_torchvision",
    "gather_fraction_of_ceiling",
    "images_per_second_uint8",
    "first_batch_seconds_warm",
    "first_batch_seconds_cold",
)  # these stay, at the top of the JSON, whatever else changes

_STARTS = (
    "first_batch_seconds_warm",
    "first_batch_seconds_cold",
    "constructor_seconds",
    "epoch_gap_seconds",
)
SECTIONS = {  # with the figures that are missing without them
    "uint8": ("ratio_uint8_vs_ffcv", "images_per_second_uint8"),
    "float": ("ratio_float_vs_ffcv",),
    "gather": ("gather_fraction_of_ceiling", "gather_slowest_pair_vs_ffcv_decode"),
    "torchvision": ("ratio_uint8_vs_torchvision",),
    "plain": (),
    "starts": _STARTS,
    "exits": ("leaked",),
    "determinism": ("different_digests", "determinism_cost"),
    "gpu": ("gpu_seconds_per_50000", "gpu_share_of_step", "gpu_host_syncs"),
}

_DECODE = "gather_slowest_pair_vs_ffcv_decode"
GOALS = (
    Goal("L1", "crop + flip to uint8, times FFCV", "ratio_uint8_vs_ffcv", 10, True, "x"),
    Goal("L1", "the same, times torchvision", "ratio_uint8_vs_torchvision", 100, True, "x"),
    Goal("L1", "the same, images/s", "images_per_second_uint8", 1e6, True, "/s"),
    Goal("L2", "raw gather, times FFCV decode, slowest pair", _DECODE, 1, True, "x"),
    Goal("L2", "raw gather, of the ceiling", "gather_fraction_of_ceiling", 0.9, True, "%"),
    Goal("L3", "normalised to float32, times FFCV", "ratio_float_vs_ffcv", 8, True, "x"),
    Goal("L4", "first batch, compile cache filled", "first_batch_seconds_warm", 0.5, False, "s"),
    Goal("L4", "first batch, compile cache empty", "first_batch_seconds_cold", 4, False, "s"),
    Goal("L4", "constructor, before the gather", "constructor_seconds", 0.020, False, "ms"),
    Goal("L4", "gap between epochs (resident)", "epoch_gap_seconds", 0.001, False, "ms"),
    Goal("L4", "threads and descriptors leaked by early exits", "leaked", 0, False),
    Goal("D", "different bits among settings of one seed", "different_digests", 0, False),
    Goal("D", "cost of counted randomness", "determinism_cost", 0.02, False, "%"),
)
GPU_GOALS = (
    Goal("G1", "augmenting 50,000 images", "gpu_seconds_per_50000", 0.00025, False, "ms"),
    Goal("G1", "share of a training step", "gpu_share_of_step", 0.01, False, "%"),
    Goal("G1", "host syncs in an epoch", "gpu_host_syncs", 0, False),
)
