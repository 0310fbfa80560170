"""Solvers over trees: SciPy's with derivatives supplied, and implicit differentiation of them all.

A solver iterates on plain numbers.  Where its parameters are recording values, what it records is
one instruction, whose derivative comes from the implicit function theorem (implicit.py).
"""
