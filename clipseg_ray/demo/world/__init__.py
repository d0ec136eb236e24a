"""What the demo's scenes are made of: one module per family of drawings, and colours, patterns, grounds and weather."""
