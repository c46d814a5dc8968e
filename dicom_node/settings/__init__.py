"""Settings, one module for each part of the node that they configure.

``node`` holds the whole tree, ``sources`` reads it: once, and it is passed down as values.
"""
