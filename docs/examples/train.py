"""Train a small network on windows of the demo's genomes.

`train.py FOLDER [--steps N]`: FOLDER holds FASTA, such as `seqmill-demo/genomes` after
`seqmill demo`; into an empty one a small collection is simulated. The network learns how many of
the bases of a window are G or C. Killed half-way, it goes on where its last checkpoint was.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from seqmill import FastaStore, simulate
from seqmill.torch import Loader, RandomWindows

LENGTH = 200
BATCH = 64


def simulate_genomes(folder: Path) -> None:
    """Write a genome and some that are derived from it."""
    ancestor = simulate.simulate_genome(seed=1)
    members = [ancestor, *simulate.simulate_collection(ancestor, seed=1)]
    for number, member in enumerate(members):
        simulate.write_fasta(folder / f"member{number}.fa.gz", member.contigs)


def main() -> None:
    """Train for some steps, with a checkpoint every 25."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    if not any(arguments.folder.glob("**/*.fa*")):
        simulate_genomes(arguments.folder)
    torch.manual_seed(1)
    store = FastaStore.open(arguments.folder)
    # One byte a base travels; it becomes float where the network is.
    windows = RandomWindows(store, LENGTH, seed=7, max_n_fraction=0.1, rc="random")
    loader = Loader(windows, BATCH, threads=2)
    network = nn.Sequential(
        nn.Conv1d(4, 8, 9), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 1)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    kept = arguments.folder / "checkpoint.pt"
    first = 0
    if kept.exists():
        checkpoint = torch.load(kept)
        network.load_state_dict(checkpoint["network"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        loader.load_state_dict(checkpoint["loader"])
        first = checkpoint["step"]
    for step, batch in zip(range(first, arguments.steps), loader):  # noqa: B905 - endless
        onehot = batch.float()
        told = onehot[:, :, 1:3].sum(dim=(1, 2)) / LENGTH
        loss = nn.functional.mse_loss(network(onehot.transpose(1, 2)).squeeze(1), told)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 25 == 0 or step == first:
            print(f"step {step + 1}: loss {loss.item():.5f}")
            torch.save(
                {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "loader": loader.state_dict(),
                    "step": step + 1,
                },
                kept,
            )


if __name__ == "__main__":
    main()
