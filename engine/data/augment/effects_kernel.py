"""The Triton kernel behind `effects_gpu`: one program makes one image.

It loads an image in blocks of pixels, one load per colour, and again for each pass that needs all
of it first: the mean grey. Importing this imports Triton, which a machine without a GPU may lack.
"""

# A kernel is written in Triton's language, whose values have no Python types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator, no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

from engine.data.augment.gpu_kernel import ANY_ALIGNMENT, NUMBERS, below, philox


@triton.jit
def factor(word, low, span):
    """A uniform factor from the upper 24 bits of a word."""
    return low + span * ((word >> 8).to(tl.float32) * (2.0**-24))


@triton.jit
def clamp(value):
    """What is left of a level from 0 to 255."""
    return tl.minimum(tl.maximum(value, 0.0), 255.0)


@triton.jit
def grey(red, green, blue):
    """torchvision's, summed in this order."""
    return (0.2989 * red + 0.587 * green) + 0.114 * blue


@triton.jit
def fetch(source, pixel, exists, bright, BRIGHTNESS: tl.constexpr):
    """Three colours of some pixels, with their brightness."""
    red = tl.load(source + 3 * pixel, mask=exists, other=0).to(tl.float32)
    green = tl.load(source + 3 * pixel + 1, mask=exists, other=0).to(tl.float32)
    blue = tl.load(source + 3 * pixel + 2, mask=exists, other=0).to(tl.float32)
    if BRIGHTNESS:
        red, green, blue = clamp(red * bright), clamp(green * bright), clamp(blue * bright)
    return red, green, blue


@triton.jit
def put(
    target, pixel, colour: tl.constexpr, value, scale, shift, filled, fill, exists,
    NORMALISE: tl.constexpr,
):  # fmt: skip
    """Normalise, fill, round and store one colour."""
    if NORMALISE:
        value = value * scale + shift
    value = tl.where(filled, fill, value)
    if not NORMALISE:
        value = (value + 0.5).to(tl.int32)
    tl.store(target + 3 * pixel + colour, value.to(target.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=NUMBERS, do_not_specialize_on_alignment=ANY_ALIGNMENT)
def finish(
    out,  # N H W C
    images,  # N H W C, uint8, cropped and mirrored
    ids,  # N: the sample that each image is
    epoch,  # a number, or where it lies
    step,  # None, or where the batch's number lies: ids are then a whole epoch's
    sizes,  # of rectangles to erase: height * 2**16 + width
    seed_low: tl.uint32,
    seed_high: tl.uint32,
    scale0: tl.float32,
    scale1: tl.float32,
    scale2: tl.float32,
    shift0: tl.float32,
    shift1: tl.float32,
    shift2: tl.float32,
    fill0: tl.float32,
    fill1: tl.float32,
    fill2: tl.float32,
    low0: tl.float32,
    span0: tl.float32,
    low1: tl.float32,
    span1: tl.float32,
    low2: tl.float32,
    span2: tl.float32,
    per_sum: tl.float32,  # turns the sum of greys into their mean
    EPOCH_IN_MEMORY: tl.constexpr,
    AUGMENT: tl.constexpr,
    JITTER: tl.constexpr,
    ERASING: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    CUTOUT: tl.constexpr,
    BRIGHTNESS: tl.constexpr,
    CONTRAST: tl.constexpr,
    SATURATION: tl.constexpr,
    THRESHOLD: tl.constexpr,  # of the word that decides whether to erase; 0: never
    SIZES: tl.constexpr,
    NORMALISE: tl.constexpr,
    BLOCK: tl.constexpr,  # pixels
):
    """Jitter, cut out, erase, normalise and cast the images of a batch."""
    PIXELS: tl.constexpr = HEIGHT * WIDTH
    image = tl.program_id(0).to(tl.int64)
    at = image
    if step is not None:
        at += tl.load(step) * tl.num_programs(0)
    if EPOCH_IN_MEMORY:
        epoch = tl.load(epoch)
    sample = tl.load(ids + at).to(tl.uint32)
    now = epoch.to(tl.uint32)
    high = seed_high.to(tl.uint32)
    low = seed_low.to(tl.uint32)
    zero = tl.cast(0, tl.uint32)
    source = images + image * (3 * PIXELS)
    target = out + image * (3 * PIXELS)

    bright, contrast, saturation, even = 1.0, 1.0, 1.0, 0.0
    if BRIGHTNESS or CONTRAST or SATURATION:
        word0, word1, word2, _ = philox(sample, now, high, zero, low, JITTER)
        bright = factor(word0, low0, span0)
        contrast = factor(word1, low1, span1)
        saturation = factor(word2, low2, span2)
    if CONTRAST:
        total = tl.cast(0, tl.int64)
        for first in range(0, PIXELS, BLOCK):
            pixel = first + tl.arange(0, BLOCK)
            exists = pixel < PIXELS
            red, green, blue = fetch(source, pixel, exists, bright, BRIGHTNESS)
            shade = (grey(red, green, blue) * 4096.0 + 0.5).to(tl.int64)
            total += tl.sum(tl.where(exists, shade, 0), axis=0)
        even = (1.0 - contrast) * (total.to(tl.float32) * per_sum)

    cut_y, cut_x = 0, 0
    if CUTOUT > 0:
        _, _, _, word3 = philox(sample, now, high, zero, low, AUGMENT)
        cut_y = ((word3 >> 16) * (HEIGHT - CUTOUT + 1) >> 16).to(tl.int32)
        cut_x = ((word3 & 0xFFFF) * (WIDTH - CUTOUT + 1) >> 16).to(tl.int32)
    top, left, tall, wide = 0, 0, 0, 0
    if THRESHOLD > 0:
        word0, word1, word2, word3 = philox(sample, now, high, zero, low, ERASING)
        size = tl.load(sizes + below(word1, SIZES))
        tall, wide = (size >> 16).to(tl.int32), (size & 0xFFFF).to(tl.int32)
        top = ((word2.to(tl.uint64) * (HEIGHT - tall + 1).to(tl.uint64)) >> 32).to(tl.int32)
        left = ((word3.to(tl.uint64) * (WIDTH - wide + 1).to(tl.uint64)) >> 32).to(tl.int32)
        tall = tl.where(word0.to(tl.int64) < THRESHOLD, tall, 0)

    for first in range(0, PIXELS, BLOCK):
        pixel = first + tl.arange(0, BLOCK)
        exists = pixel < PIXELS
        red, green, blue = fetch(source, pixel, exists, bright, BRIGHTNESS)
        if CONTRAST:
            red = clamp(contrast * red + even)
            green = clamp(contrast * green + even)
            blue = clamp(contrast * blue + even)
        if SATURATION:
            rest = (1.0 - saturation) * grey(red, green, blue)
            red = clamp(saturation * red + rest)
            green = clamp(saturation * green + rest)
            blue = clamp(saturation * blue + rest)
        y = pixel // WIDTH
        x = pixel - y * WIDTH
        filled = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
        if CUTOUT > 0:
            row = (y >= cut_y) & (y < cut_y + CUTOUT)
            filled = filled | (row & (x >= cut_x) & (x < cut_x + CUTOUT))
        put(target, pixel, 0, red, scale0, shift0, filled, fill0, exists, NORMALISE)
        put(target, pixel, 1, green, scale1, shift1, filled, fill1, exists, NORMALISE)
        put(target, pixel, 2, blue, scale2, shift2, filled, fill2, exists, NORMALISE)


INTERPRETED = not isinstance(finish, triton.JITFunction)  # then it takes CPU tensors
