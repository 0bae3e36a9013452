"""`distgan doctor`: looks at everything that a training needs before it is launched, and changes nothing.

In: a configuration and the processes as they were launched. Out: findings (ok, warn, fail), each with what to do.
"""
