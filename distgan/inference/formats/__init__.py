"""Files of a generator for programs without distgan."""

SUFFIXES = {"pt2": ".pt2", "torchscript": ".pt", "onnx": ".onnx"}
"""Of the files, by format."""
