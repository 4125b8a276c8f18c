"""Read and write tar and zip archives as streams, without SSH."""
