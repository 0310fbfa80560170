"""Transforms of functions: derivatives of every kind, nested to any order.

evaluation (one recording, made to be differentiated) -> outputs, directions, tangents (sweeps in
both directions over trees) -> gradients, jacobians, linear_maps, custom, checkpoints (what users
call).
"""
