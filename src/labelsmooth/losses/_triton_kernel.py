"""The row kernel on a GPU: loss and gradient of smoothed cross-entropy, a row at a time. `_triton.py` launches it.

What shaped it:

- Memory decides. A row is read block by block, and the next block is asked for before the present one is worked on. Loss
  and gradient in one call read the row a second time: the first reading asks the L2 cache to keep it, the second to drop
  it, and the launcher lets no more rows be under way than fit there. A row of one block stays in registers.
- Per block one maximum over all lanes; sums stay in the lanes and are added up once a row. What was summed against an
  older, smaller maximum is rescaled. The linear part is taken about the first finite block's maximum, which costs no
  rescaling: at the end it is moved to the row's.
- Half precision is widened right after it is read: Triton's interpreter, on which the tests run where there is no GPU, does
  bfloat16 arithmetic on the bits of its integers.
- Rows may be 2^31 elements and more apart, so whatever counts elements over rows has 64 bits.
- No row waits for the host: a label that is no class gives its row NaN, and an ignored row is not read.
- A charge is c = a*q + b*v, as in `_options.py`: loss = lse*sum(c) - sum(c*z), gradient = grad_output*(p*sum(c) - c), in
  the dtype of the sums and rounded once. Saved are the row's maximum m and s = sum of exp(z - m), not log-sum-exp: p is
  then as exact for logits near 10,000 as for logits near 0.

Annotations are read by Triton, hence no `from __future__ import annotations` here.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN202, C901

import triton
import triton.language as tl

LOSS = tl.constexpr(0)
GRADIENT = tl.constexpr(1)
BOTH = tl.constexpr(2)


@triton.jit
def hyperbolic(x, SUMS: tl.constexpr):
    # tanh and its derivative, from t = exp(-2|x|). The first terms of the series where 1 - t would cancel.
    size = tl.abs(x)
    t = tl.exp(size * -2.0)
    over = 1.0 / (1.0 + t)
    far = (1.0 - t) * over
    s = x * x
    near = s * (21844.0 / 6081075) - 1382.0 / 155925
    near = near * s + 62.0 / 2835
    near = near * s - 17.0 / 315
    near = near * s + 2.0 / 15
    near = near * s - 1.0 / 3
    near = near * s * x + x
    border: tl.constexpr = 0.03 if tl.float64 == SUMS else 0.25
    return tl.where(size < border, near, tl.where(x < 0, -far, far)), 4.0 * t * over * over


@triton.jit
def numbers(raw, columns, inside, allowed, softcap, ALLOWED: tl.constexpr, SOFTCAP: tl.constexpr, SUMS: tl.constexpr):
    # (BLOCK) logits in the dtype of the sums, capped, -inf where a class is masked or the row is over.
    z = raw.to(SUMS)
    if SOFTCAP:
        tangent, _ = hyperbolic(z / softcap, SUMS)
        z = tl.where(inside, tangent * softcap, -float("inf"))
    if ALLOWED:
        free = tl.load(allowed + columns, mask=inside, other=0)
        z = tl.where(free != 0, z, -float("inf"))
    return z


@triton.jit
def mass_of_label(soft, weight, columns, inside, WEIGHT: tl.constexpr):
    q = tl.load(soft + columns, mask=inside, other=0.0)
    if WEIGHT:
        q = q * tl.load(weight + columns, mask=inside, other=0.0, eviction_policy="evict_last")
    return q


@triton.jit
def times(mass, d):
    # mass*d, 0 where there is no mass even if the logit is -inf; NaN and +inf are seen by the exponentials.
    return tl.where(mass == 0.0, 0.0, mass * d)


@triton.jit
def charged(mass, loss):
    # mass*loss, nothing where there is no mass even if the loss is infinite
    return tl.where((mass == 0.0) & (loss == loss), 0.0, mass * loss)  # noqa: PLR0124  NaN is not itself


@triton.jit
def lane_sums(x, VECTOR: tl.constexpr):
    # (BLOCK) to (BLOCK / VECTOR): what one load brought to a thread is added up there.
    return tl.sum(tl.reshape(x, [x.shape[0] // VECTOR, VECTOR]), axis=1)


@triton.jit
def fold(
    z, columns, inside, m, origin, s, linear, mass, label_linear, label_mass, soft, weight, prior,
    SOFT: tl.constexpr, WEIGHT: tl.constexpr, SPREAD: tl.constexpr, PRIOR: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    # Add one block to what the row comes down to.
    top = tl.maximum(m, tl.max(z, axis=0))
    # Where all logits so far are -inf their exponentials are 0 and not NaN; a NaN among them is still seen.
    shift = tl.where(top == -float("inf"), 0.0, top)
    s = s * tl.exp(m - shift) + lane_sums(tl.exp(z - shift), VECTOR)
    origin = tl.where(origin == -float("inf"), top, origin)
    d = z - tl.where(origin == -float("inf"), 0.0, origin)
    if SPREAD:
        if PRIOR:
            v = tl.load(prior + columns, mask=inside, other=0.0, eviction_policy="evict_last")
            mass += lane_sums(v, VECTOR)
            linear += lane_sums(times(v, d), VECTOR)
        else:
            linear += lane_sums(tl.where(inside, d, 0.0), VECTOR)
    if SOFT:
        q = mass_of_label(soft, weight, columns, inside, WEIGHT)
        label_mass += lane_sums(q, VECTOR)
        label_linear += lane_sums(times(q, d), VECTOR)
    return top, origin, s, linear, mass, label_linear, label_mass


@triton.jit
def slope_of(raw, m, factor, y, a, b, columns, inside, softcap, soft, weight, prior, allowed, uniform,
             SOFT: tl.constexpr, WEIGHT: tl.constexpr, SPREAD: tl.constexpr, PRIOR: tl.constexpr,
             ALLOWED: tl.constexpr, SOFTCAP: tl.constexpr, SUMS: tl.constexpr):  # fmt: skip
    # (BLOCK) of the gradient: up*(p*total - c), where a and b have up in them already.
    z = raw.to(SUMS)
    slope = z
    if SOFTCAP:
        tangent, slope = hyperbolic(z / softcap, SUMS)
        z = tangent * softcap
    g = tl.exp(z - m) * factor
    if SPREAD:
        if PRIOR:
            g -= b * tl.load(prior + columns, mask=inside, other=0.0, eviction_policy="evict_last")
        else:
            g -= b * uniform
    if SOFT:
        g -= a * mass_of_label(soft, weight, columns, inside, WEIGHT)
    else:
        g = tl.where(columns == y, g - a, g)
    if SOFTCAP:
        g *= slope
    if ALLOWED:
        g = tl.where(tl.load(allowed + columns, mask=inside, other=0) != 0, g, 0.0)
    return g


@triton.jit
def rows_kernel(
    logits,  # (rows, K), classes next to each other
    gradient,  # (rows, K) dense, or the logits themselves
    label,  # (rows) int64, or with SOFT (rows, K) in the dtype of the sums
    loss,  # (rows), dtype of the sums, as all that follow but masks
    stats,  # (3, rows): m, s, sum(c)
    label_mass,  # a: (rows) or (1)
    spread_mass,  # b: (rows) or (1)
    prior,  # v: (K) or (rows, K)
    allowed,  # (K) or (rows, K) bytes
    keep,  # (rows) bytes
    weight,  # (K), of a soft label
    grad_output,  # (rows) or (1)
    rows: tl.int64,
    K: tl.int32,
    inner: tl.int64,  # row r of the logits starts at (r // inner)*outer_stride + (r % inner)*inner_stride
    outer_stride: tl.int64,
    inner_stride: tl.int64,
    label_mass_stride: tl.int64,  # 0 or 1
    spread_mass_stride: tl.int64,  # 0 or 1
    grad_output_stride: tl.int64,  # 0 or 1
    prior_stride: tl.int64,  # 0 or K
    allowed_stride: tl.int64,  # 0 or K
    a: tl.float64,  # masses, where no tensor gives them
    b: tl.float64,
    z_loss: tl.float64,
    softcap: tl.float64,
    TASK: tl.constexpr,  # LOSS, GRADIENT from stats, or BOTH
    NESTED: tl.constexpr,  # rows lie in groups
    IN_PLACE: tl.constexpr,
    SOFT: tl.constexpr,
    WEIGHT: tl.constexpr,
    A_ROWS: tl.constexpr,  # a is a tensor
    B_ROWS: tl.constexpr,
    SPREAD: tl.constexpr,  # b is not the number 0
    PRIOR: tl.constexpr,
    ALLOWED: tl.constexpr,
    KEEP: tl.constexpr,
    Z_LOSS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    ONE: tl.constexpr,  # a row is one block
    FIRST: tl.constexpr,  # what the caches are told of the first reading,
    SECOND: tl.constexpr,  # and of the second
    SUMS: tl.constexpr,
    UNIT: tl.constexpr,  # divides K and the strides, which lets a load be as wide
    VECTOR: tl.constexpr,  # classes to a load
    BLOCK: tl.constexpr,
):
    K = (K // UNIT) * UNIT  # said again in a form that the compiler takes at its word
    inner_stride = (tl.cast(inner_stride, tl.int64) // UNIT) * UNIT
    outer_stride = (tl.cast(outer_stride, tl.int64) // UNIT) * UNIT
    prior_stride = (tl.cast(prior_stride, tl.int64) // UNIT) * UNIT
    allowed_stride = (tl.cast(allowed_stride, tl.int64) // UNIT) * UNIT
    lanes = tl.arange(0, BLOCK)  # (BLOCK)
    cap = tl.full([], softcap, SUMS)  # exact in float64, also where Triton interprets
    uniform = 1.0 / tl.cast(K, SUMS)
    for at in range(tl.program_id(0), rows, tl.num_programs(0)):
        row = tl.cast(at, tl.int64)
        # Where the row lies ------------------------------------------------------------------------------------------
        begin = row * inner_stride
        if NESTED:
            begin = (row // inner) * outer_stride + (row % inner) * inner_stride
        z_row = logits + begin
        g_row = gradient + begin
        if not IN_PLACE:
            g_row = gradient + row * tl.cast(K, tl.int64)
        soft_row = label + row * tl.cast(K, tl.int64)
        prior_row = prior + row * prior_stride
        allowed_row = allowed + row * allowed_stride
        # What is charged ---------------------------------------------------------------------------------------------
        counts = tl.full([], 1, tl.int1)
        if KEEP:
            counts = tl.load(keep + row) != 0
        bad = tl.full([], 0, tl.int1)
        y = tl.cast(-1, tl.int32)
        if not SOFT:
            named = tl.load(label + row)
            bad = counts & ((named < 0) | (named >= K))
            counts = counts & (named >= 0) & (named < K)
            y = tl.where(counts, named, 0).to(tl.int32)
        mass_a = tl.full([], a, SUMS)
        if A_ROWS:
            mass_a = tl.load(label_mass + row * tl.cast(label_mass_stride, tl.int64))
        mass_b = tl.full([], b, SUMS)
        if B_ROWS:
            mass_b = tl.load(spread_mass + row * tl.cast(spread_mass_stride, tl.int64))
        reach = tl.where(counts, K, 0)  # nothing of a row that does not count is read
        inside = lanes < reach
        raw = tl.load(z_row + lanes, mask=inside, other=-float("inf"), eviction_policy=FIRST)
        if TASK != GRADIENT:
            # Down to a few numbers -----------------------------------------------------------------------------------
            at_label = tl.cast(-float("inf"), SUMS)
            if not SOFT:
                at_label = tl.load(z_row + y, mask=counts, other=0.0).to(SUMS)
                if SOFTCAP:
                    tangent, _ = hyperbolic(at_label / cap, SUMS)
                    at_label = tangent * cap
                if ALLOWED:
                    free = tl.load(allowed_row + y)
                    at_label = tl.where(free != 0, at_label, -float("inf"))
            m = tl.cast(-float("inf"), SUMS)
            origin = tl.cast(-float("inf"), SUMS)
            sums = tl.zeros([BLOCK // VECTOR], dtype=SUMS)
            linears = tl.zeros([BLOCK // VECTOR], dtype=SUMS)
            masses = tl.zeros([BLOCK // VECTOR], dtype=SUMS)
            label_linears = tl.zeros([BLOCK // VECTOR], dtype=SUMS)
            label_masses = tl.zeros([BLOCK // VECTOR], dtype=SUMS)
            if ONE:
                z = numbers(raw, lanes, inside, allowed_row, cap, ALLOWED, SOFTCAP, SUMS)
                m, origin, sums, linears, masses, label_linears, label_masses = fold(
                    z, lanes, inside, m, origin, sums, linears, masses, label_linears, label_masses, soft_row, weight,
                    prior_row, SOFT, WEIGHT, SPREAD, PRIOR, VECTOR)  # fmt: skip
            else:
                for start in range(0, K, BLOCK):
                    columns = start + lanes
                    inside = columns < reach
                    ahead = columns + BLOCK
                    soon = tl.load(z_row + ahead, mask=ahead < reach, other=-float("inf"), eviction_policy=FIRST)
                    z = numbers(raw, columns, inside, allowed_row, cap, ALLOWED, SOFTCAP, SUMS)
                    m, origin, sums, linears, masses, label_linears, label_masses = fold(
                        z, columns, inside, m, origin, sums, linears, masses, label_linears, label_masses, soft_row,
                        weight, prior_row, SOFT, WEIGHT, SPREAD, PRIOR, VECTOR)  # fmt: skip
                    raw = soon
            s = tl.sum(sums, axis=0)
            s = tl.where(m == -float("inf"), float("nan"), s)  # no class is possible
            log_s = tl.log(s)
            if SOFT:
                mass_of_label_ = tl.sum(label_masses, axis=0)
                linear = tl.sum(label_linears, axis=0) - times(mass_of_label_, m - origin)
            else:
                mass_of_label_ = tl.cast(1.0, SUMS)
                linear = at_label - m
            value = charged(mass_a, log_s * mass_of_label_ - linear)
            total = mass_a * mass_of_label_
            if SPREAD:
                if PRIOR:
                    spread = tl.sum(masses, axis=0)
                    linear = tl.sum(linears, axis=0) - times(spread, m - origin)
                else:
                    spread = tl.cast(1.0, SUMS)
                    linear = tl.sum(linears, axis=0) * uniform - (m - origin)
                value += charged(mass_b, log_s * spread - linear)
                total += mass_b * spread
            if Z_LOSS:
                lse = m + log_s
                value += tl.full([], z_loss, SUMS) * lse * lse
                total += 2.0 * tl.full([], z_loss, SUMS) * lse  # its gradient is that of more mass on p
            value = tl.where(counts, value, tl.where(bad, float("nan"), 0.0))
            tl.store(loss + row, value)
            if TASK == LOSS:
                tl.store(stats + row, tl.where(counts, m, 0.0))
                tl.store(stats + rows + row, tl.where(counts, s, 1.0))
                tl.store(stats + 2 * rows + row, tl.where(counts, total, 0.0))
        else:
            m = tl.load(stats + row)
            s = tl.load(stats + rows + row)
            total = tl.load(stats + 2 * rows + row)
        if TASK != LOSS:
            # The gradient --------------------------------------------------------------------------------------------
            up = tl.load(grad_output + row * tl.cast(grad_output_stride, tl.int64))
            factor = up * total / s
            at_a = up * mass_a
            at_b = up * mass_b
            if IN_PLACE and TASK == BOTH:
                tl.debug_barrier()  # every thread has read the label's logit before anybody writes over it
            if ONE:
                g = slope_of(raw, m, factor, y, at_a, at_b, lanes, inside, cap, soft_row, weight, prior_row, allowed_row,
                             uniform, SOFT, WEIGHT, SPREAD, PRIOR, ALLOWED, SOFTCAP, SUMS)  # fmt: skip
                g = tl.where(counts, g, tl.where(bad, float("nan"), 0.0))
                tl.store(g_row + lanes, g.to(gradient.dtype.element_ty), mask=lanes < K)
            else:
                if TASK == BOTH:
                    raw = tl.load(z_row + lanes, mask=lanes < reach, other=0.0, eviction_policy=SECOND)
                for start in range(0, K, BLOCK):
                    columns = start + lanes
                    inside = columns < reach
                    ahead = columns + BLOCK
                    soon = tl.load(z_row + ahead, mask=ahead < reach, other=0.0, eviction_policy=SECOND)
                    g = slope_of(raw, m, factor, y, at_a, at_b, columns, inside, cap, soft_row, weight, prior_row,
                                 allowed_row, uniform, SOFT, WEIGHT, SPREAD, PRIOR, ALLOWED, SOFTCAP, SUMS)  # fmt: skip
                    g = tl.where(counts, g, tl.where(bad, float("nan"), 0.0))
                    tl.store(g_row + columns, g.to(gradient.dtype.element_ty), mask=columns < K,
                             eviction_policy="evict_first")  # fmt: skip
                    raw = soon


@triton.jit
def times_kernel(x, factor, count: tl.int64, BLOCK: tl.constexpr):
    # x *= factor, in memory, and nothing at all where the factor is 1, which only the device knows.
    by = tl.load(factor)
    if by != 1.0:
        for at in range(tl.program_id(0), tl.cdiv(count, BLOCK), tl.num_programs(0)):
            place = tl.cast(at, tl.int64) * BLOCK + tl.arange(0, BLOCK)
            inside = place < count
            value = tl.load(x + place, mask=inside, other=0.0).to(by.dtype)
            tl.store(x + place, (value * by).to(x.dtype.element_ty), mask=inside)
