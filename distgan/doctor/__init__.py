"""`distgan doctor`: checks everything that a training needs before it is launched, and changes nothing.

In: a configuration and the processes as they were launched. Out: a report of check results (ok, warn, fail), each with
advice. The functions named `check_...` return lists of them.
"""
