"""Hardware of Hugging Face Jobs with its price."""

from dataclasses import dataclass

from huggingface_hub import JobHardwareInfo

PRICE_UNITS_PER_HOUR = {"second": 3600, "minute": 60, "hour": 1}


@dataclass(frozen=True)
class HardwareFlavor:
    """Hardware that a job can run on.

    Attributes:
        name: Identifier, such as `l4x1`.
        pretty_name: Name for display.
        cpu: Such as `8 vCPU`.
        ram: Such as `30 GB`.
        accelerator: Such as `1 x Nvidia L4 (24 GB)`; empty if there is none.
        price_per_hour: US dollars per hour; None if the unit of the Hub's price is unknown.
        devices: Number of accelerators, each with its own training process; 1 if there is none.
    """

    name: str
    pretty_name: str
    cpu: str
    ram: str
    accelerator: str
    price_per_hour: float | None
    devices: int = 1


def parse_flavor(info: JobHardwareInfo) -> HardwareFlavor:
    """Convert the hardware description of the Hub."""
    chip = info.accelerator
    units_per_hour = PRICE_UNITS_PER_HOUR.get(info.unit_label)
    return HardwareFlavor(
        name=info.name,
        pretty_name=info.pretty_name,
        cpu=info.cpu,
        ram=info.ram,
        accelerator=f"{chip.quantity} x {chip.manufacturer} {chip.model} ({chip.vram})" if chip else "",
        price_per_hour=round(info.unit_cost_usd * units_per_hour, 3) if units_per_hour else None,
        devices=max(1, int(chip.quantity)) if chip else 1,
    )
