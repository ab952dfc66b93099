"""What published rows give away: probes that try to tell streams, tracks, and streams across salt periods by them."""
