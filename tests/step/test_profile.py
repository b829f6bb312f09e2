"""The profile: the groups of a trace, the files written, and that no run is changed by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import train
from engine.errors import run_command
from engine.step import profile, rates, trace
from engine.step.device import Machine
from tests.support.data import Files

NET = "--model.blocks 1,1 --model.widths 4 --runtime.device cpu --runtime.threads 1".split()
CPU = Machine(torch.device("cpu"), "fp32", compile=False)


def _command(files: Files, tmp_path: Path, *flags: str) -> int:
    short = ["--train.epochs", "1", "--train.batch_size", "16", "--runtime.compile", "false"]
    where = ["--run.root", str(tmp_path / "runs"), "--run.name", "it"]
    return run_command(train.main, [*NET, *short, *files.flags(), *where, *flags])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer steps, smaller products: the measured values are not looked at."""
    monkeypatch.setattr(profile, "MOST", 4)
    monkeypatch.setattr(profile, "WARM_UP", 5)
    monkeypatch.setitem(rates.PRODUCT, "cpu", 32)


def _event(
    name: str, ts: float, dur: float, cat: str = "cpu_op", tid: int = 1, **args: Any
) -> trace.Event:
    named = {key.replace("_", " "): value for key, value in args.items()}
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": tid, "args": named}


def test_a_cpu_step_is_split_by_the_self_time_of_each_operation() -> None:
    result = trace.breakdown(
        [
            _event("ProfilerStep#1", 0, 100, "user_annotation"),
            _event("augmentation", 0, 10, "user_annotation"),
            _event("aten::copy_", 2, 4),
            _event("aten::conv2d", 10, 40),
            _event("aten::mkldnn_convolution", 12, 36),
            _event("aten::native_batch_norm", 50, 15),
            _event("Optimizer.step#SGD.step", 70, 20, "user_annotation"),
            _event("aten::add_", 75, 5),
            _event("aten::mm", 0, 100, tid=2),  # of another thread
        ]
    )
    microseconds = {group: pytest.approx(1e6 * s) for group, s in result.seconds.items()}
    assert microseconds == {
        "augmentation": 10, "convolution": 40, "normalisation and pointwise": 15,
        "optimizer": 20, "copies": 0, "other": 0,
    }  # fmt: skip
    assert 1e6 * result.idle == pytest.approx(15)
    assert 1e6 * result.wall == pytest.approx(100)
    assert result.longest[0][0] == "aten::mkldnn_convolution"


def test_a_gpu_step_is_split_by_its_kernels_and_idle_where_none_ran() -> None:
    def kernel(name: str, ts: float, dur: float, cat: str = "kernel", **args: Any) -> trace.Event:
        return _event(name, ts, dur, cat, tid=7, **args)

    result = trace.breakdown(
        [
            _event("ProfilerStep#1", 0, 5, "user_annotation"),
            kernel("augment", 10, 10),
            kernel("sm90_xmma_fprop_implicit_gemm_bf16", 20, 50),
            kernel("triton_poi_fused_convolution_relu_3", 60, 20),  # overlaps by ten
            kernel("void at::native::multi_tensor_apply_kernel<FusedSgd>", 90, 5),
            kernel("Memcpy DtoD", 95, 5, "gpu_memcpy"),
        ]
    )
    assert {group: round(1e6 * s) for group, s in result.seconds.items()} == {
        "augmentation": 10, "convolution": 50, "normalisation and pointwise": 20,
        "optimizer": 5, "copies": 5, "other": 0,
    }  # fmt: skip
    assert 1e6 * result.idle == pytest.approx(10)  # 80 to 90; what lies before the first is no idle
    assert 1e6 * result.wall == pytest.approx(90)


def test_on_a_gpu_idle_is_what_the_kernels_leave_of_steps_without_the_profiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    now = 0.0

    def advance() -> int:
        nonlocal now
        now += 0.010
        calls.append("step")
        return 64

    class Profiler:
        def __enter__(self) -> Profiler:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def step(self) -> None:
            calls.append("trace")

        def export_chrome_trace(self, path: str) -> None:
            begins = (0, 40_000, 80_000)  # microseconds: the profiler's own time lies between
            kernels = [_event("augment", begin, 6_000, "kernel", tid=7) for begin in begins]
            Path(path).write_text(json.dumps({"traceEvents": kernels}))

    gpu = Machine(torch.device("cuda", 0), "bf16", compile=False, graph=True)
    monkeypatch.setattr(profile, "profiler", lambda **options: Profiler())
    monkeypatch.setattr(profile.time, "perf_counter", lambda: now)
    monkeypatch.setattr(profile, "MOST", 3)
    monkeypatch.setattr(profile, "matmul_peak", lambda machine: 1e12)
    monkeypatch.setattr(Machine, "wait", lambda machine: calls.append("wait"))
    monkeypatch.setattr(Machine, "name", lambda machine: "a card")
    for name, value in (
        ("reset_peak_memory_stats", None),
        ("max_memory_reserved", 300 << 20),
        ("max_memory_allocated", 100 << 20),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    result = profile.profile(advance, gpu, 1e6)
    spent = result.spent
    assert result.images_per_second == pytest.approx(6400)
    assert spent.seconds[trace.AUGMENTATION] == pytest.approx(0.018)
    assert spent.wall == pytest.approx(0.030)
    assert spent.idle == pytest.approx(0.012)
    assert result.peak_memory_bytes == 300 << 20
    text = profile.table(result)
    assert "300 MiB reserved, 100 by tensors outside the graphs" in text
    assert "idle                               4.000   40.0%" in text
    # The trace begins when the device is idle, so that it has the kernels of whole steps.
    whole = ["step", "wait", "trace"]
    assert calls[-10:] == [*whole, *2 * ["step", "trace"], *whole]


def test_work_that_fills_the_steps_leaves_no_idle_time() -> None:
    result = trace.breakdown([_event("augment", 0, 1e6, "kernel")]).within(0.9)
    assert (result.idle, result.wall) == (0, 0.9)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("augment", trace.AUGMENTATION),
        ("void cudnn::ops::nchwToNhwcKernel<__nv_bfloat16>", trace.CONVOLUTION),
        ("nvjet_sm90_tst_128x64_64x9_2x1_v_bz_NNN", trace.CONVOLUTION),
        ("cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm>", trace.CONVOLUTION),
        ("void cublasLt::splitKreduce_kernel<32, 16, int>", trace.CONVOLUTION),
        ("triton_tem_fused_convolution_0", trace.CONVOLUTION),
        ("triton_red_fused__native_batch_norm_legit_functional_1", trace.POINTWISE),
        ("void at::native::batch_norm_backward_reduce_channels_last_kernel", trace.POINTWISE),
        ("void cudnn::bn_fw_tr_1C11_singleread<float, 512>", trace.POINTWISE),
        ("void at::native::vectorized_elementwise_kernel<4, relu>", trace.POINTWISE),
        ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<A, FusedAdamMath>",
         trace.OPTIMIZER),
        ("triton_for_fused_7", trace.OPTIMIZER),
        ("Memset (Device)", trace.COPIES),
        ("something_new", trace.OTHER),
    ],
)  # fmt: skip
def test_a_kernel_is_known_by_its_name(name: str, group: str) -> None:
    assert trace.group_of_kernel(name) == group


def test_a_profile_makes_its_files_and_begins_no_run(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: None
) -> None:
    assert _command(files, tmp_path, "--profile") == 0
    out, err = capsys.readouterr()
    run = tmp_path / "runs" / "it"
    assert {path.name for path in run.iterdir()} == {"lock", "profile"}
    names = {path.name for path in (run / "profile").iterdir()}
    assert names == {"trace.json", "table.txt", "profile.json"}
    result = json.loads((run / "profile" / "profile.json").read_text())
    assert result["tflops"] / result["peak_tflops"] == pytest.approx(result["utilisation"])
    assert result["images_per_second"] > 0 and result["peak_memory_bytes"] > 0
    spent = result["spent"]
    assert spent["seconds"].keys() == set(trace.GROUPS)
    assert sum(spent["seconds"].values()) + spent["idle"] == pytest.approx(spent["wall"], rel=0.05)
    for group in (trace.AUGMENTATION, trace.CONVOLUTION, trace.POINTWISE, trace.OPTIMIZER):
        assert spent["seconds"][group] > 0, group
    events = json.loads((run / "profile" / "trace.json").read_text())["traceEvents"]
    steps = {event["name"] for event in events if str(event.get("name")).startswith(trace.STEP)}
    assert len(steps) == result["steps"]
    assert (run / "profile" / "table.txt").read_text().strip() in out
    assert "gpuGetDeviceCount" not in err


def test_a_profile_changes_nothing_of_a_run_before_or_after(
    files: Files, tmp_path: Path, quick: None
) -> None:
    def weights(folder: Path) -> bytes:
        return (folder / "it" / "weights.safetensors").read_bytes()

    assert _command(files, tmp_path / "without", "--runtime.exact", "true") == 0
    both = tmp_path / "with"
    assert _command(files, both, "--runtime.exact", "true", "--profile") == 0
    assert _command(files, both, "--runtime.exact", "true") == 0
    expected = weights(tmp_path / "without" / "runs")
    assert weights(both / "runs") == expected
    record = (both / "runs" / "it" / "record.json").read_bytes()
    assert _command(files, both, "--runtime.exact", "true", "--profile") == 0
    assert (both / "runs" / "it" / "record.json").read_bytes() == record
    assert weights(both / "runs") == expected


def test_the_folder_of_another_run_is_not_profiled_into(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: None
) -> None:
    assert _command(files, tmp_path) == 0
    assert _command(files, tmp_path, "--profile", "--optim.lr", "0.05") == 2
    assert "optim.lr" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "it" / "profile").exists()


def test_the_peak_is_that_of_a_product_of_this_size(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(rates.time, "perf_counter", lambda: next(clock))  # each round a second
    assert rates.matmul_peak(CPU, side=10, repeats=3) == 3 * 2 * 10**3


def test_batches_come_epoch_after_epoch() -> None:
    batches = profile.feeding(lambda epoch: iter([(epoch, 0), (epoch, 1)]))
    assert [next(batches) for _ in range(5)] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
