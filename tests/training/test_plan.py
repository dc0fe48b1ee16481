"""nnU-Net's rules against plans that its own planner printed, and the network, loss and bundle that follow them."""

import json
from pathlib import Path

import pytest
import torch
from helpers.project import TINY

from benchmark.base.records import InputError
from benchmark.data.prepare import DataSet
from benchmark.studies import bundle
from benchmark.training.deep_supervision import DeepSupervision
from benchmark.training.plan import Planner, feature_map_size, plan, topology

STAGES = [32, 64, 128, 256, 512, 512, 512, 512]


@pytest.mark.parametrize(
    ("shapes", "spacing", "labels", "patch", "stages", "batch"),
    [
        # The log of the default planner on UCSF's brain metastases: 324 cases, 4 modalities, 3 classes.
        ([(227, 215, 100)] * 162 + [(227, 215, 101)] * 162, (0.8594, 0.8594, 1.5), 4, (256, 224), 6, 56),
        # The same for 3488 pictures of 500 x 500 pixels with one class: the patch of 512 nearly fills the memory.
        ([(500, 500, 1)] * 3488, (1, 1, 999), 2, (512, 512), 8, 12),
        # The plan of TotalBone: so many labels that 512 does not fit, and 448 has fewer stages. It does not say how
        # many labels; its batch size follows from any number from 64 to 94.
        ([(512, 512, 1323)] * 40, (0.9765625, 0.9765625, 1.5), 80, (448, 448), 7, 13),
    ],
)
def test_published_plans(shapes, spacing, labels, patch, stages, batch):
    found = plan(shapes, [spacing] * len(shapes), labels)
    assert (found.topology.patch_size, found.batch_size) == (patch, batch)
    assert found.topology.strides == ((1, 1),) + ((2, 2),) * (stages - 1)
    assert found.topology.kernel_sizes == ((3, 3),) * stages
    assert list(found.topology.widths()) == STAGES[:stages]


def test_brats_is_planned_by_the_same_rules():
    """Brains of about 138 x 170 x 140 mm at 1 mm, 3 regions and the background."""
    found = plan([(138, 170, 140)] * 484, [(1, 1, 1)] * 484, labels=4)
    assert found.topology.patch_size == (160, 192) and found.topology.divisor == (32, 32)
    assert found.batch_size == 105


def test_a_batch_covers_no_more_than_a_twentieth_of_the_voxels_and_no_fewer_than_two_patches():
    shape, spacing = (64, 64, 40), (1, 1, 1)
    assert plan([shape] * 10, [spacing] * 10, 4).batch_size == 20  # of 400 slices
    assert plan([shape], [spacing], 4).batch_size == 2


def test_memory_by_hand():
    """Three stages of 32, 64 and 128 channels on 16 x 16, 8 x 8 and 4 x 4 pixels."""
    stages = topology((1, 1), (16, 16))
    assert stages.strides == ((1, 1), (2, 2), (2, 2))
    encoder = 2 * (32 * 256 + 64 * 64 + 128 * 16)
    decoder = 3 * (32 * 256 + 64 * 64)
    assert feature_map_size(stages, labels=4) == encoder + decoder + 4 * 256


def test_pixels_that_are_not_square():
    """The fine axis is halved and convolved alone until the other one is less than twice as coarse."""
    stages = topology((0.5, 1.5), (128, 40))
    assert stages.strides == ((1, 1), (2, 1), (2, 2), (2, 2), (2, 2))
    assert stages.kernel_sizes == ((3, 1), (3, 3), (3, 3), (3, 3), (3, 3))
    assert stages.patch_size == (128, 40) and stages.divisor == (16, 8)


def test_a_patch_is_padded_to_what_its_strides_divide():
    assert topology((1, 1), (240, 240)).patch_size == (256, 256)
    assert topology((1, 1), (50.5, 35)).patch_size == (56, 40)  # a median may lie between two sizes


@pytest.mark.parametrize("size", [(12, 12), (8, 8), (3, 3)])
def test_a_patch_that_is_too_small_is_refused(size):
    with pytest.raises(InputError, match=r"is too small for nnU-Net's network: expected at least 16"):
        topology((1, 1), size)


def test_a_planner_reads_the_training_cases_of_a_fold(project):
    data = DataSet("phantom")
    found = Planner(data, 0).plan
    cases = data.part(0, "train")
    assert found.spacing == (6.0, 6.0)
    shapes = [case.image.shape for case in cases]
    expected = plan([(x, y, z) for z, _, x, y in shapes], [case.spacing for case in cases], 4)
    assert found == expected and found.topology.patch_size == (24, 28)


# Deep supervision


def test_weights_are_nnunets():
    """nnU-Net v2 has 0.5333, 0.2667, 0.1333, 0.0667, 0 for five stages, the last of which is left out here."""
    assert DeepSupervision.weights(4) == pytest.approx([8 / 15, 4 / 15, 2 / 15, 1 / 15])
    assert DeepSupervision.weights(1) == [1]


def test_a_stack_is_the_weighted_sum_and_a_plain_tensor_the_loss_itself():
    loss = DeepSupervision(torch.nn.L1Loss())
    truth = torch.zeros(2, 3, 4, 4)
    stack = torch.stack([truth + value for value in (1.0, 10.0, 100.0)], dim=1)
    assert float(loss(stack, truth)) == pytest.approx((4 * 1 + 2 * 10 + 100) / 7)
    assert float(loss(truth + 7, truth)) == 7


# The bundle


def parser(kind="train", native=False, **overrides):
    from monai.bundle import ConfigParser

    made = ConfigParser()
    names = [kind, *(["native"] if native else [])]
    made.read_config([f"bundles/nnunet/configs/{name}.json" for name in names])
    made.update({"channels": [4, 8, 16, 32, 64], **overrides})
    return made


def test_the_network_is_planned_for_the_canvas_and_supervises_every_stage_but_the_coarsest(project):
    config = parser(spatial_size=[32, 32])
    network, loss = config.get_parsed_content("network_def"), config.get_parsed_content("loss")
    image, truth = torch.randn(2, 4, 32, 32), (torch.rand(2, 3, 32, 32) > 0.5).float()
    stack = network.train()(image)
    assert stack.shape == (2, 2, 3, 32, 32)  # four stages have three decoder outputs, the coarsest left out
    total = loss(stack, truth)
    # The second stage's logits are 16x16, each repeated four times; masks are shrunk to them.
    coarse = stack[:, 1, :, 1::2, 1::2]
    assert torch.equal(coarse.repeat_interleave(2, 2).repeat_interleave(2, 3), stack[:, 1])
    shrunk = torch.nn.functional.interpolate(truth, (16, 16), mode="nearest-exact")
    first, second = (float(loss(*pair).detach()) for pair in ((stack[:, 0], truth), (coarse, shrunk)))
    assert float(total.detach()) == pytest.approx((2 * first + second) / 3)
    total.backward()
    assert all(value.grad is not None for value in network.parameters())
    assert torch.isfinite(loss(network(image), truth))


def test_a_canvas_that_the_strides_do_not_divide_is_padded_in_training_too(project):
    network = parser(spatial_size=[60, 44]).get_parsed_content("network_def")
    assert network.divisor == 8
    image = torch.randn(1, 4, 60, 44)
    assert network.train()(image).shape == (1, 2, 3, 60, 44)
    assert network.eval()(image).shape == (1, 3, 60, 44)


def test_the_network_is_monais_dynunet():
    """With the same weights, in the order in which both make them, both give the same logits."""
    from monai.networks.nets import DynUNet

    from benchmark.networks.planned_unet import PlannedUNet

    stages = topology((1, 1), (64, 64))
    widths = stages.widths(4, 32)
    ours = PlannedUNet(2, 4, 3, widths, stages.strides, stages.kernel_sizes).eval()
    theirs = DynUNet(
        2, 4, 3, stages.kernel_sizes, stages.strides, stages.strides[1:], widths, trans_bias=True
    ).eval()  # fmt: skip
    theirs.input_block, theirs.bottleneck = ours.encoder[0], ours.encoder[-1]
    theirs.downsamples, theirs.upsamples, theirs.output_block = ours.encoder[1:-1], ours.decoder, ours.heads[-1]
    layer = theirs.skip_layers
    for down, up in zip(ours.encoder[:-1], reversed(ours.decoder), strict=True):
        layer.downsample, layer.upsample, last = down, up, layer
        layer = layer.next_layer
    last.next_layer = ours.encoder[-1]
    image = torch.randn(2, 4, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=0)
    count = [sum(value.numel() for value in network.parameters()) for network in (ours, theirs)]
    coarser = sum(value.numel() for value in ours.heads[:-1].parameters())
    assert count[0] - coarser == count[1]


def test_torchscript_gives_the_same_numbers(project):
    network = parser("inference", spatial_size=[32, 32]).get_parsed_content("network_def").eval()
    exported = torch.jit.script(network)
    for size in ((32, 32), (40, 17)):
        image = torch.randn(1, 4, *size)
        torch.testing.assert_close(exported(image), network(image))


def test_its_own_recipe_is_planned_from_the_data(project):
    config = parser(native=True)
    assert config.get_parsed_content("spatial_size") == [24, 28]
    batch = config.get_parsed_content("batch_size")
    assert batch == Planner(DataSet("phantom"), 0).plan.batch_size
    assert config.get_parsed_content("epoch_images") == 250 * batch
    optimizer, scheduler = (config.get_parsed_content(key) for key in ("optimizer", "lr_scheduler"))
    assert optimizer.defaults["momentum"] == 0.99 and optimizer.defaults["nesterov"]
    optimizer.step()
    scheduler.step(*config.get_parsed_content("schedule_by")(None))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * (1 - 1 / 1000) ** 0.9)


@pytest.mark.parametrize("native", [False, True])
def test_it_trains_and_predicts_through_monais_runner(project, native, tmp_path):
    from monai.bundle import ConfigWorkflow

    names = ["native"] if native else []
    small = {"channels": [4, 8, 16, 32, 64], "bundle_root": str(tmp_path), "cpu_threads": 1}
    settings = {**small, "max_epochs": 2, "epoch_images": 32, "batch_size": 8}
    if not native:
        settings["spatial_size"] = small["spatial_size"] = TINY["set"]["spatial_size"]
    for kind, run_id, values in (("train", "training", settings), ("inference", "inference", small)):
        files = [f"bundles/nnunet/configs/{name}.json" for name in (kind, *names)]
        workflow = ConfigWorkflow(config_file=files, workflow_type=None, run_id=run_id, **values)
        workflow.initialize()
        workflow.run()
    history = (tmp_path / "models" / "history.csv").read_text().splitlines()
    assert len(history) == 3
    assert sorted(path.name for path in (tmp_path / "predictions").glob("*.nii.gz")) == sorted(
        f"{case.case.case_id}.nii.gz" for case in DataSet("phantom").part(0, "test")
    )


def test_the_committed_configs_are_what_compose_makes(project):
    assert bundle.write("nnunet") == []
    assert "native" in json.loads(Path("bundles/nnunet/configs/model.json").read_text())
