"""Names that other libraries have, and what does the same here: for the error that names them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

HERE = {
    # PyTorch
    "tensor": "nt.var(x) makes a leaf with a gradient; plain data are NumPy arrays",
    "Tensor": "recording values are nt.Array and nt.Var; plain data are NumPy arrays",
    "Parameter": "nt.var(x), or a dict of arrays that nt.grad differentiates",
    "Variable": "nt.var(x)",
    "Module": "a model is a function of its parameters; see docs/guides/from_pytorch.md",
    "func": "nt.grad, nt.vjp, nt.jvp, nt.vmap and the others stand in nt itself",
    "cat": "np.concatenate",
    "manual_seed": "np.random.default_rng(seed), which you pass to what draws",
    "compile": "nt.function(f) records and replays, nt.jit(f) compiles",
    "device": "everything is on the CPU",
    # JAX
    "lax": "for, while and if, nt.scan, nt.stop_gradient",
    "cond": "a plain if, or np.where",
    "while_loop": "a plain while",
    "fori_loop": "a plain for, or nt.scan with length=",
    "random": "np.random.default_rng(seed)",
    "tree_map": "optree.tree_map, or a comprehension",
    "tree": "optree, or a comprehension",
    "jnp": "NumPy as it is, or ndtape.numpy",
    "pmap": "nt.parallel.value_and_grad, or nt.vmap with nt.set_num_threads",
    "make_jaxpr": "print(f.tapes[0]) of a traced function",
    # HIPS autograd, TensorFlow, CasADi
    "make_vjp": "nt.vjp(f, x)",
    "make_jvp": "nt.jvp(f, (x,), (t,)), or nt.linearize(f, x)",
    "egrad": "nt.elementwise_grad",
    "GradientTape": "nt.Tape, with tape.gradient(y, xs)",
    "SX": "there are no symbols: write a function; see docs/guides/from_casadi.md",
    "MX": "there are no symbols: write a function; see docs/guides/from_casadi.md",
}


def advice(name: str, known: Iterable[str]) -> str:
    """What to write in place of a name that nt does not have; "" where nobody knows.

    The equal of a name of another library, the namespace that has it, or `known` names that look
    like it.

    >>> advice("fori_loop", [])
    ': a plain for, or nt.scan with length='
    >>> advice("concatenate", []), advice("gradiant", ["grad", "gradient"])
    (': np.concatenate records, and so does nt.numpy.concatenate', ': nt.gradient, nt.grad?')
    """
    if name in HERE:
        return f": {HERE[name]}"
    if name.startswith("_"):
        return ""
    from . import numpy
    from .scipy import special

    if hasattr(numpy, name):
        return f": np.{name} records, and so does nt.numpy.{name}"
    if hasattr(special, name):
        return f": nt.scipy.special.{name}"
    near = get_close_matches(name, [word for word in known if not word.startswith("_")])
    return f": {', '.join(f'nt.{word}' for word in near)}?" if near else ""
