"""Vector and atomic operations for compiled functions, on memory addresses.

None reads or writes a byte outside: a step that would reach past the end of a row starts earlier
and overlaps the one before, so that rows of any length are fast.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from engine.data.kernels.jit import IDS, at, eager_njit, inline_njit, intrinsic, types

UINT8, FLOAT32, BFLOAT16 = range(3)  # dtype of a batch
LINE = 64  # bytes of a cache line
AHEAD = 2  # images to prefetch: with 0 it takes 1.5 times as long, 4 is no faster
PIECE = 98_304  # bytes of images that a thread takes at a time: 32 images of CIFAR
SPINS = 2_000  # about 20 microseconds, less than sleeping and waking takes
TAKEN, DONE = 0, 16  # indices of a batch's two counters, two cache lines apart
I8, I16, I32, FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()


@intrinsic
def prefetch(context: Any, address: Any) -> Any:
    """Prefetch the cache line at `address`."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(I8), I32, I32, I32])
        function = builder.module.declare_intrinsic("llvm.prefetch.p0", fnty=kind)
        builder.call(function, [at(builder, values[0], I8), I32(0), I32(3), I32(1)])

    return types.void(types.int64), build


@intrinsic
def fetch_add(context: Any, address: Any, number: Any) -> Any:
    """Add to a number that threads share, atomically; returns its old value."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        shared = at(builder, values[0], ir.IntType(64))
        return builder.atomic_rmw("add", shared, values[1], "seq_cst")

    return types.int64(types.int64, types.int64), build


def _mover(order: list[int]) -> Any:
    """An intrinsic that copies len(order) bytes, byte order[k] to place k."""
    vector = ir.VectorType(I8, len(order))
    shuffle = ir.Constant(ir.VectorType(I32, len(order)), order)

    @intrinsic
    def move(context: Any, to: Any, source: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            loaded = builder.load(at(builder, values[1], vector), align=1)
            shuffled = builder.shuffle_vector(loaded, loaded, shuffle)
            builder.store(shuffled, at(builder, values[0], vector), align=1)

        return types.void(types.int64, types.int64), build

    return move


def _normaliser(count: int, bits16: bool) -> Any:
    """An intrinsic that writes `count` bytes times scale plus shift as float32 or bfloat16."""
    pixels, floats = ir.VectorType(I8, count), ir.VectorType(FLOAT, count)
    words, halves = ir.VectorType(I32, count), ir.VectorType(I16, count)

    @intrinsic
    def normalise(context: Any, to: Any, source: Any, scale: Any, shift: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            bytes_ = builder.load(at(builder, values[1], pixels), align=1)
            factor = builder.load(at(builder, values[2], floats), align=4)
            term = builder.load(at(builder, values[3], floats), align=4)
            kind = ir.FunctionType(floats, [floats] * 3)
            fused = builder.module.declare_intrinsic(f"llvm.fmuladd.v{count}f32", fnty=kind)
            result = builder.call(fused, [builder.uitofp(bytes_, floats), factor, term])
            if bits16:  # round to nearest, ties to even
                word = builder.bitcast(result, words)
                sixteen = ir.Constant(words, [16] * count)
                odd = builder.and_(builder.lshr(word, sixteen), ir.Constant(words, [1] * count))
                half = ir.Constant(words, [0x7FFF] * count)
                rounded = builder.add(builder.add(word, half), odd)
                result = builder.trunc(builder.lshr(rounded, sixteen), halves)
            builder.store(result, at(builder, values[0], result.type), align=2 if bits16 else 4)

        return types.void(*[types.int64] * 4), build

    return normalise


move1, move3, move32 = (_mover(list(range(n))) for n in (1, 3, 32))
mirror16 = _mover([3 * (15 - k // 3) + k % 3 for k in range(48)])  # 16 pixels
float16, float1 = _normaliser(16, False), _normaliser(1, False)
half16, half1 = _normaliser(16, True), _normaliser(1, True)


@eager_njit(types.boolean(IDS, types.int64))
def all_done(progress: Any, batch: int) -> bool:
    """Whether the whole batch is done, now or after a short spin."""
    shared, spins = progress.ctypes.data + 8 * DONE, SPINS
    while spins > 0 and fetch_add(shared, 0) < batch:
        spins -= 1
    return spins > 0


@inline_njit
def keep_alive(one: Any, two: Any, three: Any) -> None:
    """Keep arrays alive until here: Numba frees them after their last use, addresses aside."""


@inline_njit
def copy(to: int, source: int, size: int) -> None:
    """Copy `size` bytes."""
    k = 0
    while k + 32 <= size:
        move32(to + k, source + k)
        k += 32
    if k < size:
        if size >= 32:
            move32(to + size - 32, source + size - 32)
        else:
            for k in range(size):
                move1(to + k, source + k)


@inline_njit
def copy_ahead(to: int, source: int, size: int, soon: int) -> None:
    """Copy `size` bytes and prefetch as many at `soon`."""
    k = 0
    while k + LINE <= size:
        move32(to + k, source + k)
        move32(to + k + 32, source + k + 32)
        prefetch(soon + k)
        k += LINE
    prefetch(soon + size - 1)
    copy(to + k, source + k, size - k)


@inline_njit
def mirror(to: int, source: int, pixels: int) -> None:
    """Copy pixels in reverse order."""
    size = 3 * pixels
    k = 0
    while k + 48 <= size:
        mirror16(to + k, source + size - k - 48)
        k += 48
    if k < size:
        if size >= 48:
            mirror16(to + size - 48, source)
        else:
            for k in range(0, size, 3):
                move3(to + k, source + size - 3 - k)


@inline_njit
def normalise(
    to: int, source: int, size: int, kind: int, scale: int, shift: int, soon: int
) -> None:
    """Write `size` bytes as floats; `scale` and `shift` repeat every three values."""
    if size >= 48:
        k = 0
        while k < size:
            k = min(k, size - 48)  # a multiple of 3: the last step is in phase
            prefetch(soon + k)
            for j in range(0, 48, 16):
                if kind == FLOAT32:
                    float16(to + 4 * (k + j), source + k + j, scale + 4 * j, shift + 4 * j)
                else:
                    half16(to + 2 * (k + j), source + k + j, scale + 4 * j, shift + 4 * j)
            k += 48
    else:
        for k in range(size):
            if kind == FLOAT32:
                float1(to + 4 * k, source + k, scale + 4 * k, shift + 4 * k)
            else:
                half1(to + 2 * k, source + k, scale + 4 * k, shift + 4 * k)
