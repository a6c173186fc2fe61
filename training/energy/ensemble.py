"""Cross-validation ensemble of energy heads, which is merged into one head after fitting."""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class EnergyHeadEnsemble(nn.Module):
    """Energy heads that divide the hidden units of one head among them; the energy of that head is their mean.

    Attributes:
        num_folds: Number of heads (K).
        scaler: Scaling of the inputs; the parameters of this module are weights for scaled inputs.
        units: Head of each hidden unit, one-hot, shape (H, K).
    """

    units: Tensor

    def __init__(self, head: nn.Sequential, num_folds: int, scaler: "FeatureScaler") -> None:
        """Create the heads from the weights of one head.

        Args:
            head: The initial weights; it does not change.
            num_folds: Number of heads (K), at most the number of hidden units.
            scaler: Scaling of the inputs.
        """
        super().__init__()
        self.num_folds = num_folds
        self.scaler = scaler
        in_layer = head[0]
        out_layer = head[2]
        self.in_proj = scaler.unfuse_from_linear_(copy.deepcopy(in_layer))
        self.out_weight = nn.Parameter(out_layer.weight.detach()[0] * num_folds)
        self.out_bias = nn.Parameter(out_layer.bias.detach().repeat(num_folds))
        fold_of_unit = torch.arange(in_layer.out_features) * num_folds // in_layer.out_features
        self.register_buffer("units", F.one_hot(fold_of_unit, num_folds).float())

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "K B T"]:
        """Return the energies of all K heads for unscaled features."""
        # The scaling is fused into the weights, which are far smaller than the features.
        hidden = F.silu(F.linear(features, *self.scaler.fuse_into_linear(self.in_proj)))
        return (hidden @ (self.out_weight.unsqueeze(1) * self.units) + self.out_bias).movedim(-1, 0)

    @torch.no_grad()
    def copy_folds_(self, source: "EnergyHeadEnsemble", fold_mask: Bool[Tensor, " K"]) -> None:
        """Copy the weights of the selected folds from another ensemble, in place."""
        units = (self.units @ fold_mask.float()).bool()
        self.in_proj.weight[units] = source.in_proj.weight[units]
        self.in_proj.bias[units] = source.in_proj.bias[units]
        self.out_weight[units] = source.out_weight[units]
        self.out_bias[fold_mask] = source.out_bias[fold_mask]

    @torch.no_grad()
    def scale_and_shift_(self, scale: Float[Tensor, " K"], shift: Float[Tensor, " K"]) -> None:
        """Multiply the energies of each fold by its scale and add its shift, in place."""
        self.out_weight.mul_(self.units @ scale)
        self.out_bias.mul_(scale).add_(shift)

    def merged_state_dict(self) -> dict[str, Tensor]:
        """Return the weights of the one head, for unscaled inputs, whose energy is the mean of all folds."""
        weight, bias = self.scaler.fuse_into_linear(self.in_proj)
        return {
            "0.weight": weight,
            "0.bias": bias,
            "2.weight": self.out_weight.unsqueeze(0) / self.num_folds,
            "2.bias": self.out_bias.mean().unsqueeze(0),
        }


@dataclass(frozen=True)
class FeatureScaler:
    """Standardisation of features, which can be fused into a linear layer.

    Attributes:
        mean: Subtracted from each feature.
        std: Divides each feature; 1 for a feature that is constant.
    """

    mean: Float[Tensor, " F"]
    std: Float[Tensor, " F"]

    @classmethod
    def fit(cls, features: Float[Tensor, "n T F"]) -> "FeatureScaler":
        """Fit the scaler to features; sums are in double precision, and the features are not copied as a whole."""
        count = features.size(0) * features.size(1)
        parts = features.split(256)
        mean = torch.stack([part.double().sum((0, 1)) for part in parts]).sum(0) / count
        squares = torch.stack([(part.double() - mean).square().sum((0, 1)) for part in parts]).sum(0)
        std = (squares / count).sqrt().float()
        return cls(mean.float(), torch.where(std > 1e-6, std, 1.0))

    def fuse_into_linear(self, layer: nn.Linear) -> tuple[Float[Tensor, "H F"], Float[Tensor, " H"]]:
        """Return weight and bias for unscaled inputs that equal a layer for scaled inputs."""
        weight = layer.weight / self.std
        return weight, layer.bias - weight @ self.mean

    @torch.no_grad()
    def unfuse_from_linear_(self, layer: nn.Linear) -> nn.Linear:
        """Turn a layer for unscaled inputs into the equal layer for scaled inputs, in place; return it."""
        layer.bias.add_(layer.weight @ self.mean)
        layer.weight.mul_(self.std)
        return layer
