"""Generators on the Hugging Face Hub: what a name means, downloads, the model card, uploads.

A repository holds model.safetensors, config.json and README.md, and, where `push_to_hub` made it, samples.png and
walk.webp. model.safetensors is the generator file itself, bit for bit (with fp32 weights, also of a file that held
fp16); only it is read back, and its digests are checked. The other files are for readers. A local path never needs
the network.

`Generator` has the methods of huggingface_hub's ModelHubMixin, but not the mixin: as a base class it would be imported
with every `load_generator`; its from_pretrained reads the config.json of a stranger's repository without a limit and
passes the keys to the constructor; its save_pretrained removes config.json before the weights are written.
"""
