"""The loader's benchmark: the files and feeds of its sections, its JSON and its conditions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.loader.files import Files
from benchmarks.loader.goals import GOALS, GPU_GOALS, KEYS
from benchmarks.loader.peers import SECONDS, Feed, ours
from benchmarks.loader.turns import TOUCHED_EVERY, FeedTurns
from benchmarks.measuring.benchmark import Benchmark
from benchmarks.measuring.goals import judged


@dataclass(kw_only=True)
class LoaderBenchmark(Benchmark):
    """Feeds on one set of images; `device` is that of the GPU's section, all others use the CPU."""

    files: Files

    @contextlib.contextmanager
    def ready(self, feed: Feed, samples: int | None = None) -> Iterator[FeedTurns]:
        """A feed that is warm and delivers every sample once; closed at the end."""
        try:
            self.say(f"  {feed.name}: warm-up, and a check of what it delivers")
            turns = FeedTurns(feed, self.threads)
            turns.warm_up(self.files.samples if samples is None else samples)
            yield turns
        finally:
            feed.close()

    def ours(
        self, mode: str, dtype: torch.dtype, device: str = "cpu", ring: int = 0
    ) -> contextlib.AbstractContextManager[FeedTurns]:
        """Our loader, ready."""
        path, batch_size = self.files.numbered, self.batch_size
        feed = ours.feed(path, batch_size, mode=mode, dtype=dtype, device=device, ring=ring)
        return self.ready(feed)

    def goals(self) -> list[dict[str, Any]]:
        """Every goal of this device with its verdict."""
        return judged(GOALS if self.device == "cpu" else GOALS + GPU_GOALS, self.results)

    def as_json(self) -> dict[str, Any]:
        """The keys that stay on top, null where missing."""
        rates = {
            name: {"setting": self.results.settings[name], **spread.as_json()}
            for name, spread in self.results.all_rates().items()
        }
        top = {key: self.results.value(key) for key in KEYS}
        return self.results.as_json(top, images_per_second=rates)

    def conditions(self) -> dict[str, Any]:
        """With the images, and how they were delivered and consumed."""
        return super().conditions() | {
            "data": self.files.described,
            "images": self.files.samples,
            "image_bytes": self.files.image_bytes,
            "drop_last": False,
            "seconds_of_a_turn": SECONDS,
            "sample_ids": "each loader delivered every id once in its uncounted first epoch",
            "first_batch": "float32, after the imports, the file in the page cache; cold: an empty "
            "compile cache, warm: the cache that a first process left",
            "touched": f"one element in {TOUCHED_EVERY} of every batch, summed, by one consumer",
        }
