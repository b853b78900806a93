"""Runs the simulator of PayPal: `python -m scripts.paypal_simulator`. `make run` does so by itself.

It listens on this machine alone and keeps all in memory. docs/paypal.md tells what it can do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from scripts.paypal.app import Faults, Simulator

HOST = "127.0.0.1"
cli = typer.Typer(add_completion=False)


@cli.command()
def main(
    roots: Annotated[Path, typer.Option(help="Where to write the root of its certificates: PAYPAL_ROOTS.")],
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8001,
    webhook: Annotated[
        str | None, typer.Option(help="Where events go, such as http://localhost:8000/api/subscription/webhook.")
    ] = None,
    latency: Annotated[float, typer.Option(help="Seconds that each call takes.", min=0)] = 0.0,
    failures: Annotated[float, typer.Option(help="The share of calls that fail, 0 to 1.", min=0, max=1)] = 0.0,
    copies: Annotated[int, typer.Option(help="How often each event is sent.", min=1)] = 1,
    shuffled: Annotated[bool, typer.Option("--shuffled", help="Send the events of a burst in any order.")] = False,
) -> None:
    """Answer as PayPal would, move no money, and send signed events."""
    simulator = Simulator(f"http://{HOST}:{port}", webhook, faults=Faults(latency, failures))
    simulator.outlet.copies, simulator.outlet.shuffled = copies, shuffled
    roots.parent.mkdir(parents=True, exist_ok=True)
    fresh = roots.with_suffix(".new")
    fresh.write_bytes(simulator.chain.root)
    fresh.replace(roots)
    uvicorn.run(simulator.app(), host=HOST, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    cli()
