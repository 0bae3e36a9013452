"""The most that a data set or a generator's file may have: what a forged file asks for stays small, too."""

MAX_SIZE = 4096  # height and width of an image, pixels
MAX_CLASSES = 10_000
