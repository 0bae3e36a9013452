"""Extends distgan: `generator.family=mylab.nets:Generator`."""
