"""Put what the package reads of this repository into a wheel: manifests, bundles, and what papers printed."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = (
    "data_manifests/*.json",
    "bundles/*/*",
    "bundles/*/configs/*",
    "bundles/*/docs/*",
    "reports/*/published.json",
)


class WithShipped(build_py):
    """Copy the files to ``benchmark/shipped``, in the same folders; an editable installation finds them here."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for path in (path for pattern in SHIPPED for path in sorted(Path().glob(pattern))):
            # A case list or folds are of a scan, not of a set.
            if path.is_file() and not (path.parent.name == "data_manifests" and "." in path.stem):
                target = Path(self.build_lib, "benchmark", "shipped", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(path), str(target))


setup(cmdclass={"build_py": WithShipped})
