"""Files of a generator for programs without distgan."""

SUFFIXES = {"pt2": ".pt2", "torchscript": ".pt", "onnx": ".onnx"}
"""Of the files, by format."""
CHECKED = 64
"""Seeds whose images are compared with those of the generator that a file is made of."""
