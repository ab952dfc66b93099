"""streamfx: video with sound in, Parquet tables of facial behaviour out, nobody identifiable in them."""

__version__ = "0.1.0"
