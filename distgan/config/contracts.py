"""What an implementation of each kind must be and do: the text of `distgan check` and of docs/extending.md.

B is the global batch, b the part of it that an implementation sees at a time. `settings` is its own Settings.
"""

GENERATOR = """
A class, called with (settings, size, classes): its Settings, the images' side in pixels, and the number of classes of
the data set. It is a torch.nn.Module; forward takes latents, float [B, settings.latent_dim], standard normal, and
labels, int64 [B], or None where settings.conditional is false, and returns images, float [B, 3, size, size] in [-1,
1]. A constructor with a parameter `channels` is given it by name: 3, or 1 where the images are gray, and the images
have as many; without it the network is for RGB images only. It can be differentiated once. An image depends on its
own latent vector and label only: batch normalisation is distgan.extend.GlobalBatchNorm (over the global batch),
dropout is distgan.extend.KeyedDropout, noise on maps distgan.extend.KeyedNoise. Its weights are drawn from torch's
generator in __init__, which runs under a seed. An attribute latent_layers may list the layers that take latents, for
main directions; else the first one does. A size that it cannot make: ConfigError.
"""

DISCRIMINATOR = """
A class, called with (settings, size, classes), and with `channels` as a generator is. It is a torch.nn.Module;
forward takes images, float [B, channels, size, size] in [-1, 1] (3 channels, or 1), augmented, and labels, int64 [B],
or None where settings.conditional is false, and returns logits, float [B], or [B, heads] for several heads, of whose
losses the mean is taken (R1 and R2 are means over the heads, other penalties of their mean); the loss gives their
sign a meaning. It can be differentiated twice by the images, for gradient penalties. It may have two methods of which
forward is made, features(images), a list of maps, float [b, C, H, W], and judge(maps, labels), logits:
loss.mode_seeking.on=features compares the maps. Where nothing trains what makes the maps, an attribute
fixed_features = True says so, and forward takes known `maps` by name: with train.share_fakes they are computed once
for both updates. A logit depends on its own image and label only, or on the global
batch (GlobalBatchNorm, which takes fakes and reals apart); dropout is KeyedDropout with settings.dropout, best before
the last layer, where the balance changes it. settings.spectral_norm normalises its convolutions, dense layers and
embeddings; nothing is to be done for it. settings.freeze_layers freezes the first entries of an nn.Sequential named
`layers` or `blocks`. A size that it cannot take: ConfigError.
"""

OPTIMIZER = """
A class or function, called with (settings, weights): its Settings and the weights of one network. It returns a
torch.optim.Optimizer. distgan sets the learning rate of its parameter groups before every update (settings.lr,
decay, controllers), and what settings.scheduled(images) returns; it clips gradients itself (settings.clip_value).
The state of a weight consists of tensors, each of the weight's shape or a scalar, made by the first update, so that
checkpoints hold it. The same gradients give the same update on every rank.
"""

PENALTY = """
A class or function, called with (settings), that returns an object with an attribute `on`: "real", "fake" or "mixed"
(points on straight lines between fakes and reals), and a method __call__(gradients, logits): dD/dx, float [b,
channels, H, W], and D's logits, float [b], of these images. It returns the penalty of each image, float [b], which
can be differentiated; distgan takes the mean over the global batch, times settings.weight. x is a fake or a real image
before its augmentation (loss.penalty_at), or a mixture of augmented ones. Not in fp16.
"""

LOSS = """
An object with the methods discriminator(fake, real), generator(fake, real) and real_probabilities(fake, real), such
as distgan.extend.LossFunctions; or a class or function, called with (settings), that returns one. fake, real: D's
logits, float [b], of the generated and the real images of a micro-batch; the results of the first two are scalars,
means over the images, that can be differentiated; real_probabilities returns, for each, float [b] in [0, 1]: D's
probability that the image is real. Attributes: needs_real_logits (generator gets real; else it gets None) and
needs_label_noise (discriminator gets two more float [b], uniform in [0, 1)). The mean over a micro-batch must be
the mean of its images' own values: it is averaged over micro-batches and ranks.
"""

AUGMENTATION = """
A class or function, called with (settings), that returns an object with the attributes `uniforms` and `normals`: how
many random numbers an image takes; and a method __call__(images, uniform, normal, p): images, float [b, channels, H,
W] in [-1, 1] (3 channels, or 1), uniform in [0, 1), float [b, uniforms], standard normal, float [b, normals], and a
scalar on the device, the probability, which only ADA's controller moves (0 elsewhere). It returns augmented images of
the same shape, and can be differentiated: twice, if R1, R2 or a penalty on fakes or reals is to stand beside it, which
go through it (distgan.extend.grid_sample can be, torch's in newer versions only). An image depends on its own row
only; all random numbers are those given.
"""

SOURCE = """
A class, called with (settings), that returns an object with a method offer(split, classes): split is "train", "val"
or "test", classes a tuple of names or None for all. It describes the images in a distgan.extend.Offer(source, size,
classes, request, load, channels=3): a name, the side in pixels, the names of the classes, the JSON values that
determine the images, and a function. offer() is called at every start: it may list files, and neither downloads nor
decodes (a catalogue that has the classes excepted). load(progress) opens the source and counts: it returns a
distgan.extend.SourceImages(keys, labels, read, notes, finish, sizes): a number of its own for each image, int [N], the
index of its class, int [N], and a function that iterates: read(rows) returns the images of these rows, in any order and
in several threads, each uint8 [size, size, channels], or distgan.extend.ImageFile(bytes, "png", "jpg" or "webp") to
keep a file as it is, or None to leave it out. Optional: notes, sentences for the user; finish(), more of them when all
is read, or a DataError, and nothing is published; sizes, a Counter of (width, height). distgan mixes, encodes, writes
and resumes. A mistake of the user: DataError.
"""

EXTRACTOR = """
A class or function, called with (settings), that returns a distgan.extend.PretrainedNetwork on the CPU: a
torch.nn.Module from images, uint8 [b, 3, H, W], to features, float [b, dimension], and class logits, float [b,
classes]; the sha256 of its weights, which says which scores can be compared; and the side in pixels to which it
resizes. It resizes and normalises the images itself. The features of an image depend on this image only.
"""

METRIC = """
A class or function, called with (settings), that returns an object with an attribute `better`, "lower" or "higher",
and a method __call__(comparison), which returns a float; distgan.extend.Comparison has the features of the real and
of the generated images, float32 [N, D] and [M, D] on the CPU, the logits [M, K] and, where the attribute
`needs_images` is true, the generated images, uint8 [M, channels, H, W]. It runs on the main process. No randomness:
the same images give the same value.
"""

TRACKER = """
A class, called with (settings, run_dir, description), on the main process: the run's directory and plain facts of
the run. A subclass of distgan.extend.TrackerBackend; every method may be left out: rewind(images), at every start and
at a rollback: what comes after `images` is trained again; log(images, metrics), scores(images, scores),
samples(images, samples), event(images, kind, text, alert), artifact(path, metadata, alias), page(path),
finish(exit_code). samples: a distgan.extend.Samples: fakes and reals, uint8 [N, channels, H, W], and captioned() with
captions. images: real images that D has seen. All is called in one thread of the tracker's own. Training
waits for none but the start (15 s) and finish (30 s); a method that raises is reported once, one that hangs for 60 s
ends the tracker.
"""

CONTROLLER = """
A subclass of distgan.extend.Controller, called with (settings, trainer). Every `every_steps` steps, act(means) is
given the means of the metrics in `watches` over that window and all ranks, scalars on the device, and changes one
thing of the training: its factor in trainer.lr_factors["d"], trainer.augment.p, trainer.d_dropout. It is called on
every rank and must do the same on each. state() and load_state() hold all that it remembers: tensors and plain values
under names of its own, so that a resumed training is the same.
"""
