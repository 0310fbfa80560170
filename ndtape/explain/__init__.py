"""The reverse walk in words: `tape.explain(y)`."""

from .steps import Step as Step
from .steps import derivative as derivative
from .steps import steps_of as steps_of
from .walkthrough import Walkthrough as Walkthrough
from .walkthrough import explain as explain
