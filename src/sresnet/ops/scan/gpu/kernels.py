"""Triton kernels of the scan: norm, LIF neurons over T steps, residual; their gradient; and spikes from bits.

`ops/bntt_lif/reference.py` and `ops/lif/reference.py` are the definition, with the equations (3-6, 23, 24); the scheme
is that of `kernel.cpp`. Letters:

    T  time steps                  M  = N * H * W positions of a step       C  channels, the fastest index in memory
    X  steps that x holds: T, or 1 where every step receives the same x (ONE_STEP, direct encoding)
    K, SEGMENTS  T is cut into SEGMENTS segments of K <= 16 steps; the last is shorter where RAGGED
    WHOLE  every tile is full and no segment is short: nothing is masked

Streams are [T, M, C] in float32, bfloat16 or float16; everything inside is float32; coefficients of the norm are [T, C]
(PER_STEP), or [C] over time, float32. A program owns some positions and channels and walks through time, so potentials
never leave its registers.

For the backward pass the forward pass keeps, beside x: the spikes as bits, one word of K bits for a neuron and segment
[SEGMENTS, M, C] (packed over time, so no value crosses threads), and the potentials between segments
[SEGMENTS - 1, M, C]. Backward runs each segment again from its potential, with the resets that the bits tell, holding
the K potentials in registers. It never compares with the threshold again, so it cannot disagree with the forward pass.

No atomics: a program writes float32 partial sums, which are added in float64 in a fixed order, whatever the GPU.
Multiply-adds are written as tl.fma and compiled with enable_fp_fusion=False: the same bits under every Triton.
Absent tensors are None, which Triton compiles away. Offsets inside a step are int32, between steps int64.
"""

import triton
import triton.language as tl

TRIANGLE: tl.constexpr = tl.constexpr(0)
RECTANGLE: tl.constexpr = tl.constexpr(1)
ARCTAN: tl.constexpr = tl.constexpr(2)
SIGMOID: tl.constexpr = tl.constexpr(3)
FAST_SIGMOID: tl.constexpr = tl.constexpr(4)
GAUSSIAN: tl.constexpr = tl.constexpr(5)
NONE: tl.constexpr = tl.constexpr(6)
"""The order of `constants.KINDS`; none: there are no neurons, and the output is the current."""


# Memory


@triton.jit
def _channels(BC: tl.constexpr):
    """The channels [BC] of this program."""
    return tl.program_id(1) * BC + tl.arange(0, BC)


@triton.jit
def _tile(number, M, C: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr, VECTOR: tl.constexpr):
    """Offsets inside a step [BM, BC] of tile `number` of BM positions, for this program's channels; which there are.

    The hint makes a thread load VECTOR channels at once, where the compiler would take as many as it can.
    """
    m = number * BM + tl.arange(0, BM)
    c = _channels(BC)
    i = tl.max_contiguous(m[:, None] * C + c[None, :], [1, VECTOR])
    return i, (m < M)[:, None] & (c < C)[None, :]


@triton.jit
def _only(here, condition):
    """`here` where the scalar condition holds; `here & condition` is no mask in the interpreter of Triton 3.9."""
    return tl.where(condition, here, False)


@triton.jit
def _read(at, here, WHOLE: tl.constexpr):
    """float32 values at these addresses; 0 where there are none."""
    if WHOLE:
        return tl.load(at).to(tl.float32)
    else:
        return tl.load(at, mask=here, other=0.0).to(tl.float32)


@triton.jit
def _read_word(at, here, WHOLE: tl.constexpr):
    """Words of bits at these addresses as int32; 0 where there are none."""
    if WHOLE:
        return tl.load(at).to(tl.int32)
    else:
        return tl.load(at, mask=here, other=0).to(tl.int32)


@triton.jit
def _write(at, value, here, WHOLE: tl.constexpr):
    """Put values at these addresses, in the type that they have there."""
    if WHOLE:
        tl.store(at, value.to(at.dtype.element_ty))
    else:
        tl.store(at, value.to(at.dtype.element_ty), mask=here)


@triton.jit
def _row(at, t, c, C: tl.constexpr, BC: tl.constexpr, PER_STEP: tl.constexpr):
    """Channels c of row t of coefficients [T, C], or of the only row [C]; as [1, BC]."""
    at = at + (t * C if PER_STEP else 0) + c
    if C % BC == 0:
        return tl.load(at)[None, :]
    else:
        return tl.load(at, mask=c < C, other=0.0)[None, :]


# Norm


@triton.jit
def _near_mean(step_at, M, c, C: tl.constexpr, BC: tl.constexpr):
    """A number near the mean of each channel c of a step: the mean of eight of its positions, as [BC].

    Sums about it keep the digits of the variance where the mean is large.
    """
    total = tl.zeros([BC], tl.float32)
    for k in tl.static_range(8):
        at = step_at + (k * (M // 8)).to(tl.int64) * C + c
        total += tl.load(at, mask=c < C, other=0.0).to(tl.float32)
    return total * 0.125


@triton.jit
def statistics(
    x_at, part_at, M, ROWS,
    C: tl.constexpr, PER_STEP: tl.constexpr, WHOLE: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Sums of d and d * d over ROWS positions, d = x - _near_mean (of the step; of step 0 over time): [X, S, C, 2]."""
    s, t = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    step_at = x_at + t.to(tl.int64) * M * C
    shift = _near_mean(step_at if PER_STEP else x_at, M + s * 0, c, C, BC)[None, :]
    a = tl.zeros([BM, BC], tl.float32)
    b = tl.zeros([BM, BC], tl.float32)
    end = tl.minimum((s + 1) * ROWS, M)
    for first in range(s * ROWS, end, BM):
        m = first + tl.arange(0, BM)
        here = (m < end)[:, None] & (c < C)[None, :]
        d = _read(step_at + m[:, None] * C + c[None, :], here, WHOLE) - shift
        if not WHOLE:
            d = tl.where(here, d, 0.0)
        a += d
        b = tl.fma(d, d, b)
    to = part_at + ((t * tl.num_programs(0) + s) * C + c) * 2
    tl.store(to, tl.sum(a, 0), mask=c < C)
    tl.store(to + 1, tl.sum(b, 0), mask=c < C)


@triton.jit
def _two_sums(part_at, start, count, c, C: tl.constexpr, BS: tl.constexpr, BC: tl.constexpr):
    """Rows start to start + count of part [..., C, 2], added up in float64 in a fixed order."""
    a = tl.zeros([BS, BC], tl.float64)
    b = tl.zeros([BS, BC], tl.float64)
    for first in range(0, count, BS):
        s = first + tl.arange(0, BS)
        at = part_at + ((start + s.to(tl.int64))[:, None] * C + c[None, :]) * 2
        here = (s < count)[:, None] & (c < C)[None, :]
        a += tl.load(at, mask=here, other=0.0).to(tl.float64)
        b += tl.load(at + 1, mask=here, other=0.0).to(tl.float64)
    return tl.sum(a, 0), tl.sum(b, 0)


@triton.jit
def coefficients(
    x_at, part_at, gamma_at, beta_at, mean_at, var_at, scale_at, shift_at, M, count, values, eps,
    C: tl.constexpr, TRAINING: tl.constexpr, ONE_STEP: tl.constexpr, BS: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Row g of the norm: y = scale * x + shift; in training mean and variance are written, else read.

    Args:
        count: partial sums that belong to a row.
        values: values that they are sums over.
    """
    g = tl.program_id(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    here, at = c < C, g * C + c
    if TRAINING:
        t = g * 0 if ONE_STEP else g
        a, b = _two_sums(part_at, t.to(tl.int64) * count, count, c, C, BS, BC)
        a, b = a / values, b / values
        shifted = _near_mean(x_at + t.to(tl.int64) * M * C, M + t * 0, c, C, BC)
        var = tl.maximum(b - a * a, 0.0, propagate_nan=tl.PropagateNan.ALL).to(tl.float32)
        mean = (shifted.to(tl.float64) + a).to(tl.float32)
        tl.store(mean_at + at, mean, mask=here)
        tl.store(var_at + at, var, mask=here)
    else:
        mean = tl.load(mean_at + at, mask=here, other=0.0)
        var = tl.load(var_at + at, mask=here, other=1.0)
    scale = tl.load(gamma_at + at, mask=here, other=0.0).to(tl.float64) / tl.sqrt((var + eps).to(tl.float64))
    shift = -mean.to(tl.float64) * scale
    if beta_at is not None:
        shift += tl.load(beta_at + at, mask=here, other=0.0).to(tl.float64)
    tl.store(scale_at + at, scale.to(tl.float32), mask=here)
    tl.store(shift_at + at, shift.to(tl.float32), mask=here)


@triton.jit
def gradient_coefficients(
    part_at, gamma_at, var_at, dgamma_at, dbeta_at, scale_at, slope_at, offset_at, count, values, eps,
    C: tl.constexpr, TRAINING: tl.constexpr, BS: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Row g of dgamma, dbeta, and of dx = scale * dy + slope * (x - mean) + offset."""
    g = tl.program_id(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    here, at = c < C, g * C + c
    dy, dy_x = _two_sums(part_at, g.to(tl.int64) * count, count, c, C, BS, BC)
    invstd = 1.0 / tl.sqrt((tl.load(var_at + at, mask=here, other=1.0) + eps).to(tl.float64))
    scale = tl.load(gamma_at + at, mask=here, other=0.0).to(tl.float64) * invstd
    dy_x *= invstd
    tl.store(dgamma_at + at, dy_x.to(tl.float32), mask=here)
    if dbeta_at is not None:
        tl.store(dbeta_at + at, dy.to(tl.float32), mask=here)
    tl.store(scale_at + at, scale.to(tl.float32), mask=here)
    share = 1.0 / values if TRAINING else 0.0  # in evaluation the statistics are constants
    tl.store(slope_at + at, (-scale * invstd * dy_x * share).to(tl.float32), mask=here)
    tl.store(offset_at + at, (-scale * dy * share).to(tl.float32), mask=here)


@triton.jit
def norm_back(
    x_at, dy_at, dx_at, scale_at, slope_at, offset_at, mean_at, M,
    C: tl.constexpr, PER_STEP: tl.constexpr, WHOLE: tl.constexpr,
    BM: tl.constexpr, BC: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Dx = scale * dy + slope * (x - mean) + offset for one step; dx may be dy."""
    t = tl.program_id(2)
    i, here = _tile(tl.program_id(0), M, C, BM, BC, VECTOR)
    c = _channels(BC)
    step = t.to(tl.int64) * M * C
    dy = _read(dy_at + step + i, here, WHOLE)
    x = _read(x_at + step + i, here, WHOLE) - _row(mean_at, t, c, C, BC, PER_STEP)
    dx = tl.fma(x, _row(slope_at, t, c, C, BC, PER_STEP), _row(offset_at, t, c, C, BC, PER_STEP))
    _write(dx_at + step + i, tl.fma(dy, _row(scale_at, t, c, C, BC, PER_STEP), dx), here, WHOLE)


# Neurons


@triton.jit
def _slope(u, height, stretch, offset, SURROGATE: tl.constexpr):
    """Surrogate derivative at u: height * shape(stretch * u - offset), the shapes of `ops/surrogate.py`.

    NaN for NaN, as in the reference, but for the rectangle: hence 0 where "not below" would do for numbers.
    """
    z = tl.fma(u, stretch, -offset)
    distance = tl.abs(z)
    if SURROGATE == TRIANGLE:
        return height * tl.where(distance >= 1.0, 0.0, 1.0 - distance)
    elif SURROGATE == RECTANGLE:
        return tl.where(distance < 1.0, height, 0.0)
    elif SURROGATE == ARCTAN:
        return height / tl.fma(z, z, 1.0)
    elif SURROGATE == SIGMOID:
        e = tl.exp(-distance)
        return 4.0 * height * e / ((1.0 + e) * (1.0 + e))
    elif SURROGATE == FAST_SIGMOID:
        return height / ((1.0 + distance) * (1.0 + distance))
    else:
        return height * tl.exp(-0.5 * z * z)


@triton.jit
def _taken(u, threshold, TO_ZERO: tl.constexpr):
    """What a spike takes off the potential: the threshold, or all of it."""
    if TO_ZERO:
        return u
    else:
        return tl.zeros_like(u) + threshold


@triton.jit
def _current_of(
    x_at, scale_at, shift_at, residual_current_at, g, step, i, here, c,
    C: tl.constexpr, BC: tl.constexpr, PER_STEP: tl.constexpr, ONE_STEP: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Input current of a step (Eqs. 7, 15): norm of x by row g of the coefficients, and the residual current."""
    current = _read(x_at + (0 if ONE_STEP else step) + i, here, WHOLE)
    if scale_at is not None:
        current = tl.fma(current, _row(scale_at, g, c, C, BC, PER_STEP), _row(shift_at, g, c, C, BC, PER_STEP))
    if residual_current_at is not None:
        current += _read(residual_current_at + step + i, here, WHOLE)
    return current


@triton.jit
def scan(
    x_at, scale_at, shift_at, residual_current_at, residual_spikes_at, v_at, leak_at, output_at, given_current_at,
    v_last_at, bits_at, between_at, leak, threshold, T, M,
    C: tl.constexpr, NEURONS: tl.constexpr, FIRES_AT: tl.constexpr, TO_ZERO: tl.constexpr, SCALED: tl.constexpr,
    PER_STEP: tl.constexpr, ONE_STEP: tl.constexpr,
    K: tl.constexpr, SEGMENTS: tl.constexpr, RAGGED: tl.constexpr, WHOLE: tl.constexpr,
    BM: tl.constexpr, BC: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """output[t] = spikes of the neurons (Eqs. 3-6) + residual_spikes[t] (Eqs. 10, 13), in one pass over x.

    Args:
        leak_at: the leak where it is learned, [1], read here: the host never waits for it.
        bits_at, between_at: see above; None where there will be no backward pass.
        SCALED: the current is multiplied by 1 - leak.
    """
    i, inside = _tile(tl.program_id(0), M, C, BM, BC, VECTOR)
    c = _channels(BC)
    size = tl.full((), M, tl.int64) * C
    if leak_at is not None:
        leak = tl.load(leak_at)
    v = tl.zeros([BM, BC], tl.float32)
    if v_at is not None:
        v = _read(v_at + i, inside, WHOLE)
    for segment in range(SEGMENTS):
        if between_at is not None:
            if segment > 0:
                _write(between_at + (segment - 1) * size + i, v, inside, WHOLE)
        word = tl.zeros([BM, BC], tl.int32)
        for k in tl.static_range(K):
            t = segment * K + k
            step = t * size
            here = _only(inside, t < T) if RAGGED else inside
            g = tl.minimum(t, T - 1) if RAGGED else t
            current = _current_of(
                x_at, scale_at, shift_at, residual_current_at, g, step, i, here, c, C, BC, PER_STEP, ONE_STEP, WHOLE
            )
            if given_current_at is not None:
                _write(given_current_at + step + i, current, here, WHOLE)
            if NEURONS:
                if SCALED:
                    current = current * (1.0 - leak)
                u = tl.fma(v, leak, current)
                fired = u >= threshold if FIRES_AT else u > threshold
                fired = _only(fired, t < T) if RAGGED else fired
                after = tl.where(fired, u - _taken(u, threshold, TO_ZERO), u)
                v = tl.where(t < T, after, v) if RAGGED else after
                word |= tl.where(fired, 1 << k, 0)
                output = tl.where(fired, 1.0, 0.0)
            else:
                output = current
            if residual_spikes_at is not None:
                output += _read(residual_spikes_at + step + i, here, WHOLE)
            _write(output_at + step + i, output, here, WHOLE)
        if bits_at is not None:
            _write(bits_at + segment * size + i, word, inside, WHOLE)
    if v_last_at is not None:
        _write(v_last_at + i, v, inside, WHOLE)


@triton.jit
def scan_back(
    x_at, scale_at, shift_at, mean_at, residual_current_at, v_at, leak_at, bits_at, between_at, doutput_at, dagain_at,
    dcurrent_at, dv_last_at, dsum_at, dy_at, dx_at, dv_at, part_at, dleak_at,
    leak, threshold, height, stretch, offset, T, tiles,
    M: tl.constexpr, C: tl.constexpr, SURROGATE: tl.constexpr, DETACH: tl.constexpr, TO_ZERO: tl.constexpr,
    SCALED: tl.constexpr, PER_STEP: tl.constexpr, ONE_STEP: tl.constexpr,
    K: tl.constexpr, SEGMENTS: tl.constexpr, RAGGED: tl.constexpr, WHOLE: tl.constexpr,
    BM: tl.constexpr, BC: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """dy[t], the gradient of the current, and for every step and channel the sums of dy and dy * (x - mean).

    With o the spikes and dv what comes back from the step behind (Eq. 23; derivatives of `lif_steps`):

        du[t] = dv[t] * dv/du + (doutput[t] - detached * dv[t] * (threshold or u)) * _slope(u[t])
        dy[t] = du[t] * (1, or 1 - leak where SCALED) + dcurrent[t]
        dv[t-1] = leak * du[t],   dleak += du[t] * v[t-1]  (- du[t] * current[t] where SCALED)

    where dv/du is 1, or 1 - o with reset to zero, and "detached" is 0 with `detach_reset`, else 1.

    The last segment comes first. A program does all its tiles of a segment before the next, so that the sums of the
    segment's steps stay in registers and threads add theirs up only once; dv and dx wait in memory meanwhile. A
    barrier lies between two segments, as nothing promises that the thread that wrote a value is the one that reads it.

    Args:
        dagain_at: a second gradient of the output, which is added to the first; None is zero.
        dsum_at: takes that sum.
        dx_at: float32 [M, C], sum over t of scale[t] * dy[t], where x is one step.
        dv_at: float32 [M, C], the gradient of the first v.
        part_at: [T, programs, C, 2].
        tiles: tiles of a program.
        M: a constant here: with a variable the compiler keeps an address for every step and stream in registers.
    """
    c = _channels(BC)
    size = tl.full((), M, tl.int64) * C
    if leak_at is not None:
        leak = tl.load(leak_at)
    dleak = tl.zeros([BM, BC], tl.float32)
    for back in range(SEGMENTS):
        segment = SEGMENTS - 1 - back
        sums = ()
        products = ()
        for _ in tl.static_range(K if part_at is not None else 0):
            sums = sums + (tl.zeros([BM, BC], tl.float32),)
            products = products + (tl.zeros([BM, BC], tl.float32),)
        for number in range(tiles):
            i, inside = _tile(tl.program_id(0) * tiles + number, M, C, BM, BC, VECTOR)
            dv = tl.zeros([BM, BC], tl.float32)
            dx = tl.zeros([BM, BC], tl.float32)
            if dv_last_at is not None:
                dv = _read(dv_last_at + i, inside, WHOLE)
            if SEGMENTS > 1:
                if back > 0:
                    if SURROGATE != NONE:
                        dv = _read(dv_at + i, inside, WHOLE)
                    if ONE_STEP:
                        dx = _read(dx_at + i, inside, WHOLE)
            us = ()
            start = tl.zeros([BM, BC], tl.float32)
            word = tl.zeros([BM, BC], tl.int32)
            if SURROGATE != NONE:
                if v_at is not None:
                    start = tl.load(v_at + i, mask=_only(inside, segment == 0), other=0.0)
                if between_at is not None:
                    if segment > 0:
                        start = _read(between_at + (segment - 1) * size + i, inside, WHOLE)
                word = _read_word(bits_at + segment * size + i, inside, WHOLE)
                v = start
                for k in tl.static_range(K):
                    t = segment * K + k
                    here = _only(inside, t < T) if RAGGED else inside
                    g = tl.minimum(t, T - 1) if RAGGED else t
                    current = _current_of(
                        x_at, scale_at, shift_at, residual_current_at, g, t * size, i, here, c, C, BC, PER_STEP,
                        ONE_STEP, WHOLE,
                    )  # fmt: skip
                    if SCALED:
                        current = current * (1.0 - leak)
                    u = tl.fma(v, leak, current)
                    us = us + (u,)
                    v = tl.where((word & (1 << k)) != 0, u - _taken(u, threshold, TO_ZERO), u)
            later_sums = ()
            later_products = ()
            for k in tl.static_range(K - 1, -1, -1):
                t = segment * K + k
                step = t * size
                g = tl.minimum(t, T - 1) if RAGGED else t
                here = _only(inside, t < T) if RAGGED else inside
                doutput = tl.zeros([BM, BC], tl.float32)
                if doutput_at is not None:
                    doutput = _read(doutput_at + step + i, here, WHOLE)
                if dagain_at is not None:
                    doutput += _read(dagain_at + step + i, here, WHOLE)
                if dsum_at is not None:
                    _write(dsum_at + step + i, doutput, here, WHOLE)
                if SURROGATE != NONE:
                    u = us[k]
                    if not DETACH:
                        doutput = tl.fma(dv, -_taken(u, threshold, TO_ZERO), doutput)
                    past = dv
                    if TO_ZERO:
                        past = tl.where((word & (1 << k)) != 0, 0.0, dv)
                    du = tl.fma(doutput, _slope(u, height, stretch, offset, SURROGATE), past)
                    if dleak_at is not None:
                        before = start
                        if k > 0:
                            fell = (word & (1 << (k - 1))) != 0
                            before = tl.where(fell, us[k - 1] - _taken(us[k - 1], threshold, TO_ZERO), us[k - 1])
                        if SCALED:
                            before -= _current_of(
                                x_at, scale_at, shift_at, residual_current_at, g, step, i, here, c, C, BC, PER_STEP,
                                ONE_STEP, WHOLE,
                            )  # fmt: skip
                        dleak += tl.where(here, du * before, 0.0)
                    dv = tl.where(t < T, du * leak, dv) if RAGGED else du * leak
                    dy = du * (1.0 - leak) if SCALED else du
                else:
                    dy = doutput
                if dcurrent_at is not None:
                    dy += _read(dcurrent_at + step + i, here, WHOLE)
                if not WHOLE:
                    dy = tl.where(here, dy, 0.0)
                if part_at is not None:
                    x = _read(x_at + (0 if ONE_STEP else step) + i, here, WHOLE) - _row(mean_at, g, c, C, BC, PER_STEP)
                    later_sums = (sums[k] + dy,) + later_sums
                    later_products = (tl.fma(dy, x, products[k]),) + later_products
                if dy_at is not None:
                    _write(dy_at + step + i, dy, here, WHOLE)
                if ONE_STEP:
                    if scale_at is not None:
                        dx = tl.fma(dy, _row(scale_at, g, c, C, BC, PER_STEP), dx)
                    else:
                        dx += dy
            sums = later_sums
            products = later_products
            if ONE_STEP:
                _write(dx_at + i, dx, inside, WHOLE)
            if dv_at is not None:
                _write(dv_at + i, dv, inside, WHOLE)
        if SEGMENTS > 1:
            tl.debug_barrier()
        for k in tl.static_range(K if part_at is not None else 0):
            t = segment * K + k
            to = part_at + ((t * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * C + c) * 2
            exists = _only(c < C, t < T) if RAGGED else c < C
            tl.store(to, tl.sum(sums[k], 0), mask=exists)
            tl.store(to + 1, tl.sum(products[k], 0), mask=exists)
    if dleak_at is not None:
        at = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
        tl.store(dleak_at + at, tl.sum(tl.sum(dleak, 1), 0))


@triton.jit
def leak_sum(part_at, dleak_at, count, BS: tl.constexpr):
    """Dleak [1], the sum of `count` partial sums, in float64 in a fixed order."""
    total = tl.zeros([BS], tl.float64)
    for first in range(0, count, BS):
        s = first + tl.arange(0, BS)
        total += tl.load(part_at + s, mask=s < count, other=0.0).to(tl.float64)
    tl.store(dleak_at, tl.sum(total, 0).to(tl.float32))


# Spikes from bits


@triton.jit
def unpack(
    words, base_at, output_at, T, M,
    C: tl.constexpr, ROUNDS: tl.constexpr, K: tl.constexpr, RAGGED: tl.constexpr, WHOLE: tl.constexpr,
    BM: tl.constexpr, BC: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """output[t] = base[t] + the spikes of every plane, added in the order and, with ROUNDS, the rounding of layers.

    Args:
        words: addresses of the planes, bits as `scan` leaves them.
        base_at: [T, M, C] of the type of output; None is zero.
    """
    i, inside = _tile(tl.program_id(0), M, C, BM, BC, VECTOR)
    size = tl.full((), M, tl.int64) * C
    segment = tl.program_id(2)
    kept = ()
    for p in tl.static_range(len(words)):
        kept = kept + (_read_word(words[p] + segment * size + i, inside, WHOLE),)
    for k in tl.static_range(K):
        t = segment * K + k
        here = _only(inside, t < T) if RAGGED else inside
        if ROUNDS:
            total = tl.zeros([BM, BC], tl.float32)
            if base_at is not None:
                total = _read(base_at + t * size + i, here, WHOLE)
            for p in tl.static_range(len(words)):
                total += tl.where((kept[p] & (1 << k)) != 0, 1.0, 0.0)
                total = total.to(output_at.dtype.element_ty).to(tl.float32)
        else:
            number = tl.zeros([BM, BC], tl.int32)
            for p in tl.static_range(len(words)):
                number += (kept[p] >> k) & 1
            total = number.to(tl.float32)
        _write(output_at + t * size + i, total, here, WHOLE)
