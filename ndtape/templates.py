"""The sweeps, written once a kind; codegen turns each branch into one per opcode.

This file is valid Python that nobody imports.  In a branch ``code == BINARY`` the names Z (value),
DX DY DU (partials), W_DX .. (adjoint times partial), T_DX .. (partial times tangent) and
H_DX .. (the second-order contribution) stand for expressions derived from the row.  For operands
that are constants, codegen reads ``k`` instead of ``v`` and drops what concerns their adjoints.
`columns`, `alive` and NOTHING (a zero) are filled in for scalars and for packs of lanes.

Names: p q s are slots of operands x y u, r the slot of the result z; w is the adjoint of z;
xt yt ut zt wt are tangents.  Columns: v values, g adjoints, t tangents, h tangents of adjoints.
In the branch WIDE, for operations on arrays, ``kernel(table)`` stands for the status of the kernel
whose address that table of the frame holds.

Every sweep returns 0, or 1 + the instruction where it stopped, with the reason in the frame's word
`status`: what a kernel answered, NO_LANES in packs, FLIPPED at a guard, 0 for an opcode that it
does not know.
"""


def forward(frame, lo, hi):
    """Values of instructions lo..hi, in order."""
    op, out, a, b, c, k, v = columns(frame)
    for i in range(lo, hi):
        r = out[i]
        code = op[i]
        if code == INPUT:
            p = a[i]
            x = v[p]
            v[r] = Z
        elif code == UNARY:
            p = a[i]
            x = v[p]
            v[r] = Z
        elif code == BINARY:
            p = a[i]
            q = b[i]
            x = v[p]
            y = v[q]
            v[r] = Z
        elif code == TERNARY:
            p = a[i]
            q = b[i]
            s = c[i]
            x = v[p]
            y = v[q]
            u = v[s]
            v[r] = Z
        elif code == GUARD:
            p = a[i]
            q = b[i]
            x = v[p]
            y = v[q]
            if alive(x - y):
                f[STATUS] = FLIPPED
                return i + ONE
        elif code == WIDE:
            status = kernel(forward)
            if status != 0:
                f[STATUS] = status
                return i + ONE
        else:
            f[STATUS] = UNKNOWN
            return i + ONE
    return 0


def reverse(frame, lo, hi):
    """Adjoints of the operands of instructions hi..lo, backwards, from those of the results.

    `carry` holds what goes to the instruction visited next: in a chain the adjoint stays in a
    register instead of waiting for a store to be loaded again, which halves the time.
    """
    op, out, a, b, c, k, v, g = columns(frame)
    carry = NOTHING
    i = hi
    r = out[hi - ONE]
    while i > lo:
        i -= ONE
        w = g[r] + carry
        g[r] = w
        carry = NOTHING
        this = r
        r = out[i - ONE] if i > lo else NOWHERE
        if not alive(w) and op[i] < FIRST_WIDE:  # of a span, w is only the first adjoint
            continue
        code = op[i]
        if code == INPUT:
            continue
        elif code == UNARY:
            p = a[i]
            x = v[p]
            z = v[this]
            if p == r:
                carry += W_DX
            else:
                g[p] += W_DX
        elif code == BINARY:
            p = a[i]
            q = b[i]
            x = v[p]
            y = v[q]
            z = v[this]
            g[q] += W_DY  # first, as what is carried comes last: also where p and q are one
            if p == r:
                carry += W_DX
            else:
                g[p] += W_DX
        elif code == TERNARY:
            p = a[i]
            q = b[i]
            s = c[i]
            x = v[p]
            y = v[q]
            u = v[s]
            z = v[this]
            g[p] += W_DX
            g[q] += W_DY
            if s == r:
                carry += W_DU
            else:
                g[s] += W_DU
        elif code == GUARD:
            continue
        elif code == WIDE:
            status = kernel(reverse)
            if status != 0:
                f[STATUS] = status
                return i + ONE
        else:
            f[STATUS] = UNKNOWN
            return i + ONE
    return 0


def reverse_packs(frame, lo, hi):
    """The same for packs, whose adjoints may lie in other slots than the values.

    An adjoint is taken away where it is consumed, except that of an input: what the sweep leaves
    in all other slots is zero, so that results may share them whose adjoints do not meet.  The
    columns `at`, `ga`, `gb`, `gc` say where those of the result and the operands lie.
    """
    op, out, a, b, c, k, v, g, at, ga, gb, gc = columns(frame)
    carry = NOTHING
    i = hi
    r = out[hi - ONE]
    while i > lo:
        i -= ONE
        here = at[i]
        w = g[here] + carry
        g[here] = NOTHING
        carry = NOTHING
        this = r
        r = out[i - ONE] if i > lo else NOWHERE
        if not alive(w) and op[i] < FIRST_WIDE:
            continue
        code = op[i]
        if code == INPUT:
            g[here] = w
            continue
        elif code == UNARY:
            p = a[i]
            pg = ga[i]
            x = v[p]
            z = v[this]
            if p == r:
                carry += W_DX
            else:
                g[pg] += W_DX
        elif code == BINARY:
            p = a[i]
            q = b[i]
            pg = ga[i]
            qg = gb[i]
            x = v[p]
            y = v[q]
            z = v[this]
            g[qg] += W_DY
            if p == r:
                carry += W_DX
            else:
                g[pg] += W_DX
        elif code == TERNARY:
            p = a[i]
            q = b[i]
            s = c[i]
            pg = ga[i]
            qg = gb[i]
            sg = gc[i]
            x = v[p]
            y = v[q]
            u = v[s]
            z = v[this]
            g[pg] += W_DX
            g[qg] += W_DY
            g[sg] += W_DU
        elif code == GUARD:
            continue
        elif code == WIDE:
            status = kernel(reverse)
            if status != 0:
                f[STATUS] = status
                return i + ONE
        else:
            f[STATUS] = UNKNOWN
            return i + ONE
    return 0


def tangent(frame, lo, hi):
    """Tangents of instructions lo..hi, in order, along the tangents of the inputs."""
    op, out, a, b, c, k, v, t = columns(frame)
    for i in range(lo, hi):
        r = out[i]
        code = op[i]
        if code == INPUT:
            continue
        elif code == UNARY:
            p = a[i]
            x = v[p]
            z = v[r]
            xt = t[p]
            t[r] = T_DX
        elif code == BINARY:
            p = a[i]
            q = b[i]
            x = v[p]
            y = v[q]
            z = v[r]
            xt = t[p]
            yt = t[q]
            t[r] = T_DX + T_DY
        elif code == TERNARY:
            p = a[i]
            q = b[i]
            s = c[i]
            x = v[p]
            y = v[q]
            u = v[s]
            z = v[r]
            xt = t[p]
            yt = t[q]
            ut = t[s]
            t[r] = T_DX + T_DY + T_DU
        elif code == GUARD:
            continue
        elif code == WIDE:
            status = kernel(tangent)
            if status != 0:
                f[STATUS] = status
                return i + ONE
        else:
            f[STATUS] = UNKNOWN
            return i + ONE
    return 0


def forward_over_reverse(frame, lo, hi):
    """Adjoints and their tangents, backwards: one Hessian-vector product a sweep."""
    op, out, a, b, c, k, v, g, t, h = columns(frame)
    i = hi
    while i > lo:
        i -= ONE
        r = out[i]
        w = g[r]
        wt = h[r]
        if not (alive(w) or alive(wt)) and op[i] < FIRST_WIDE:
            continue
        code = op[i]
        if code == INPUT:
            continue
        elif code == UNARY:
            p = a[i]
            x = v[p]
            z = v[r]
            xt = t[p]
            zt = t[r]
            g[p] += W_DX
            h[p] += H_DX
        elif code == BINARY:
            p = a[i]
            q = b[i]
            x = v[p]
            y = v[q]
            z = v[r]
            xt = t[p]
            yt = t[q]
            zt = t[r]
            g[p] += W_DX
            h[p] += H_DX
            g[q] += W_DY
            h[q] += H_DY
        elif code == TERNARY:
            p = a[i]
            q = b[i]
            s = c[i]
            x = v[p]
            y = v[q]
            u = v[s]
            z = v[r]
            xt = t[p]
            yt = t[q]
            ut = t[s]
            zt = t[r]
            g[p] += W_DX
            h[p] += H_DX
            g[q] += W_DY
            h[q] += H_DY
            g[s] += W_DU
            h[s] += H_DU
        elif code == GUARD:
            continue
        elif code == WIDE:
            status = kernel(second)
            if status != 0:
                f[STATUS] = status
                return i + ONE
        else:
            f[STATUS] = UNKNOWN
            return i + ONE
    return 0


def reach(frame, lo, hi):
    """Spread bit 0 of `mark` from results to operands over instructions hi..lo, backwards.

    Bit 1 stands for spent: such an instruction is marked, but nothing behind it.
    """
    op, out, a, b, c, mark = columns(frame)
    i = hi
    while i > lo:
        i -= ONE
        if op[i] >= FIRST_WIDE:
            spread(frame, i)
        elif mark[out[i]] & 3 == 1:
            slots = SLOTS[op[i]]
            if slots & 1:
                mark[a[i]] |= 1
            if slots & 2:
                mark[b[i]] |= 1
            if slots & 4:
                mark[c[i]] |= 1
    return 0
