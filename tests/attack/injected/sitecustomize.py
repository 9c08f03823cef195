"""Read by every Python process of a run under attack, before anything else."""

from attack.faults import strike_at_its_place

strike_at_its_place()
