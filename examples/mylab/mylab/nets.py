"""A family of networks: two small multilayer perceptrons."""

from pydantic import PositiveInt
from torch import Tensor, nn

from distgan.extend import DiscriminatorSettings, GeneratorSettings, KeyedDropout


class Generator(nn.Module):
    class Settings(GeneratorSettings):
        width: PositiveInt = 256
        """Hidden units."""

    def __init__(self, settings: Settings, size: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, settings.latent_dim) if settings.conditional else None
        self.layers = nn.Sequential(
            nn.Linear(settings.latent_dim, settings.width), nn.ReLU(), nn.Linear(settings.width, 3 * size**2), nn.Tanh()
        )
        self.shape = (3, size, size)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.classes is not None:
            latents = latents * self.classes(labels)
        return self.layers(latents).unflatten(1, self.shape)


class Discriminator(nn.Module):
    class Settings(DiscriminatorSettings):
        width: PositiveInt = 256

    def __init__(self, settings: Settings, size: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, settings.width) if settings.conditional else None
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * size**2, settings.width), nn.Softplus())
        self.dropout, self.head = KeyedDropout(settings.dropout), nn.Linear(settings.width, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.dropout(self.layers(images))
        if self.classes is not None:
            features = features * (1 + self.classes(labels))
        return self.head(features).squeeze(1)
