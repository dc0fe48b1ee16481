"""Tests of benchmark.training.trainer."""

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch.nn import functional

from benchmark.base.records import InputError
from benchmark.training.trainer import Evaluator, NoEmptyPadding, Trainer


@pytest.mark.parametrize(("size", "padded"), [(32, 0), (36, 1)])
def test_only_paddings_without_width_are_left_out_and_no_bit_changes(size, padded, monkeypatch):
    """MONAI's U-Net pads four times; at 36 pixels, which are halved to 9 and 4, one of these adds something."""
    called = []
    pad = torch._C._nn.pad
    monkeypatch.setattr(
        torch._C._nn, "pad", lambda image, sides, *rest: called.append(sides) or pad(image, sides, *rest)
    )
    torch.manual_seed(1)
    network, image = BasicUNet(2, 4, 3, features=(4, 4, 8, 8, 16, 4)), torch.randn(2, 4, size, size)
    network(image).sum().backward()
    gradients = [part.grad.clone() for part in network.parameters()]
    assert len(called) == 4
    called.clear()
    network.zero_grad()
    with NoEmptyPadding():
        network(image).sum().backward()
    assert len(called) == padded and all(map(any, called))
    assert all(torch.equal(part.grad, before) for part, before in zip(network.parameters(), gradients, strict=True))


def test_a_padding_without_width_returns_its_input():
    image = torch.ones(1, 1, 2, 2)
    with NoEmptyPadding():
        assert functional.pad(image, [0, 0]) is image and functional.pad(input=image, pad=[0, 0]) is image
    assert functional.pad(image, [0, 0]) is not image


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", [{"cuda_graph": True}, {"cuda_graph": True, "overlap": True}])
def test_a_graph_and_a_batch_prepared_meanwhile_change_no_bit(options):
    from benchmark.training.trainer import set_up

    def train(**options):
        set_up(1, True, 1)
        network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5)).cuda()
        batches = [{"image": torch.full((2, 1, 8, 8), float(n)), "label": torch.ones(2, 4, 6, 6)} for n in range(5)]
        Trainer(
            device=torch.device("cuda"),
            max_epochs=2,
            train_data_loader=batches,
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            loss_function=torch.nn.MSELoss(),
            prepare_batch=lambda batch, device, *_, **__: (batch["image"].to(device) * 0.5, batch["label"].to(device)),
            decollate=False,
            **options,
        ).run()
        return [value.cpu() for value in network.state_dict().values()]

    assert all(torch.equal(one, other) for one, other in zip(train(), train(**options), strict=True))


def engine_of(kind, network, dtype, amp=True):
    """One of both engines on the processor, over one batch, which computes in a dtype if ``amp`` is set."""
    batches = [{"image": torch.randn(2, 1, 8, 8), "label": torch.ones(2, 4, 6, 6)}]
    options = dict(
        device=torch.device("cpu"),
        network=network,
        decollate=False,
        prepare_batch=lambda batch, *_, **__: (batch["image"], batch["label"]),
        amp=amp,
        amp_kwargs={"dtype": dtype},
    )
    if kind is Evaluator:
        return Evaluator(val_data_loader=batches, **options)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    return Trainer(
        max_epochs=1, train_data_loader=batches, optimizer=optimizer, loss_function=torch.nn.MSELoss(), **options
    )


@pytest.mark.parametrize("kind", [Trainer, Evaluator])
@pytest.mark.parametrize(("amp", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_processor_computes_in_bfloat16_where_it_is_asked_to(kind, amp, expected):
    network, found = torch.nn.Conv2d(1, 4, 3), []
    network.register_forward_hook(lambda module, given, output: found.append(output.dtype))
    engine = engine_of(kind, network, torch.bfloat16, amp)
    engine.run()
    assert found == [expected] and engine.state.output["pred"].dtype == expected
    assert network.weight.dtype == torch.float32


def test_a_processor_does_not_train_in_float16():
    with pytest.raises(InputError, match="amp_dtype: expected bfloat16 where no GPU trains, found float16"):
        engine_of(Trainer, torch.nn.Conv2d(1, 4, 3), torch.float16).run()
