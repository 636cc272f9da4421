"""Updates of devices: releases kept, roll-outs, offers, and the pieces that devices ask for (docs/updates.md)."""
