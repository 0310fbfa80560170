"""A function of thirty lines with branches and loops, for what its compilation takes."""

import numpy as np


def option(spot, strike, rate, sigma, dividend, years, steps):
    """An American put on a binomial tree, less Black and Scholes' price of the European one."""
    h = years / steps
    up = np.exp(sigma * np.sqrt(h))
    down = 1.0 / up
    growth = np.exp((rate - dividend) * h)
    chance = (growth - down) / (up - down)
    if chance < 0.0 or chance > 1.0:
        chance = 0.5
    discount = np.exp(-rate * h)
    values = np.empty(steps + 1)
    price = spot * down**steps
    for i in range(steps + 1):
        values[i] = strike - price
        if values[i] < 0.0:
            values[i] = 0.0
        price = price * up * up
    for k in range(steps):
        left = steps - k
        price = spot * down ** (left - 1)
        for i in range(left):
            held = discount * (chance * values[i + 1] + (1.0 - chance) * values[i])
            now = strike - price
            values[i] = max(held, now)
            price = price * up * up
    spread = sigma * np.sqrt(years)
    drift = (rate - dividend + 0.5 * sigma * sigma) * years
    d1 = (np.log(spot / strike) + drift) / spread
    below1 = 0.5 * (1.0 - np.tanh(0.7978845608 * (d1 + 0.044715 * d1**3)))
    d2 = d1 - spread
    below2 = 0.5 * (1.0 - np.tanh(0.7978845608 * (d2 + 0.044715 * d2**3)))
    european = strike * np.exp(-rate * years) * below2 - spot * np.exp(-dividend * years) * below1
    return values[0] - european
