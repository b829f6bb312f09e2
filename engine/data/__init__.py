"""From a `.beton` file to batches on the device."""
