"""What every test process does first.

One torch thread each: the suites run side by side, and more threads only wait for each other. And an interrupt is one,
for the programs that tests start too, even where the tests run in the background of a shell, which ignores it.
"""

import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"
signal.signal(signal.SIGINT, signal.default_int_handler)
