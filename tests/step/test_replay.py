"""The calls of a recorder: their order, what holds while it records, and what is freed."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.step.replay import WARM_UPS, CudaRecorder, RecordedWork

GPU = torch.device("cuda", 1)


class _Cuda:
    """Takes the place of a part of `torch.cuda` and notes its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.current = self.stream_named("main")
        self._streams = iter(("recording", "copying"))

    def stream_named(self, name: str) -> Any:
        waits = lambda other: self.calls.append(f"{name} waits for {other.name}")  # noqa: E731
        return SimpleNamespace(name=name, wait_stream=waits)

    def Stream(self, device: torch.device) -> Any:
        return self.stream_named(next(self._streams))

    def Event(self) -> Any:
        return SimpleNamespace(
            record=lambda stream: self.calls.append(f"event on {stream.name}"),
            synchronize=lambda: self.calls.append("wait for the event"),
        )

    def CUDAGraph(self) -> Any:
        named = {name: lambda name=name: self.calls.append(name) for name in ("replay", "reset")}
        return SimpleNamespace(**named)

    def current_stream(self, device: torch.device) -> Any:
        return self.current

    def graph_pool_handle(self) -> object:
        return self

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextlib.contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.calls.append(f"on {device}")
        yield

    @contextlib.contextmanager
    def graph(self, graph: Any, **options: Any) -> Iterator[None]:
        assert options["pool"] is self and options["stream"].name == "recording"
        assert options["capture_error_mode"] == "thread_local"  # a thread writes checkpoints
        with self.stream(options["stream"]):
            self.calls.append("record")
            yield


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> _Cuda:
    fake = _Cuda()
    for name in dir(fake):
        if hasattr(torch.cuda, name) and not name.startswith("_"):
            monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    return fake


def test_work_is_warmed_up_and_recorded_on_one_stream_and_replayed_on_the_callers(
    cuda: _Cuda,
) -> None:
    recorded = RecordedWork(
        CudaRecorder(GPU), lambda: cuda.calls.append(f"work on {cuda.current.name}")
    )
    for _ in range(WARM_UPS + 2):
        recorded()
    eager = ["recording waits for main", "work on recording", "main waits for recording"]
    assert cuda.calls == [*WARM_UPS * eager, "record", "work on recording", "replay", "replay"]
    assert cuda.current.name == "main"


def test_a_released_graph_is_freed_once_and_recorded_again_after_a_warm_up(cuda: _Cuda) -> None:
    recorded = RecordedWork(CudaRecorder(GPU), lambda: None)
    for _ in range(WARM_UPS + 1):
        recorded()
    cuda.calls.clear()
    recorded.release()
    recorded.release()
    assert cuda.calls == ["reset"]
    for _ in range(WARM_UPS):
        recorded()
    assert "record" not in cuda.calls
    recorded()
    assert cuda.calls[-2:] == ["record", "replay"]


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("error", [None, RuntimeError])
def test_nothing_is_collected_while_a_graph_is_recorded(
    cuda: _Cuda, collects: bool, error: type[Exception] | None
) -> None:
    seen = []

    def work() -> None:
        seen.append(gc.isenabled())
        if error is not None:
            raise error

    recorder, before = CudaRecorder(GPU), gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with pytest.raises(error) if error is not None else contextlib.nullcontext():
            recorder.capture(work)
        assert seen == [False]
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()


def test_a_thread_that_waits_for_a_copy_names_the_device(
    cuda: _Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory, **more: real(*size, **more))
    weights = torch.arange(4.0)
    arriving = CudaRecorder(GPU).to_host({"w": weights})
    assert cuda.calls == ["copying waits for main", "event on copying"]
    weights.fill_(-1)
    assert torch.equal(arriving()["w"], torch.arange(4.0))
    assert cuda.calls[2:] == ["on cuda:1", "wait for the event"]


@pytest.mark.skipif(not hasattr(torch._C, "_cuda_set_sync_debug_mode"), reason="torch without CUDA")
def test_torchs_check_for_synchronisation_may_be_switched_on_where_warnings_are_errors() -> None:
    torch._C._cuda_set_sync_debug_mode(1)  # warns in its first call of a process
    assert torch._C._cuda_get_sync_debug_mode() == 1
    torch._C._cuda_set_sync_debug_mode(0)
