"""Small scripts with the interfaces of the peers' own, in checkouts of their own."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.accuracies.time_to.peers import airbench, ffcv_example

AIRBENCH = """
import sys
from math import ceil
import torch
from torch import nn
with open(sys.argv[0]) as file:
    code = file.read()

@torch.compile
def halved(x):
    return x / 2

class CifarLoader:
    def __init__(self, train, batch_size):
        name = "cifar10/train.pt" if train else "cifar10/test.pt"
        data = torch.load(name, map_location=torch.device("cuda"))
        self.images = data["images"].half().permute(0, 3, 1, 2) / 255
        self.labels, self.batch_size = data["labels"], batch_size
        self.normalize = lambda images: images - 0.5

    def __len__(self):
        return len(self.images) // self.batch_size

    def __iter__(self):
        order = torch.randperm(len(self.images))
        for i in range(len(self)):
            ids = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield self.normalize(self.images[ids]), self.labels[ids]

class CifarNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 10)
        for mod in self.modules():
            mod.half()

    def reset(self):
        self.conv.reset_parameters()
        self.head.reset_parameters()

    def forward(self, x, whiten_bias_grad=True):
        return self.head(self.conv(x).relu().mean((2, 3)))

def print_training_details(variables, is_final_entry):
    raise AssertionError("printed")

def infer(model, loader, tta_level=0):
    model.eval()
    images, views = loader.normalize(loader.images), [1, 2, 6][tta_level]
    with torch.no_grad():
        return torch.stack([model(images) for _ in range(views)]).mean(0)

def evaluate(model, loader, tta_level=0):
    return (infer(model, loader, tta_level).argmax(1) == loader.labels).float().mean().item()

def main(run, model):
    batch_size = 16
    test_loader, train_loader = CifarLoader(False, 50), CifarLoader(True, batch_size)
    total_train_steps = ceil(8 * len(train_loader))
    starter, ender = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    time_seconds, step = 0.0, 0
    model.reset()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(ceil(total_train_steps / len(train_loader))):
        starter.record()
        model.train()
        for inputs, labels in train_loader:
            outputs = model(inputs, whiten_bias_grad=True)
            assert outputs.dtype == torch.float32
            nn.functional.cross_entropy(outputs, labels).backward()
            assert all(p.grad.dtype == torch.float32 for p in model.parameters())
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step >= total_train_steps:
                break
        ender.record()
        torch.cuda.synchronize()
        time_seconds += halved(2e-3 * starter.elapsed_time(ender))
        val_acc = evaluate(model, test_loader, tta_level=0)
        print_training_details(locals(), is_final_entry=False)
    tta_val_acc = evaluate(model, test_loader, tta_level=2)
    epoch = "eval"
    print_training_details(locals(), is_final_entry=True)
    return tta_val_acc
"""

FFCV = """
import torch as ch

class Settings:
    def __init__(self):
        self.content = {}

    def collect(self, content):
        self.content |= content

def get_current_config(settings=Settings()):
    return settings

class Batches:
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __iter__(self):
        return self.epoch()

    def epoch(self):
        for number in range(self.count):
            labels = ch.arange(8) % 4
            yield labels.view(-1, 1, 1, 1) + ch.zeros(8, 3, 32, 32), labels

def make_dataloaders():
    assert (ch.device('cuda:0'), ch.device('cuda:0')) == (ch.device("cpu"),) * 2
    return {"train": Batches(5), "test": Batches(2)}, 0.0

def construct_model():
    model = ch.nn.Sequential(ch.nn.Conv2d(3, 4, 3), ch.nn.Flatten(), ch.nn.Linear(3600, 10))
    model = model.to(memory_format=ch.channels_last).cuda()
    return model

def train(model, loaders, epochs=None, lr_peak_epoch=None):
    epochs = epochs or get_current_config().content["training"]["epochs"]
    opt = ch.optim.SGD(model.parameters(), lr=0.01)
    scaler = GradScaler()
    for _ in range(epochs):
        for ims, labs in tqdm(loaders["train"]):
            with autocast():
                loss = ch.nn.functional.cross_entropy(model(ims), labs)
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
            opt.zero_grad()
"""
RECIPE = "training: {batch_size: 8, epochs: 3, lr_peak_epoch: 5}\n"


def airbench_checkout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for the checkout of cifar10-airbench."""
    monkeypatch.setattr(airbench, "SCRIPT", _written(folder, airbench.SCRIPT, AIRBENCH))
    return folder


def ffcv_checkout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for the checkout of FFCV."""
    monkeypatch.setattr(ffcv_example, "SCRIPT", _written(folder, ffcv_example.SCRIPT, FFCV))
    monkeypatch.setattr(ffcv_example, "RECIPE", _written(folder, ffcv_example.RECIPE, RECIPE))
    return folder


def _written(folder: Path, script: airbench.Script, text: str) -> airbench.Script:
    path = folder / script.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return replace(script, sha256=hashlib.sha256(text.encode()).hexdigest())
