"""Recurrent networks as plain functions over trees of parameters.

initialisers (first weights), shapes and lengths (what fits) -> layers (dense, embedding, dropout),
cells (rnn, gru, lstm) -> sequences (a cell along a sequence, both ways, in stacks) -> objectives
(the loss of a sequence, clipping) -> training (windows of a long sequence), gradient_flow (how far
gradients reach); torch_layout (weights from PyTorch and back).

There are no classes: parameters are dicts of NumPy arrays, made with an explicit generator, and a
model is a function of them that you write.  Everything runs on plain arrays and records under
every transform.

>>> import numpy as np, ndtape as nt
>>> from ndtape import nn
>>> rng = np.random.default_rng(0)
>>> params = {"cell": nn.gru_init(rng, 3, 8), "out": nn.dense_init(rng, 8, 2)}
>>> def loss(params, xs, labels):
...     h, _ = nn.scan_layer(nn.gru_cell, params["cell"], None, xs)
...     return nn.softmax_cross_entropy(nn.dense(params["out"], h), labels)
>>> xs, labels = rng.standard_normal((10, 4, 3)), np.array([0, 1, 1, 0])
>>> value, grads = nt.value_and_grad(loss)(params, xs, labels)
>>> sorted(grads["cell"])
['Wh', 'Wx', 'b', 'bn']
"""

from ..losses import layer_norm as layer_norm
from ..losses import softmax_cross_entropy as softmax_cross_entropy
from .cells import gru_cell as gru_cell
from .cells import gru_init as gru_init
from .cells import gru_step as gru_step
from .cells import lstm_cell as lstm_cell
from .cells import lstm_init as lstm_init
from .cells import lstm_step as lstm_step
from .cells import project as project
from .cells import rnn_cell as rnn_cell
from .cells import rnn_init as rnn_init
from .cells import rnn_step as rnn_step
from .gradient_flow import state_gradients as state_gradients
from .gradient_flow import step_norms as step_norms
from .gradient_flow import step_ratio as step_ratio
from .initialisers import glorot_normal as glorot_normal
from .initialisers import glorot_uniform as glorot_uniform
from .initialisers import he_normal as he_normal
from .initialisers import he_uniform as he_uniform
from .initialisers import identity as identity
from .initialisers import orthogonal as orthogonal
from .layers import dense as dense
from .layers import dense_init as dense_init
from .layers import dropout as dropout
from .layers import dropout_mask as dropout_mask
from .layers import embedding as embedding
from .layers import embedding_init as embedding_init
from .lengths import step_mask as step_mask
from .objectives import clip_by_global_norm as clip_by_global_norm
from .objectives import global_norm as global_norm
from .objectives import sequence_loss as sequence_loss
from .sequences import bidirectional as bidirectional
from .sequences import bidirectional_init as bidirectional_init
from .sequences import scan_layer as scan_layer
from .sequences import stacked as stacked
from .sequences import stacked_init as stacked_init
from .sequences import unroll as unroll
from .shapes import zero_state as zero_state
from .torch_layout import from_torch as from_torch
from .torch_layout import to_torch as to_torch
from .training import Trained as Trained
from .training import batchify as batchify
from .training import pad_sequences as pad_sequences
from .training import truncated as truncated
from .training import windows as windows
