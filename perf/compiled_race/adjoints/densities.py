"""FastAD's set. The gradient is written where the way forth passes, wherever that is enough."""

import math

import numpy as np
from numba import njit

LOG_TWO_PI = math.log(2.0 * math.pi)


@njit(error_model="numpy", cache=True)
def total_kernel(x, gradient):
    total = 0.0
    for i in range(x.size):
        total += x[i]
        gradient[i] = 1.0
    return total


@njit(error_model="numpy", cache=True)
def product_kernel(x, gradient):
    """The product of what is before each factor, then of what is behind it: right also at 0."""
    product = 1.0
    for i in range(x.size):
        gradient[i] = product
        product *= x[i]
    behind = 1.0
    for i in range(x.size - 1, -1, -1):
        gradient[i] *= behind
        behind *= x[i]
    return product


@njit(error_model="numpy", cache=True)
def log_sum_exp_kernel(x, gradient):
    total = 0.0
    for i in range(x.size):
        gradient[i] = math.exp(x[i])
        total += gradient[i]
    scale = 1.0 / total
    for i in range(x.size):
        gradient[i] *= scale
    return math.log(total)


@njit(error_model="numpy", cache=True)
def normal_kernel(x, gradient):
    squares, inverse = 0.0, 1.0 / 1.37
    for i in range(x.size):
        z = (x[i] + 0.56) * inverse
        squares += z * z
        gradient[i] = -inverse * z
    return -0.5 * squares - x.size * (math.log(1.37) + 0.5 * LOG_TWO_PI)


@njit(error_model="numpy", cache=True)
def stochastic_volatility_kernel(h_std, phi, sigma, mu, y, drift, slope, gradient):
    """`drift` keeps h − μ, `slope` the derivative of a term with respect to its h."""
    n = y.size
    first = 1.0 / math.sqrt(1.0 - phi * phi)
    near = sigma * h_std[0] * first
    value = -math.log(1.0 + (sigma / 5.0) ** 2) - math.log(1.0 + (mu / 10.0) ** 2)
    for t in range(n):
        if t > 0:
            near = phi * near + sigma * h_std[t]
        drift[t] = near
        term = y[t] * y[t] * math.exp(-near - mu)
        slope[t] = 0.5 * (term - 1.0)
        value -= 0.5 * (near + mu + term + h_std[t] * h_std[t])
    w, w_phi, w_mu = 0.0, 0.0, -2.0 * mu / (100.0 + mu * mu)
    w_sigma = -2.0 * sigma / (25.0 + sigma * sigma)
    for t in range(n - 1, 0, -1):
        w = slope[t] + phi * w
        w_mu += slope[t]
        w_phi += w * drift[t - 1]
        w_sigma += w * h_std[t]
        gradient[t] = w * sigma - h_std[t]
    w = slope[0] + phi * w
    w_mu += slope[0]
    w_sigma += w * h_std[0] * first
    w_phi += w * drift[0] * phi * first * first
    gradient[0] = w * sigma * first - h_std[0]
    gradient[n], gradient[n + 1], gradient[n + 2] = w_phi, w_sigma, w_mu
    return value


def stochastic_volatility(h_std, phi, sigma, mu, y):
    drift, slope, gradient = np.empty(y.size), np.empty(y.size), np.empty(y.size + 3)

    def run(h_std, phi, sigma, mu, y):
        value = stochastic_volatility_kernel(h_std, phi, sigma, mu, y, drift, slope, gradient)
        return value, gradient

    return run


def of_one_array(kernel):
    def adjoint(x):
        gradient = np.empty(x.size)
        return lambda x: (kernel(x, gradient), gradient)

    return adjoint


ADJOINTS = {
    "total": of_one_array(total_kernel),
    "product": of_one_array(product_kernel),
    "log_sum_exp": of_one_array(log_sum_exp_kernel),
    "normal": of_one_array(normal_kernel),
    "stochastic_volatility": stochastic_volatility,
}
