"""Synthetic data for machines without any: vessels, chest X-rays, and camera poses.

They are for trying the software, and no statement about real vessels, chests or rooms.
"""

from liquidlens.imaging.phantoms.chest import CHEST_LABELS, chest_xray
from liquidlens.imaging.phantoms.pose import pose
from liquidlens.imaging.phantoms.vessel import VESSEL_LABELS, vessel3d, vessel3d_bulges

__all__ = ["CHEST_LABELS", "VESSEL_LABELS", "chest_xray", "pose", "vessel3d", "vessel3d_bulges"]
