"""A package outside streamfx that brings a served model and the operator that asks it. It is what a third party would
write."""
