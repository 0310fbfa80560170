"""Functions that are recorded once and replayed.

signature (the arguments) and captures (what a function reads) -> recording -> program (the tapes
of its branches) -> plans, replay (fast calls) -> function (`nt.function`).  parameters and twins
feed captured arrays, explain tells what happened.
"""

from .function import Counters as Counters
from .function import Function as Function
from .function import function as function
