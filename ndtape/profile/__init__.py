"""Where the time of sweeps and the memory of a tape go: `tape.profile()`, `f.profile(*args)`."""

from .functions import profile_function as profile_function
from .profile import Profile as Profile
from .profile import Row as Row
from .profile import profile_tape as profile_tape
