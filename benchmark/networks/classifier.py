"""Classify axial slices as with or without tumour: ResNet-50 with the head of Deng et al., section 3.2."""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from monai.networks.nets.resnet import ResNet
from torch import nn

from benchmark.base.records import InputError

WIDTHS = (64, 128, 256, 512)
"""Channels of ResNet-50's four stages, before each block's expansion by 4."""

logger = logging.getLogger(__name__)


class ResNet50Classifier(nn.Module):
    """ResNet-50 as a backbone, then average pooling, flatten, dense, dropout (Deng et al., section 3.2).

    With ImageNet weights the backbone is frozen, as the paper has it: no gradient, batch normalisation with ImageNet's
    statistics, and only the head is trained. Without them everything is trained from a random start, for a frozen
    random backbone would be noise; a line in the log says which of the two it is.

    The pooling is the mean over the whole feature map, which fits any canvas and has a deterministic gradient on GPUs.

    Args:
        in_channels: number of modalities.
        channels: channels of the four stages; further ones, which other models of a study may need, are ignored.
        weights: file with torchvision's state dict of ``resnet50``, or empty. Its ``fc`` is not used. Where there are
            not three modalities, each gets the mean of the first convolution's three input filters, times 3 / the
            number of modalities, so that equal channels are answered as equal colours were.
        hidden: outputs of each of the two dense layers; the paper does not say.
        dropout: probability after each of them; the paper does not say.

    Raises:
        InputError: if ``weights`` is no such file, or ``channels`` are not ResNet-50's while weights are given.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = WIDTHS,
        weights: str = "",
        hidden: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        widths = list(channels[:4])
        if len(widths) < 4 or (weights and tuple(widths) != WIDTHS):
            expected = f"{list(WIDTHS)}, those of the weights" if weights else "those of four stages"
            raise InputError(f"channels are {list(channels)}: expected {expected}.")
        self.backbone = ResNet(
            "bottleneck", [3, 4, 6, 3], widths, spatial_dims=2, n_input_channels=in_channels, conv1_t_size=7,
            conv1_t_stride=2, feed_forward=False, bias_downsample=False,
        )  # fmt: skip
        self.head = nn.Sequential(
            *(nn.Linear(4 * widths[3], hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(hidden, 2),
        )
        self.frozen = bool(weights)
        # An attribute, so that a training with other weights is not continued.
        self.weights_sha256 = _load(self.backbone, Path(weights)) if weights else ""
        if weights:
            self.backbone.requires_grad_(False)
            logger.info("The backbone has the weights of %s and is frozen.", weights)
        else:
            logger.warning("No ImageNet weights (id `weights`): the backbone starts at random and is trained.")

    def train(self, mode: bool = True) -> ResNet50Classifier:
        """Set the mode; a frozen backbone stays in evaluation mode, so that its statistics stay ImageNet's."""
        super().train(mode)
        self.backbone.train(mode and not self.frozen)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map slices (N, in_channels, H, W) of any size from 32 to logits (N, 2)."""
        logits: torch.Tensor = self.head(self.backbone(x))
        return logits


def _load(backbone: nn.Module, path: Path) -> str:
    """Load torchvision's weights into the backbone and return the file's sha256."""
    what = "torchvision's state dict of resnet50"
    try:
        content = path.read_bytes()
        # Never code from a file: tensors only.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read: expected {what}, found {error.strerror or error}.") from error
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is no file of weights: expected {what}, found {type(error).__name__}.") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} holds no state dict: expected {what}, found {type(state).__name__}.")
    own = backbone.state_dict()
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    # Files from before PyTorch 0.4.1, torchvision's first among them, do not count batches.
    state |= {key: own[key] for key in own if key.endswith("num_batches_tracked") and key not in state}
    modalities, filters = own["conv1.weight"].shape[1], state.get("conv1.weight")
    if isinstance(filters, torch.Tensor) and filters.shape[1:2] == (3,) and modalities != 3:
        state["conv1.weight"] = filters.mean(dim=1, keepdim=True).repeat(1, modalities, 1, 1) * (3 / modalities)
    shapes = {key: getattr(value, "shape", None) for key, value in state.items()}
    wrong = sorted(key for key in {*own, *state} if key not in own or shapes.get(key) != own[key].shape)
    if wrong:
        raise InputError(f"{path} holds other weights: expected {what}, found {len(wrong)} keys amiss ({wrong[0]}).")
    backbone.load_state_dict(state)
    return hashlib.sha256(content).hexdigest()
