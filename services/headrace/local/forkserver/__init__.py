"""A process that has imported what services import, and becomes one by forking.

Started as early as the supervisor itself, single-threaded and without a loop, so that it can be forked at any time;
what a service would import is then there already (docs/adr/0009).
"""
