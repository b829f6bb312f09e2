"""The settings of the device, and of the run's folder."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.fields import option


@dataclass(frozen=True)
class Runtime:
    """The device, and how it computes."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    precision: str = option(
        "auto",
        "number format of mixed precision; auto: bf16 where the hardware has units for it (and, on "
        "a CPU, is faster with them), else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: bool | str = option(
        "auto", "torch.compile; auto: on a GPU, not on a CPU", words=("auto",)
    )
    graph: bool | str = option(
        "auto", "run the whole step as one CUDA graph; auto: on a GPU", words=("auto",)
    )
    channels_last: bool = option(True, "channels_last memory format (N H W C)")
    tf32: bool = option(False, "TF32 for fp32 matrix products and convolutions on a GPU")
    autotune: bool = option(
        True, "cuDNN benchmark mode: time its kernels per shape; off with exact"
    )
    autotune_limit: int = option(
        10, "kernels of cuDNN that autotune times per shape; 0: all, which takes longer", low=0
    )
    coordinate_descent: bool = option(
        False, "compile longer for a GPU: Inductor's coordinate_descent_tuning of its kernels"
    )
    compile_evaluation: bool = option(
        False, "evaluate by compiled code too, where training is compiled on a GPU"
    )
    stem_channels: int = option(
        8,
        "where compiled on a GPU, images and the first filters get channels of zeros up to so "
        "many, as tensor cores take them; 0: none",
        low=0,
        high=64,
    )
    loss_kernel: bool = option(
        True,
        "on a GPU, loss, its gradient, right answers and the check for nan in three kernels "
        "rather than fifty (not with fp16)",
    )
    count_together: bool = option(
        True, "on a GPU, count the batches of all batch norms in one kernel rather than one each"
    )
    copy_at_once: bool = option(
        True, "copy a checkpoint from the GPU as one block rather than tensor by tensor"
    )
    threads: int = option(0, "CPU threads of torch; 0: one per core", low=0, high=1024)
    exact: bool = option(
        False, "bit-identical results on every run: deterministic kernels, one thread on a CPU"
    )
    cache: str = option(
        "", "folder for compiled code and measurements of the machine; empty: .cache in run.root"
    )


@dataclass(frozen=True)
class Run:
    """Where the run is written."""

    root: str = option("runs", "folder of all runs")
    name: str = option("", "folder of this run; empty: <config>-s<seed>-<fingerprint>")
    tensorboard: bool = option(False, "also write TensorBoard events (pip extra: tensorboard)")
