"""Spaces: a page with a generator, as a directory that runs here and on the Hugging Face Hub.

`app.py` is copied as it is. It needs onnxruntime and gradio, but neither distgan nor torch: the page starts in seconds,
and does not depend on where distgan can be installed from.
"""
