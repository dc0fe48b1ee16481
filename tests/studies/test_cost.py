"""Sizes of networks, counted by hand for small ones and set beside what a paper's authors count for a large one."""

import pytest
import torch
from torch import nn

from benchmark.studies import cost, run


def parser_of(network, channels, size):
    ids = {"network": network, "in_channels": channels, "spatial_size": size}
    return type("Parser", (), {"get_parsed_content": staticmethod(ids.get)})


def test_a_convolution_and_a_product_are_counted_by_hand():
    network = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                            nn.Linear(8 * 5 * 6, 3))  # fmt: skip
    found = cost.count(parser_of(network, 4, [10, 12]))
    assert found["input"] == [4, 10, 12]
    assert found["parameters"] == (4 * 8 * 9 + 8) + 2 * 8 + (8 * 5 * 6 * 3 + 3)
    # One multiply-add for each weight and output; a bias, a norm and an activation are none.
    assert found["multiply_adds"] == 4 * 8 * 9 * (5 * 6) + 8 * 5 * 6 * 3


def test_a_run_notes_the_checksum_of_the_weights_that_its_network_began_from(monkeypatch, tmp_path):
    noted = {}
    monkeypatch.setattr(run, "_note", lambda folder, **entries: noted.update(entries))
    network = nn.Conv2d(4, 2, 1)
    run._note_network(tmp_path, parser_of(network, 4, [8, 8]))
    assert set(noted) == {"network"}
    network.weights_sha256 = "0676ba61"
    run._note_network(tmp_path, parser_of(network, 4, [8, 8]))
    assert noted["started_from"] == "0676ba61"


def test_counting_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2), nn.Dropout())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    cost.count(parser_of(network, 4, [8, 8]))
    assert network.training and all(part.grad is None for part in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "parameters", "billions"), [("resnet18", 11_689_512, 1.814), ("resnet50", 25_557_032, 4.089)]
)
def test_residual_networks_have_their_published_size(name, parameters, billions):
    """As torchvision's documentation prints them (num_params, GFLOPS) for 224x224."""
    from monai.networks.nets import resnet

    network = getattr(resnet, name)(spatial_dims=2, n_input_channels=3, num_classes=1000, conv1_t_stride=2,
                                    shortcut_type="B", bias_downsample=False)  # fmt: skip
    found = cost.count(parser_of(network, 3, [224, 224]))
    assert found["parameters"] == parameters
    assert found["multiply_adds"] / 1e9 == pytest.approx(billions, abs=5e-4)
