"""Read a bundle's composed configs, for tests."""

from helpers.project import CHANNELS


def parser(name, **overrides):
    from monai.bundle import ConfigParser

    made = ConfigParser()
    made.read_config(f"bundles/{name}/configs/train.json")
    made.update({"channels": CHANNELS, "spatial_size": [32, 32], "learning_rate": 0.01, **overrides})
    return made
