"""The `camera` module of micropython-camera-API builds, made of a model."""

from lapel_sim.machine_models.esp_camera import Camera, FrameSize, GrabMode, PixelFormat

__all__ = ["Camera", "FrameSize", "GrabMode", "PixelFormat"]
