"""The programs of `compiled.py`: ordinary Python with loops, branches and arrays, and no tape.

Every contestant that can runs this very text. The public workloads (GARCH, AR(5), advection) are in
`perf/workloads`.
"""
