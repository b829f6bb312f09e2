"""The Triton kernel behind `gpu`: one program makes one image, or one tile of a large one.

A row of an image is 3 x width bytes: a crop shifts a row, and a mirror reads it backwards with the
colours in order. Counted in bytes ("elements") no division is needed, and the bytes that a thread
reads lie at fixed distances from one another:

    plain      source = element
    mirrored   source = 3 * (width - 1) - element + 2 * colour        colour = element % 3

A thread writes groups of VECTOR neighbouring elements, each with one 16-byte store; it reads them
byte by byte, because a shift by whole pixels leaves no alignment. The draws are computed once per
program.

Importing this imports Triton, which a machine without a GPU may lack; only `gpu` does so.
"""

# A kernel is written in Triton's language, whose values have no Python types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator, no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

# What changes between launches must not compile the kernel again: Triton must not specialise on
# numbers, nor on alignment, since rows and ids may be slices that begin anywhere.
NUMBERS = ("epoch", "seed_low", "seed_high")
ANY_ALIGNMENT = ("rows", "ids", "epoch", "step", "labels", "labels_out")


@triton.jit
def philox(x0, x1, x2, x3, key0, KEY1: tl.constexpr):
    """Philox 4x32-10 of one counter, as `engine.data.counter.philox` specifies it."""
    for i in tl.static_range(10):
        low = x0.to(tl.uint64) * 0xD2511F53
        high = x2.to(tl.uint64) * 0xCD9E8D57
        x0 = (high >> 32).to(tl.uint32) ^ x1 ^ (key0 + ((i * 0x9E3779B9) & 0xFFFFFFFF))
        x2 = (low >> 32).to(tl.uint32) ^ x3 ^ ((KEY1 + i * 0xBB67AE85) & 0xFFFFFFFF)
        x1 = high.to(tl.uint32)
        x3 = low.to(tl.uint32)
    return x0, x1, x2, x3


@triton.jit
def below(word, BOUND: tl.constexpr):
    """A word as a whole number from 0 to BOUND - 1."""
    return ((word.to(tl.uint64) * BOUND) >> 32).to(tl.int32)


@triton.jit
def into(place, low, high, MODE: tl.constexpr):
    """Positions in the padding mapped to the pixels they repeat; `low` and `high` are the edges."""
    if MODE == "reflect":
        place = tl.maximum(place, 2 * low - place)
        place = tl.minimum(place, 2 * high - place)
    elif MODE == "edge":
        place = tl.minimum(tl.maximum(place, low), high)
    return place


@triton.jit
def fetch(line, start, k, colour, wanted, ROW: tl.constexpr, MODE: tl.constexpr):
    """The bytes of `line` at start + k, or what MODE gives for the padding."""
    source = start + k
    if MODE == "zeros":
        inside = wanted & (source >= 0) & (source < ROW)
        # Start in 64 bits: the address of each k is then a fixed offset from one register.
        return tl.load(line + start.to(tl.int64) + k, mask=inside, other=0)
    return tl.load(line + into(source, colour, ROW - 3 + colour, MODE), mask=wanted, other=0)


@triton.jit(do_not_specialize=NUMBERS, do_not_specialize_on_alignment=ANY_ALIGNMENT)
def augment(
    out,  # N H W C
    images,  # M H W C, uint8
    rows,  # N: the row of the store that each image comes from; None: 0, 1, 2, ...
    ids,  # N: the sample that each image is, for its draws
    epoch,  # a number, or where it lies
    step,  # None, or where the batch's number lies: rows and ids are then a whole epoch's
    labels,  # None, or M
    labels_out,  # N
    seed_low: tl.uint32,
    seed_high: tl.uint32,
    scale0: tl.float32,
    scale1: tl.float32,
    scale2: tl.float32,
    shift0: tl.float32,
    shift1: tl.float32,
    shift2: tl.float32,
    EPOCH_IN_MEMORY: tl.constexpr,
    PURPOSE: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDING: tl.constexpr,
    MODE: tl.constexpr,  # of the padding; "none" where there is no padding
    FLIP: tl.constexpr,
    CUTOUT: tl.constexpr,
    NORMALISE: tl.constexpr,
    VECTOR: tl.constexpr,  # elements in a group; divides a row
    TILE: tl.constexpr,  # groups in a program
):
    """Gather, crop, flip, cut out, normalise, cast and lay out the images of a batch."""
    ROW: tl.constexpr = 3 * WIDTH
    PER_ROW: tl.constexpr = ROW // VECTOR
    image = tl.program_id(0).to(tl.int64)
    at = image
    if step is not None:
        at += tl.load(step) * tl.num_programs(0)
    row = image
    if rows is not None:
        row = tl.load(rows + at)
    if EPOCH_IN_MEMORY:
        epoch = tl.load(epoch)

    sample = tl.load(ids + at).to(tl.uint32)
    now = epoch.to(tl.uint32)
    high = seed_high.to(tl.uint32)
    low = seed_low.to(tl.uint32)
    zero = tl.cast(0, tl.uint32)
    word0, word1, word2, word3 = philox(sample, now, high, zero, low, PURPOSE)
    down, right = 0, 0
    if PADDING > 0:
        down = below(word0, 2 * PADDING + 1) - PADDING
        right = 3 * (below(word1, 2 * PADDING + 1) - PADDING)
    if FLIP == "alternating":
        _, _, word2, _ = philox(sample, zero, high, zero, low, PURPOSE)
        word2 = word2 ^ (now << 31)
    flip = (word2 >> 31) != 0

    group = tl.program_id(1) * TILE + tl.arange(0, TILE)[:, None]  # TILE 1
    y = group // PER_ROW
    first = (group - y * PER_ROW) * VECTOR
    k = tl.arange(0, VECTOR)[None, :]  # 1 VECTOR
    colour = first % 3 + k % 3
    colour = tl.where(colour >= 3, colour - 3, colour)
    exists = group < HEIGHT * PER_ROW
    wanted = exists

    source_y = y + down
    if MODE == "zeros":
        wanted = wanted & (source_y >= 0) & (source_y < HEIGHT)
    source_y = into(source_y, 0, HEIGHT - 1, MODE)
    line = images + row * (HEIGHT * ROW) + source_y * ROW
    if FLIP != "none" and flip:  # the same way for all of a program
        start = ROW - 3 - first + right + 2 * colour
        pixel = fetch(line, start, -k, colour, wanted, ROW, MODE)
    else:
        pixel = fetch(line, first + right, k, colour, wanted, ROW, MODE)

    if CUTOUT > 0:
        cut_y = ((word3 >> 16) * (HEIGHT - CUTOUT + 1) >> 16).to(tl.int32)
        cut_x = ((word3 & 0xFFFF) * (WIDTH - CUTOUT + 1) >> 16).to(tl.int32)
        cut_row = (y >= cut_y) & (y < cut_y + CUTOUT)
        cut_column = (first + k >= 3 * cut_x) & (first + k < 3 * (cut_x + CUTOUT))
        pixel = tl.where(cut_row & cut_column, 0, pixel)
    if NORMALISE:
        scale = tl.where(colour == 0, scale0, tl.where(colour == 1, scale1, scale2))
        shift = tl.where(colour == 0, shift0, tl.where(colour == 1, shift1, shift2))
        pixel = pixel.to(tl.float32) * scale + shift
    place = out + image * (HEIGHT * ROW) + (group * VECTOR + k)
    tl.store(place, pixel.to(out.dtype.element_ty), mask=exists)
    if labels is not None and tl.program_id(1) == 0:
        tl.store(labels_out + image, tl.load(labels + row))


INTERPRETED = not isinstance(augment, triton.JITFunction)  # then it takes CPU tensors
CACHE = triton.knobs.cache  # where Triton keeps compiled kernels
