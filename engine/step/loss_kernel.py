"""The Triton kernels behind `loss_on_gpu`: the loss of a batch, and the end of a step.

Importing this imports Triton, which a machine without a GPU may lack.
"""

# A kernel is written in Triton's language, whose values have no Python types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator, no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

COUNTS = ("count", "number", "images", "parts")  # must not compile the kernels again
ANYWHERE = ("labels", "others", "share", "number", "bad_step", "bad_loss", "total", "right")


@triton.jit(do_not_specialize=COUNTS, do_not_specialize_on_alignment=ANYWHERE)
def softmax_loss(
    gradient,  # N C
    sums,  # 2 P: of losses and of right answers, a column per program
    check,  # set to 0, where a gradient is not finite to be noted, and to 1
    logits,  # N C
    labels,  # N
    others,  # None, or N: the labels of the second images
    share,  # None, or of the first image: N, or one for all
    count,  # N
    smoothing: tl.float32,
    factor: tl.float32,  # of each image's loss
    CLASSES: tl.constexpr,
    SHARES: tl.constexpr,  # one per image
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,  # classes
):
    """Loss, its gradient and right answers of some rows."""
    program = tl.program_id(0)
    row = program * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)[None, :]
    exists = row < count
    known = column < CLASSES
    wanted = exists[:, None] & known
    place = row[:, None].to(tl.int64) * CLASSES + column
    logit = tl.load(logits + place, mask=wanted, other=0).to(tl.float32)
    logit = tl.where(known, logit, float("-inf"))
    label = tl.load(labels + row, mask=exists, other=0)[:, None]

    top = tl.max(logit, axis=1)[:, None]
    power = tl.exp(logit - top)
    total = tl.sum(power, axis=1)[:, None]
    likelihood = tl.where(known, (logit - top) - tl.log(total), 0.0)  # its logarithm
    target = tl.where(column == label, 1.0, 0.0)
    if others is not None:
        other = tl.load(others + row, mask=exists, other=0)[:, None]
        if SHARES:
            first = tl.load(share + row, mask=exists, other=0)[:, None]
        else:
            first = tl.load(share)
        target = first * target + (1 - first) * tl.where(column == other, 1.0, 0.0)
    target = tl.where(known, (1 - smoothing) * target + smoothing / CLASSES, 0.0)

    # A likelihood of 0 must not meet its logarithm where nothing is expected of it.
    lost = tl.where(target == 0, 0.0, target * likelihood)
    loss = tl.where(exists, -tl.sum(lost, axis=1), 0.0)
    highest = tl.min(tl.where(logit == top, column, BLOCK), axis=1)[:, None]
    answer = tl.where(exists[:, None] & (highest == label), 1.0, 0.0)
    tl.store(sums + program, tl.sum(loss, axis=0) * factor)
    tl.store(sums + tl.num_programs(0) + program, tl.sum(tl.sum(answer, axis=1), axis=0))
    slope = (power / total - target) * factor
    tl.store(gradient + place, slope.to(gradient.dtype.element_ty), mask=wanted)
    if program == 0:
        tl.store(check, 0.0)
        tl.store(check + 1, 1.0)


@triton.jit(do_not_specialize=COUNTS, do_not_specialize_on_alignment=ANYWHERE)
def end_of_step(
    skip,  # bool
    skipped,  # the same as float32
    sums,  # 2 P
    found,  # float32, not 0: a gradient is not finite
    number,  # of the step, or where it lies
    bad_step,  # int64
    bad_loss,  # float32
    total,  # float64: the sum of all images' losses
    right,  # int64: of right answers
    images,  # number of images
    parts,  # P
    NUMBER_IN_MEMORY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Check a step and add it to the sums."""
    part = tl.arange(0, BLOCK)
    loss = tl.sum(tl.load(sums + part, mask=part < parts, other=0), axis=0)
    answers = tl.sum(tl.load(sums + parts + part, mask=part < parts, other=0), axis=0)
    if NUMBER_IN_MEMORY:
        number = tl.load(number)
    finite = (tl.abs(loss) < float("inf")) & (tl.load(found) == 0)  # not so for nan
    before = tl.load(bad_step)
    if (before < 0) & (finite == 0):
        tl.store(bad_loss, loss)
        tl.store(bad_step, number.to(tl.int64))
    stops = (before >= 0) | (finite == 0)
    tl.store(skip, stops)
    tl.store(skipped, stops.to(tl.float32))
    tl.store(total, tl.load(total) + loss.to(tl.float64) * images)
    tl.store(right, tl.load(right) + answers.to(tl.int64))


INTERPRETED = not isinstance(softmax_loss, triton.JITFunction)  # then they take CPU tensors
