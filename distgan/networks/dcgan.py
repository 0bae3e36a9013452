"""The standard CNN of Miyato et al. 2018 (arXiv:1802.05957, table 3), after the DCGAN of Radford et al. 2016.

Images of 4 * 2**n pixels a side: the size doubles n times in G and halves n times in D, and the channels change the
other way, from `width` at full size to width * 2**n at 4x4. With the defaults and 32x32 images G has 3,804,739
parameters, D has 2,935,873. A layer before a batch normalisation has no bias, since the normalisation would remove it.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from distgan.config.networks import DcganDiscriminator, DcganGenerator
from distgan.networks.batch_norm import batch_norm
from distgan.networks.layers import MIN_SIDE, Head, halvings

LEAK = 0.1
INIT_STD = 0.02  # of the initial weights (Radford et al. 2016, section 4)


class Generator(nn.Module):
    """latents [B, L], labels [B] int64 or None -> images [B, channels, size, size] in [-1, 1].

    Dense to 4x4; 4x4 transposed convolutions with stride 2, each with batch norm and ReLU; 3x3 convolution, tanh.
    """

    def __init__(self, config: DcganGenerator, size: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        steps = halvings("generator.family=dcgan", size, minimum=1)
        classes = classes if config.conditional else 0
        widths = [config.width * 2**step for step in range(steps, -1, -1)]
        self.dense = nn.Linear(config.latent_dim, widths[0] * MIN_SIDE**2, bias=False)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False) for wide, narrow in pairwise(widths)
        )
        self.norms = nn.ModuleList(batch_norm(width, classes) for width in widths)
        self.to_rgb = nn.Conv2d(config.width, channels, 3, padding=1)
        self.apply(_init)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.dense(latents).unflatten(1, (-1, MIN_SIDE, MIN_SIDE))
        x = F.relu(self.norms[0](x, labels))
        for up, norm in zip(self.ups, self.norms[1:], strict=True):
            x = F.relu(norm(up(x), labels))
        return self.to_rgb(x).tanh()


class Discriminator(nn.Module):
    """images [B, channels, size, size] in [-1, 1], labels [B] int64 or None -> logits [B].

    3x3 and strided 4x4 convolutions in turn, each with leaky ReLU 0.1; one more 3x3 at 4x4, dense.
    """

    def __init__(self, config: DcganDiscriminator, size: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        steps = halvings("discriminator.family=dcgan", size, minimum=1)
        layers: list[nn.Module] = []
        before = channels
        for width in (config.width * 2**step for step in range(steps)):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.LeakyReLU(LEAK)]
            layers += [nn.Conv2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
            before = width
        last = config.width * 2**steps
        layers += [nn.Conv2d(before, last, 3, padding=1), nn.LeakyReLU(LEAK), nn.Flatten()]
        self.layers = nn.Sequential(*layers)
        self.head = Head(last * MIN_SIDE**2, classes if config.conditional else 0, config.dropout)
        self.apply(_init)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.head(self.layers(images), labels)


def _init(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
        nn.init.normal_(module.weight, std=INIT_STD)
    if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
        nn.init.zeros_(module.bias)
