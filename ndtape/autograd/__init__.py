"""HIPS autograd's functions under its names and conventions, for programs that move here.

    from autograd import grad                  ->  from ndtape.autograd import grad
    from autograd.misc.optimizers import adam  ->  from ndtape.autograd.misc.optimizers import adam
    import autograd.numpy as np                ->  import ndtape.numpy as np
    import autograd.scipy.stats.norm as norm   ->  import ndtape.scipy.stats.norm as norm

The differentiated argument is called `argnum`; operators that make functions of a point (`make_vjp`
and the like) are made as there.  What differs is told in docs/guides/from_autograd.md.  New
programs take `nt.grad` and so on, which follow JAX.

>>> from ndtape.autograd import elementwise_grad, grad
>>> import ndtape.numpy as np
>>> grad(lambda x, y: x * y**2, argnum=1)(3.0, 2.0)
12.0
>>> elementwise_grad(elementwise_grad(np.tanh))(np.array([0.5, 1.0])).round(6)
array([-0.726862, -0.6397  ])
"""

from .builtins import dict as dict
from .builtins import isinstance as isinstance
from .builtins import list as list
from .builtins import tuple as tuple
from .builtins import type as type
from .extend import primitive as primitive
from .operators import checkpoint as checkpoint
from .operators import deriv as deriv
from .operators import elementwise_grad as elementwise_grad
from .operators import grad as grad
from .operators import grad_and_aux as grad_and_aux
from .operators import grad_named as grad_named
from .operators import hessian as hessian
from .operators import hessian_tensor_product as hessian_tensor_product
from .operators import hessian_vector_product as hessian_vector_product
from .operators import holomorphic_grad as holomorphic_grad
from .operators import jacobian as jacobian
from .operators import make_ggnvp as make_ggnvp
from .operators import make_hvp as make_hvp
from .operators import make_jvp as make_jvp
from .operators import make_jvp_reversemode as make_jvp_reversemode
from .operators import make_vjp as make_vjp
from .operators import multigrad_dict as multigrad_dict
from .operators import tensor_jacobian_product as tensor_jacobian_product
from .operators import value_and_grad as value_and_grad
from .operators import vector_jacobian_product as vector_jacobian_product
